"""`flask tasks purge`: what nobody needs any more goes, a little at a time.

The batches are small transactions, so that traffic goes on beside them, and each finds its
own rows, so that it does no harm to stop it or to run it twice.
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
from taskapi.auth.administration import forget_attempts, forget_ended_sessions
from taskapi.cli.database import running_database
from taskapi.db.execute import SYSTEM, execute, transaction

TOMBSTONE_DAYS: Final = 90
MAX_TOMBSTONES: Final = 100_000
"""Records of deletions that an owner keeps over a purge, however young they are."""

_BATCH: Final = 1000  # rows
_SESSION_DAYS: Final = 30
_ATTEMPT_DAYS: Final = 2  # A row of failures is forgotten after one.

tasks = AppGroup("tasks", help="Look after the tasks.")

_TRASH = "FROM trash WHERE deleted_at < now() - :days * interval '1 day'"
_TOMBSTONES = "FROM tombstones WHERE deleted_at < now() - :days * interval '1 day'"
_KEYS = "FROM idempotency_keys WHERE created_at < now() - :days * interval '1 day'"

# What somebody else is deleting is theirs: whoever does not wait, waits in no circle.
_DELETE_BATCH: Final = """
    DELETE FROM {table} WHERE (user_id, {id}) IN (
      SELECT user_id, {id} {old} LIMIT :count FOR UPDATE SKIP LOCKED)
    RETURNING user_id
"""
# Their owners first, as every write does: then no two can wait for each other in a circle.
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


# Those of one owner beyond the newest, the oldest first.
_OWNERS_OF_MANY = text("SELECT user_id FROM tombstones GROUP BY user_id HAVING count(*) > :most")
_LOCK_OWNER = text("SELECT id FROM users WHERE id = :owner FOR UPDATE")
_DELETE_SURPLUS = text("""
    WITH newest AS (
      SELECT version FROM tombstones WHERE user_id = :owner
       ORDER BY version DESC OFFSET :most LIMIT 1
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
    """Add the commands."""
    app.cli.add_command(tasks)
    app.cli.add_command(purge)


@tasks.command("purge")
def purge_tasks() -> None:
    """Delete for good what has been in the trash for TRASH_DAYS.

    With it go the records of deletions after 90 days, or beyond 100,000 of an owner (a device that
    was away for longer begins anew), and the answers kept for an Idempotency-Key after a day. It
    may run beside traffic, be stopped, and run twice; once a day is enough.
    """
    days = current_app.config["TRASH_DAYS"]
    with running_database():
        total = _count(_TRASH, days) + _count(_TOMBSTONES, TOMBSTONE_DAYS) + _count(_KEYS, 1)
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
    """Throw away all that nobody needs any more.

    What `flask tasks purge` does, and: what deleted accounts still own, sessions 30 days after
    their end, and counts of attempts to log in after two. It may run beside traffic, be stopped,
    and run twice; once a day is enough.
    """
    click.get_current_context().invoke(purge_tasks)
    with running_database():
        sessions = _all(partial(forget_ended_sessions, _SESSION_DAYS, _BATCH))
        attempts = _all(partial(forget_attempts, _ATTEMPT_DAYS, _BATCH))
        closed = deletion.find_closed_accounts()
        for user_id in closed:
            deletion.delete_closed_account(user_id, seconds=math.inf)
    click.echo(
        f"{sessions} ended sessions, {attempts} counts of attempts to log in, "
        f"{len(closed)} deleted accounts."
    )


def _all(forget: Callable[[], int]) -> int:
    total = 0
    while gone := forget():
        total += gone
    return total


def _purge(days: int) -> Iterator[tuple[str, int]]:
    deletions = (
        ("trash", _DELETE_BATCH.format(table="trash", id="id", old=_TRASH), days),
        ("keys", _DELETE_BATCH.format(table="idempotency_keys", id="key", old=_KEYS), 1),
    )
    for name, statement, age in deletions:
        while gone := execute(text(statement), {"days": age, "count": _BATCH}, acting_as=SYSTEM):
            yield name, len(gone)
    while gone_tombstones := _purge_tombstones():
        yield "tombstones", gone_tombstones
    for row in execute(_OWNERS_OF_MANY, {"most": MAX_TOMBSTONES}, acting_as=SYSTEM):
        while surplus := _purge_surplus(row["user_id"]):
            yield "tombstones", surplus


def _purge_tombstones() -> int:
    values = {"days": TOMBSTONE_DAYS, "count": _BATCH}
    with transaction(acting_as=SYSTEM):
        owners = [row["id"] for row in execute(_LOCK_OWNERS, values, acting_as=SYSTEM)]
        gone = execute(_DELETE_TOMBSTONES, {**values, "owners": owners}, acting_as=SYSTEM)
    return len(gone)


def _purge_surplus(owner: str) -> int:
    values = {"owner": owner, "most": MAX_TOMBSTONES, "count": _BATCH}
    with transaction(acting_as=SYSTEM):
        execute(_LOCK_OWNER, values, acting_as=SYSTEM)
        return len(execute(_DELETE_SURPLUS, values, acting_as=SYSTEM))


def _count(which: str, days: int) -> int:
    [row] = execute(text(f"SELECT count(*) AS count {which}"), {"days": days}, acting_as=SYSTEM)
    return int(row["count"])
