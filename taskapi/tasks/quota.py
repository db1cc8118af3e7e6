"""How many tasks a user may have, those in the trash included.

`users.task_count` grows in the statement that adds tasks, which refuses to exceed the quota: no
further round trip, and a cost that does not depend on how many tasks there are. Deletions leave
the count as it is, so it may be too high but never too low. Where a statement refuses, the tasks
are counted anew behind the owner's lock, and what fits then is done.
"""

from __future__ import annotations

from flask import current_app

from taskapi.db.execute import Actor, execute
from taskapi.tasks import sql
from taskapi.tasks.exceptions import TaskQuotaExceeded


def tasks_per_user() -> int:
    """Return the quota."""
    quota: int = current_app.config["TASK_QUOTA"]
    return quota


def find_room(actor: Actor, wanted: int) -> int:
    """Return how many of the `wanted` tasks fit; within a transaction, which locks the owner."""
    owner = {"owner": actor.user_id}
    found = execute(sql.LOCK_COUNT, owner, acting_as=actor)
    if found and found[0]["task_count"] + wanted > tasks_per_user():
        found = execute(sql.COUNT_ANEW, owner, acting_as=actor)
    count = found[0]["task_count"] if found else 0
    return max(0, min(wanted, tasks_per_user() - count))


def require_room(actor: Actor, wanted: int) -> None:
    """Raise `TaskQuotaExceeded` unless `wanted` more tasks fit; within a transaction."""
    room = find_room(actor, wanted)
    if room < wanted:
        raise TaskQuotaExceeded(tasks_per_user(), room)
