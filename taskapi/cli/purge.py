"""`flask purge` and `flask tasks purge`: delete expired rows in small batches.

The batches are small transactions, so that requests are served meanwhile. Each batch selects its
own rows, so the command can be stopped and can run twice at a time.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import click
from flask import Flask, current_app
from flask.cli import AppGroup, with_appcontext
from sqlalchemy import text

from taskapi.auth import deletion
from taskapi.auth.administration import purge_ended_sessions, purge_login_attempts
from taskapi.cli.database import running_database
from taskapi.db.execute import SYSTEM, execute, transaction

TOMBSTONE_DAYS: Final = 90
MAX_TOMBSTONES: Final = 100_000
"""Tombstones of an owner that survive a purge; older ones are deleted at any age."""

_BATCH_ROWS: Final = 1000
_SESSION_DAYS: Final = 30
_ATTEMPT_DAYS: Final = 2  # The throttle ignores counts older than one day.

tasks = AppGroup("tasks", help="Maintain the tasks.")

_TRASH = "FROM trash WHERE deleted_at < now() - :days * interval '1 day'"
_TOMBSTONES = "FROM tombstones WHERE deleted_at < now() - :days * interval '1 day'"
_KEYS = "FROM idempotency_keys WHERE created_at < now() - :days * interval '1 day'"

# SKIP LOCKED leaves rows to a concurrent purge. A statement that waits for no lock cannot deadlock.
_DELETE_BATCH: Final = """
    DELETE FROM {table} WHERE (user_id, {id}) IN (
      SELECT user_id, {id} {old} LIMIT :count FOR UPDATE SKIP LOCKED)
    RETURNING user_id
"""
# Owners are locked first, as in every write, so that writers and a purge cannot deadlock.
_LOCK_OWNERS = text(f"""
    SELECT id FROM users WHERE id IN (SELECT user_id {_TOMBSTONES} ORDER BY deleted_at LIMIT :count)
     ORDER BY id FOR UPDATE
""")
_DELETE_TOMBSTONES = text(f"""
    WITH gone AS (
      DELETE FROM tombstones WHERE (user_id, id) IN (
        SELECT user_id, id {_TOMBSTONES} AND user_id = ANY(:owners) LIMIT :count)
      RETURNING user_id, version
    ), floors AS (
      UPDATE users SET feed_floor = greatest(feed_floor, latest)
        FROM (SELECT user_id, max(version) AS latest FROM gone GROUP BY user_id) AS of_owner
       WHERE users.id = of_owner.user_id
    )
    SELECT user_id FROM gone
""")

# Tombstones beyond the newest `max_tombstones` of an owner, oldest first.
_OWNERS_OVER_LIMIT = text(
    "SELECT user_id FROM tombstones GROUP BY user_id HAVING count(*) > :max_tombstones"
)
_LOCK_OWNER = text("SELECT id FROM users WHERE id = :owner FOR UPDATE")
_DELETE_SURPLUS = text("""
    WITH newest AS (
      SELECT version FROM tombstones WHERE user_id = :owner
       ORDER BY version DESC OFFSET :max_tombstones LIMIT 1
    ), gone AS (
      DELETE FROM tombstones WHERE user_id = :owner AND id IN (
        SELECT id FROM tombstones WHERE user_id = :owner AND version <= (SELECT version FROM newest)
         ORDER BY version LIMIT :count)
      RETURNING version
    ), floors AS (
      UPDATE users SET feed_floor = greatest(feed_floor, (SELECT max(version) FROM gone))
       WHERE id = :owner AND EXISTS (SELECT FROM gone)
    )
    SELECT version FROM gone
