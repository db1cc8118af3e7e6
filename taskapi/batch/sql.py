"""The statement that does what a batch says of different tasks."""

from __future__ import annotations

from functools import cache
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ClauseElement,
    Column,
    Integer,
    Text,
    Uuid,
    bindparam,
    case,
    cast,
    delete,
    func,
    null,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB, insert

from taskapi.tasks import sql
from taskapi.tasks.fields import STORED, WORDS, WRITABLE
from taskapi.tasks.models import Task, TrashedTask
from taskapi.tasks.records import record_columns, record_values

_OPERATION: Final = (
    func.jsonb_to_recordset(bindparam("operations", type_=JSONB(none_as_null=True)))
    .table_valued(
        *(Column("place", Integer), Column("op", Text), Column("id", Uuid(as_uuid=False))),
        Column("versions", ARRAY(BigInteger)),
        *(Column(f"sets_{name}", Boolean) for name in WRITABLE),
        *record_columns(),
    )
    .render_derived("operation", with_types=True)
)


@cache
def batch(*, may_be_first: bool, permanent: bool) -> ClauseElement:
    """Make the statement that does `operations`, each with its `place` from 1 to `count`.

    `creates` of them create tasks; where these exceed the quota it does nothing.

    It returns the tasks that were created and changed, and of those deleted the id alone. What
    is not returned was refused: nothing was there, or in another version, or too much.
    """
    count = bindparam("count", type_=BigInteger())
    creates = bindparam("creates", type_=BigInteger())
    change = sql.next_change(by=count, may_be_first=may_be_first, adding=creates)
    said = _OPERATION.c
    number = change.number - count + said.place
    is_wanted = (
        *(Task.user_id == sql.OWNER, Task.id == said.id),
        or_(said.versions.is_(None), Task.version == func.any(said.versions)),
    )

    in_trash = select(TrashedTask.id).where(
        TrashedTask.user_id == sql.OWNER, TrashedTask.id == said.id
    )
    values = {
        "user_id": sql.OWNER,
        "id": said.id,
        **record_values(said),
        "completed_at": case((said.completed, change.time)),
        "created_at": change.time,
        "updated_at": change.time,
        "version": number,
    }
    created = (
        insert(Task)
        .from_select(
            list(values),
            select(*values.values()).where(
                said.op == "create", change.number.is_not(None), ~in_trash.exists()
            ),
        )
        .on_conflict_do_nothing(index_elements=[Task.user_id, Task.id])
        .returning(*sql.COLUMNS)
        .cte("created")
    )

    becomes_completed = func.coalesce(said.completed, Task.completed_at.is_(None))
    changed = (
        update(Task)
        .where(
            *(*is_wanted, or_(said.op == "update", said.op == "complete")),
            change.number.is_not(None),
        )
        .values(
            **_set_values(said),
            completed_at=case(
                (~said.sets_completed, Task.completed_at),
                (becomes_completed, func.coalesce(Task.completed_at, change.time)),
            ),
            updated_at=change.time,
            version=number,
        )
        .returning(*sql.COLUMNS)
        .cte("changed")
    )

    deleted = (
        delete(Task)
        .where(*is_wanted, said.op == "delete", change.number.is_not(None))
        .returning(*sql.DELETED_COLUMNS, number.label("number"))
        .cte("deleted")
    )
    nothing = (cast(null(), column.type).label(column.name) for column in sql.COLUMNS[1:])
    done = union_all(created.select(), changed.select(), select(deleted.c.id, *nothing))
    return done.add_cte(
        *sql.write_tombstones(deleted, deleted.c.number, change.time, permanent=permanent)
    )


def _set_values(said: Any) -> dict[str, Any]:
    """Return a value for each column: the new one where the operation sets its field."""
    return {
        column: case((said[f"sets_{name}"], said[column]), else_=Task.__table__.c[column])
        for column, name in {**{name: name for name in STORED}, **WORDS}.items()
    }
