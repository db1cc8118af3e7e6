"""Compile SQLAlchemy statements once and manage server-side prepared statements.

PostgreSQL parses and plans a prepared statement once for each connection; later messages contain
its name and the values. Planning a write takes longer than the write itself.

The name is a digest of the statement's text and types. It therefore means the same on every
server, and a statement that is compiled again finds its earlier prepared statement.
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

PREPARE_THRESHOLD: Final = 5
"""The number of the execution at which a statement is prepared; psycopg 3 has the same."""

MAX_PREPARED_STATEMENTS: Final = 100
"""Maximum number of prepared statements of one connection, as in psycopg 3."""

_DIALECT: Final = PGDialect_psycopg2()  # type: ignore[no-untyped-call]
_BIND_PARAMETER: Final = re.compile(r"(?<!%)%\((\w+)\)s")

# SQL has no PREPARE IF NOT EXISTS. The statement may exist already: an earlier message failed
# after its PREPARE, or another client has prepared it on this server of a pooler.
_PREPARE: Final = (
    "DO $do$ BEGIN EXECUTE $prepare$PREPARE {}$prepare$; "
    "EXCEPTION WHEN duplicate_prepared_statement THEN NULL; END $do$; "
)


class PreparedStatements:
    """The names of the prepared statements of one connection, least recently used first."""

    def __init__(self) -> None:
        self._names: OrderedDict[str, None] = OrderedDict()

    def use(self, name: str) -> bool:
        """Mark a statement as recently used; return False if it is not prepared."""
        if name not in self._names:
            return False
        self._names.move_to_end(name)
        return True

    def evict(self) -> str:
        """Evict the least recently used statement at the limit; return the SQL that does so."""
        if len(self._names) < MAX_PREPARED_STATEMENTS:
            return ""
        name, _ = self._names.popitem(last=False)
        return f"DEALLOCATE {name}; "

    def add(self, name: str) -> None:
        """Add the name of a statement that has been prepared."""
        self._names[name] = None


class Statement:
    """A compiled statement: its text with bind parameters, and the values of literal binds.

    `types` maps bind parameters to their SQL types, as far as they are known. With None the
    statement is never prepared: a text of several statements, or one with the execution option
    `prepare=False`.
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
            self._render_prepared(types)

    def _render_prepared(self, types: Mapping[str, str]) -> None:
        names = list(dict.fromkeys(_BIND_PARAMETER.findall(self.text)))
        numbers = {name: f"${number}" for number, name in enumerate(names, 1)}
        query = _BIND_PARAMETER.sub(lambda parameter: numbers[parameter[1]], self.text)
        kinds = ", ".join(types.get(name, "unknown") for name in names)
        values = ", ".join(f"%({name})s{_cast(types.get(name, ''))}" for name in names)
        self.name = f"taskapi_{hashlib.sha256(f'({kinds}) {query}'.encode()).hexdigest()[:32]}"
        self._preparation = _PREPARE.format(f"{self.name}{kinds and f'({kinds})'} AS {query}")
        self._execution = f"EXECUTE {self.name}{values and f'({values})'}"

    def render(self, prepared: PreparedStatements | None) -> tuple[str, str]:
        """Return the SQL that begins the message, and the SQL that executes the statement.

        `prepared` holds the connection's prepared statements, None if preparing is disabled. If the
        first part is not empty, the caller adds `name` to `prepared` once the message has
        succeeded.
        """
        self._uses += 1
        if prepared is None or not self.name:
            return "", self.text
        if prepared.use(self.name):
            return "", self._execution
        if self._uses < PREPARE_THRESHOLD:
            return "", self.text
        return prepared.evict() + self._preparation, self._execution


def _cast(kind: str) -> str:
    # PostgreSQL takes an ARRAY of quoted literals for text[], but a single literal for unknown.
    return f"::{kind}" if kind.endswith("[]") else ""


def compile_cached(statement: ClauseElement) -> Statement:
    """Compile a SQLAlchemy statement, once for each object."""
    compiled = _compiled.get(statement)
    if compiled is None:
        compiled = _compiled[statement] = _compile(statement)
    return compiled


def _compile(statement: ClauseElement) -> Statement:
    compiled: Any = statement.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
    binds = {name: bind for bind, name in compiled.bind_names.items()}
    values = {
        name: value
        for name, value in compiled.params.items()
        if not (name in binds and binds[name].required)
    }
    types = {
        # A collation is not part of a type in PREPARE.
        name: bind.type.compile(dialect=_DIALECT).partition(" COLLATE")[0]
        for name, bind in binds.items()
        if not isinstance(bind.type, NullType)
    }
    options: Mapping[str, Any] = getattr(statement, "_execution_options", {})
    is_prepared = options.get("prepare", not isinstance(statement, TextClause))
    return Statement(str(compiled), values, types if is_prepared else None)


# Weak keys: a statement that was built for one use is dropped with its text.
_compiled: Final[WeakKeyDictionary[ClauseElement, Statement]] = WeakKeyDictionary()