""")


def init_app(app: Flask) -> None:
    """Register the commands."""
    app.cli.add_command(tasks)
    app.cli.add_command(purge)


@tasks.command("purge")
def purge_tasks() -> None:
    """Delete tasks permanently after TRASH_DAYS in the trash.

    Also deletes tombstones after 90 days, or beyond 100,000 of an owner (clients that were offline
    for longer start again), and responses stored for an Idempotency-Key after a day. It can run
    while the service runs, be stopped, and run twice at a time; once a day is enough.
    """
    days = current_app.config["TRASH_DAYS"]
    with running_database():
        total = (
            _count_rows(_TRASH, days)
            + _count_rows(_TOMBSTONES, TOMBSTONE_DAYS)
            + _count_rows(_KEYS, 1)
        )
        with click.progressbar(length=total, label="Purging", file=sys.stderr) as progress:
            done = {"trash": 0, "tombstones": 0, "keys": 0}
            for name, count in _purge(days):
                done[name] += count
                progress.update(count)
    click.echo(
        f"{done['trash']} tasks out of the trash, {done['tombstones']} records of deletions, "
        f"{done['keys']} kept answers."
    )


@click.command()
@with_appcontext
def purge() -> None:
    """Delete all data that are no longer needed.

    Runs `flask tasks purge`, and deletes what remains of deleted accounts, sessions 30 days after
    their end, and counts of login attempts after two days. It can run while the service runs, be
    stopped, and run twice at a time; once a day is enough.
    """
    click.get_current_context().invoke(purge_tasks)
    with running_database():
        sessions = _repeat_until_none(partial(purge_ended_sessions, _SESSION_DAYS, _BATCH_ROWS))
        attempts = _repeat_until_none(partial(purge_login_attempts, _ATTEMPT_DAYS, _BATCH_ROWS))
        closed = deletion.find_closed_accounts()
        for user_id in closed:
            deletion.delete_closed_account(user_id, timeout_seconds=math.inf)
    click.echo(
        f"{sessions} ended sessions, {attempts} counts of attempts to log in, "
        f"{len(closed)} deleted accounts."
    )


def _repeat_until_none(delete_batch: Callable[[], int]) -> int:
    total = 0
    while gone := delete_batch():
        total += gone
    return total


def _purge(days: int) -> Iterator[tuple[str, int]]:
    deletions = (
        ("trash", _DELETE_BATCH.format(table="trash", id="id", old=_TRASH), days),
        ("keys", _DELETE_BATCH.format(table="idempotency_keys", id="key", old=_KEYS), 1),
    )
    for name, statement, age in deletions:
        while gone := execute(
            text(statement), {"days": age, "count": _BATCH_ROWS}, acting_as=SYSTEM
        ):
            yield name, len(gone)
    while gone_tombstones := _purge_tombstones():
        yield "tombstones", gone_tombstones
    for row in execute(_OWNERS_OVER_LIMIT, {"max_tombstones": MAX_TOMBSTONES}, acting_as=SYSTEM):
        while surplus := _purge_surplus(row["user_id"]):
            yield "tombstones", surplus


def _purge_tombstones() -> int:
    values = {"days": TOMBSTONE_DAYS, "count": _BATCH_ROWS}
    with transaction(acting_as=SYSTEM):
        owners = [row["id"] for row in execute(_LOCK_OWNERS, values, acting_as=SYSTEM)]
        gone = execute(_DELETE_TOMBSTONES, {**values, "owners": owners}, acting_as=SYSTEM)
    return len(gone)


def _purge_surplus(owner: str) -> int:
    values = {"owner": owner, "max_tombstones": MAX_TOMBSTONES, "count": _BATCH_ROWS}
    with transaction(acting_as=SYSTEM):
        execute(_LOCK_OWNER, values, acting_as=SYSTEM)
        return len(execute(_DELETE_SURPLUS, values, acting_as=SYSTEM))


def _count_rows(from_clause: str, days: int) -> int:
    [row] = execute(
        text(f"SELECT count(*) AS count {from_clause}"), {"days": days}, acting_as=SYSTEM
    )
    return int(row["count"])
