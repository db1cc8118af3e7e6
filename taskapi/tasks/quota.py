"""Enforce the quota of tasks per user, including those in the trash.

The statement that adds tasks also increments `users.task_count`, and adds nothing above the quota:
no further round trip, and a cost independent of the number of tasks. Deletions do not decrement the
count, so it may be too high but is never too low. If a statement adds nothing, the tasks are
recounted under the owner's row lock, and the tasks that fit are added.
"""

from __future__ import annotations

from flask import current_app

from taskapi.db.execute import Actor, execute
from taskapi.tasks import sql
from taskapi.tasks.exceptions import TaskQuotaExceeded


def get_task_quota() -> int:
    """Return the maximum number of tasks of a user."""
    quota: int = current_app.config["TASK_QUOTA"]
    return quota


def find_room(actor: Actor, requested: int) -> int:
    """Return how many of `requested` new tasks fit. Needs a transaction; locks the owner's row."""
    owner = {"owner": actor.user_id}
    found = execute(sql.LOCK_COUNT, owner, acting_as=actor)
    if found and found[0]["task_count"] + requested > get_task_quota():
        found = execute(sql.RECOUNT, owner, acting_as=actor)
    count = found[0]["task_count"] if found else 0
    return max(0, min(requested, get_task_quota() - count))


def require_room(actor: Actor, requested: int) -> None:
    """Raise `TaskQuotaExceeded` unless `requested` new tasks fit. Needs a transaction."""
    room = find_room(actor, requested)
    if room < requested:
        raise TaskQuotaExceeded(get_task_quota(), room)
