"""Compile SQLAlchemy's statements once, and prepare the frequent ones on each connection.

PostgreSQL parses and plans a prepared statement once for each connection, and from then on is
sent its name and the values. Planning a write costs it more than the write.

A name is a digest of the statement and its types. So a name means the same on every server, and a
statement that is compiled anew finds what was prepared for it before.
"""

from __future__ import annotations

import hashlib
import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary

from sqlalchemy import ClauseElement, TextClause
from sqlalchemy.dialects.postgresql.psycopg2 import PGDialect_psycopg2
from sqlalchemy.types import NullType

PREPARED_FROM: Final = 5
"""The use of a statement from which on it is prepared, as in psycopg 3."""

MAX_PREPARED_STATEMENTS: Final = 100
"""How many statements are prepared on one connection at a time, as in psycopg 3."""

_DIALECT: Final = PGDialect_psycopg2()  # type: ignore[no-untyped-call]
_PARAMETER: Final = re.compile(r"(?<!%)%\((\w+)\)s")

# There is no PREPARE IF NOT EXISTS. A statement may be there already: its first message failed
# behind the PREPARE, or a pooler hands out a server on which another client has prepared it.
_PREPARE: Final = (
    "DO $do$ BEGIN EXECUTE $prepare$PREPARE {}$prepare$; "
    "EXCEPTION WHEN duplicate_prepared_statement THEN NULL; END $do$; "
)


class PreparedStatements:
    """The names of what is prepared on one connection; the least recently used goes first."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()

    def use(self, name: str) -> bool:
        """Return whether a statement is prepared, and keep it for longer."""
        if name not in self._names:
            return False
        self._names.move_to_end(name)
        return True

    def make_room(self) -> str:
        """Return the SQL that makes room for one more."""
        if len(self._names) < MAX_PREPARED_STATEMENTS:
            return ""
        name, _ = self._names.popitem(last=False)
        return f"DEALLOCATE {name}; "

    def add(self, name: str) -> None:
        """Remember what has been prepared."""
        self._names[name] = None


class Statement:
    """The text of a statement with its bind parameters, and the values that it has by itself.

    `types` names the parameters' types, as far as they are known; without it (a text of several
    statements, or one with the execution option `prepare=False`) it is never prepared.
    """

    def __init__(
        self, text: str, values: Mapping[str, Any], types: Mapping[str, str] | None
    ) -> None:
        self.text = text
        self.values = values
        self.types = types
        self.name = ""
        self._uses = 0
        if types is not None:
            self._compose(types)

    def _compose(self, types: Mapping[str, str]) -> None:
        names = list(dict.fromkeys(_PARAMETER.findall(self.text)))
        numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
        query = _PARAMETER.sub(lambda parameter: numbers[parameter[1]], self.text)
        kinds = ", ".join(types.get(name, "unknown") for name in names)
        values = ", ".join(f"%({name})s{_cast(types.get(name, ''))}" for name in names)
        self.name = f"taskapi_{hashlib.sha256(f'({kinds}) {query}'.encode()).hexdigest()[:32]}"
        self._preparation = _PREPARE.format(f"{self.name}{kinds and f'({kinds})'} AS {query}")
        self._execution = f"EXECUTE {self.name}{values and f'({values})'}"

    def words(self, prepared: PreparedStatements | None) -> tuple[str, str]:
        """Return what to send before all else, and what to send for the statement.

        `prepared` is what the connection has; None where nothing may be prepared. Where the first
        is not empty and the message has succeeded, the `name` is to be added to it.
        """
        self._uses += 1
        if prepared is None or not self.name:
            return "", self.text
        if prepared.use(self.name):
            return "", self._execution
        if self._uses < PREPARED_FROM:
            return "", self.text
        return prepared.make_room() + self._preparation, self._execution


def _cast(kind: str) -> str:
    # An array of quoted values is one of text unless it is cast; a single one is unknown.
    return f"::{kind}" if kind.endswith("[]") else ""


def worded(statement: ClauseElement) -> Statement:
    """Compile an expression of SQLAlchemy, once for each."""
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


# Weak, so that what is compiled for one use is forgotten after it.
_worded: Final[WeakKeyDictionary[ClauseElement, Statement]] = WeakKeyDictionary()
