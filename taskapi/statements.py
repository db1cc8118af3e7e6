"""The words of a statement: SQLAlchemy's, put into the form in which they are sent.

What is sent often is prepared: PostgreSQL parses and plans it once for each connection, and
from then on is sent its name and the values. Planning a write costs it more than the write.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from itertools import count
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import ClauseElement, TextClause
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.types import NullType

PREPARED_FROM: Final = 5
"""The use of a statement from which on it is prepared, as in psycopg 3."""

_DIALECT: Final = PGDialect_psycopg2()  # type: ignore[no-untyped-call]
_PLACE: Final = re.compile(r"(?<!%)%\((\w+)\)s")
_numbers: Final = count(1)


class Statement:
    """The text of a statement with places for values, and the values that it has by itself.

    `types` names the places' types, as far as they are known; without it (a text of several
    statements, or one with the execution option `prepare=False`) it is never prepared.
    """

    def __init__(
        self, text: str, values: Mapping[str, Any], types: Mapping[str, str] | None
    ) -> None:
        self.text = text
        self.values = values
        self.types = types
        self._uses = 0

    def words(self, prepared: set[str] | None) -> tuple[str, str]:
        """Return what to send before all else, and what to send for the statement.

        `prepared` has the names of what has been prepared on this connection, and is added
        to; None where nothing may be.
        """
        self._uses += 1
        if prepared is None or self.types is None or self._uses < PREPARED_FROM:
            return "", self.text
        if self._name in prepared:
            return "", self._execution
        prepared.add(self._name)
        return self._preparation, self._execution

    @cached_property
    def _name(self) -> str:
        return f"taskapi_{next(_numbers)}"

    @cached_property
    def _places(self) -> dict[str, str]:
        names = dict.fromkeys(_PLACE.findall(self.text))
        return {name: f"${number}" for number, name in enumerate(names, 1)}

    @cached_property
    def _preparation(self) -> str:
        assert self.types is not None
        types = ", ".join(self.types.get(name, "unknown") for name in self._places)
        text = _PLACE.sub(lambda place: self._places[place[1]], self.text)
        return f"PREPARE {self._name}{types and f'({types})'} AS {text}; "

    @cached_property
    def _execution(self) -> str:
        values = ", ".join(f"%({name})s{self._cast_of(name)}" for name in self._places)
        return f"EXECUTE {self._name}{values and f'({values})'}"

    def _cast_of(self, name: str) -> str:
        # An array of quoted values is one of text unless it is said; a single one is unknown.
        kind = (self.types or {}).get(name, "")
        return f"::{kind}" if kind.endswith("[]") else ""


def worded(statement: ClauseElement) -> Statement:
    """Put an expression of SQLAlchemy into words, once for each."""
    known = _worded.get(statement)
    if known is None:
        known = _worded[statement] = _compile(statement)
    return known


def _compile(statement: ClauseElement) -> Statement:
    compiled: Any = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    binds = {name: bind for bind, name in compiled.bind_names.items()}
    values = {
        name: value
        for name, value in compiled.params.items()
        if not (name in binds and binds[name].required)
    }
    types = {
        # How it is compared is no part of a type.
        name: bind.type.compile(dialect=_DIALECT).partition(" COLLATE")[0]
        for name, bind in binds.items()
        if not isinstance(bind.type, NullType)
    }
    options: Mapping[str, Any] = getattr(statement, "_execution_options", {})
    is_prepared = options.get("prepare", not isinstance(statement, TextClause))
    return Statement(str(compiled), values, types if is_prepared else None)


# Weak, so that what is worded for one use is forgotten after it.
_worded: Final[WeakKeyDictionary[ClauseElement, Statement]] = WeakKeyDictionary()
