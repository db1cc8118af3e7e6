"""Renaming members in bytes is renaming them in the document."""

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from taskapi.contracts.adapter import replace_text

MEMBERS = {"completed": "is_completed", "title": "text"}
TABLE = {f'"{old}":'.encode(): f'"{new}":'.encode() for old, new in MEMBERS.items()}

# What could be taken for a member, and what could hide its quotation marks.
PIECES = ['"', "\\", ":", ",", "{", "title", '"completed":', '\\"title\\":', '","title":']
texts = st.one_of(st.text(), st.lists(st.sampled_from(PIECES) | st.text(max_size=2)).map("".join))
# Names are the service's own: no text of a client is one.
names = st.sampled_from([*MEMBERS, "id", "completed_at"])
numbers = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
documents = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda parts: st.lists(parts) | st.dictionaries(names, parts),
)


def renamed(part):
    if isinstance(part, list):
        return [renamed(one) for one in part]
    if isinstance(part, dict):
        return {MEMBERS.get(name, name): renamed(one) for name, one in part.items()}
    return part


@settings(deadline=None, max_examples=500)
@given(document=documents)
def test_renaming_in_bytes_is_renaming_in_the_document(document):
    assert replace_text(orjson.dumps(document), TABLE) == orjson.dumps(renamed(document))
