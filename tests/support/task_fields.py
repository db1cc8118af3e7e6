"""Values for the fields of a task, by their declarations."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from taskapi.http.fields import Boolean, Choice, Coded, Integer, Text
from taskapi.tasks.fields import DEFAULTS, FIELDS, WRITABLE
from taskapi.text import is_blank

_TEXT = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
)


def values(name: str) -> st.SearchStrategy[Any]:
    """Return a strategy of what a client may send as a field."""
    field = FIELDS[name].make_input()
    some = _values(field)
    return st.none() | some if field.allow_none else some


def _values(field: Coded) -> st.SearchStrategy[Any]:
    match field:
        case Text():
            return _TEXT.filter(lambda text: not is_blank(text))
        case Integer():
            return st.integers(field.smallest, field.largest)
        case Boolean():
            return st.booleans()
        case Choice():
            return st.sampled_from(field.choices)
    raise AssertionError(f"There are no values for {type(field).__name__}; add them here.")


def other_than_default(name: str, other: int = 0) -> Any:
    """Return a value that no other field has, and that is not the default; two of them."""
    field = FIELDS[name].make_input()
    match field:
        case Text():
            return f"{name} {other} = Ärger, 1"
        case Integer():
            return min(field.largest, 3) - other
        case Boolean():
            return bool(DEFAULTS.get(name)) is bool(other)
        case Choice():
            return [choice for choice in field.choices if choice != DEFAULTS.get(name)][other]
    raise AssertionError(f"There is no value for {type(field).__name__}; add it here.")


def full_task(other: int = 0) -> dict[str, Any]:
    """Return all that a client writes of a task, with no default among it."""
    return {name: other_than_default(name, other) for name in WRITABLE}
