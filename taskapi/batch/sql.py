"""Build the statement that executes independent operations of a batch."""

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
        *(Column("position", Integer), Column("op", Text), Column("id", Uuid(as_uuid=False))),
        Column("versions", ARRAY(BigInteger)),
        *(Column(f"sets_{name}", Boolean) for name in WRITABLE),
        *record_columns(),
    )
    .render_derived("operation", with_types=True)
)


@cache
def run_operations(*, may_be_first: bool, permanent: bool) -> ClauseElement:
    """Build the statement that executes `operations`, with `position` from 1 to `count`.

    `creates` of them create tasks; if these exceed the quota, the statement changes nothing.

    It returns the created and updated tasks, and the ids of the deleted ones. Operations without a
    row failed: the task is missing or has another version, the id is taken, or the quota is
    exceeded.
    """
    count = bindparam("count", type_=BigInteger())
    creates = bindparam("creates", type_=BigInteger())
    change = sql.next_change(by=count, may_be_first=may_be_first, adding=creates)
    operation = _OPERATION.c
    number = change.number - count + operation.position
    is_target = (
        *(Task.user_id == sql.OWNER, Task.id == operation.id),
        or_(operation.versions.is_(None), Task.version == func.any(operation.versions)),
    )

    in_trash = select(TrashedTask.id).where(
        TrashedTask.user_id == sql.OWNER, TrashedTask.id == operation.id
    )
    values = {
        "user_id": sql.OWNER,
        "id": operation.id,
        **record_values(operation),
        "completed_at": case((operation.completed, change.time)),
        "created_at": change.time,
        "updated_at": change.time,
        "version": number,
    }
    created = (
        insert(Task)
        .from_select(
            list(values),
            select(*values.values()).where(
                operation.op == "create", change.number.is_not(None), ~in_trash.exists()
            ),
        )
        .on_conflict_do_nothing(index_elements=[Task.user_id, Task.id])
        .returning(*sql.COLUMNS)
        .cte("created")
    )

    becomes_completed = func.coalesce(operation.completed, Task.completed_at.is_(None))
    updated = (
        update(Task)
        .where(
            *(*is_target, or_(operation.op == "update", operation.op == "complete")),
            change.number.is_not(None),
        )
        .values(
            **_set_values(operation),
            completed_at=case(
                (~operation.sets_completed, Task.completed_at),
                (becomes_completed, func.coalesce(Task.completed_at, change.time)),
            ),
            updated_at=change.time,
            version=number,
        )
        .returning(*sql.COLUMNS)
        .cte("updated")
    )

    deleted = (
        delete(Task)
        .where(*is_target, operation.op == "delete", change.number.is_not(None))
        .returning(*sql.DELETED_COLUMNS, number.label("number"))
        .cte("deleted")
    )
    nothing = (cast(null(), column.type).label(column.name) for column in sql.COLUMNS[1:])
    done = union_all(created.select(), updated.select(), select(deleted.c.id, *nothing))
    return done.add_cte(
        *sql.write_tombstones(deleted, deleted.c.number, change.time, permanent=permanent)
    )


def _set_values(operation: Any) -> dict[str, Any]:
    """Return the new value of each column: changed only if the operation sets its field."""
    return {
        column: case((operation[f"sets_{name}"], operation[column]), else_=Task.__table__.c[column])
        for column, name in {**{name: name for name in STORED}, **WORDS}.items()
    }
