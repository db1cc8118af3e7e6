"""Domain exceptions of tasks."""

from __future__ import annotations

from taskapi.exceptions import (
    Conflict,
    Forbidden,
    NotFound,
    PreconditionFailed,
    QuotaExceeded,
    Unavailable,
)


class TaskForbidden(Forbidden):
    code = "task_forbidden"
    message = "This task is another user's."


class TaskNotFound(NotFound):
    code = "task_not_found"
    message = "You have no task with this id."


class TaskInTrash(Conflict):
    code = "task_in_trash"
    message = "A task with this id is in your trash; restore it, or delete it there for good."


class TaskExists(Conflict):
    code = "task_exists"
    message = "You have a task with this id already."


class NoRoom(Conflict):
    code = "no_room"
    message = (
        "Thousands of tasks around this place have the same `order`, or orders without a gap; "
        "give them orders of their own first, for example in batches."
    )


class TaskChanged(PreconditionFailed):
    """The task has another version than the client expects; `current` is its present state."""

    code = "precondition_failed"
    message = "The task has been changed since you read it; `current` is how it is now."


class TaskQuotaExceeded(QuotaExceeded):
    code = "quota_exceeded"
    message = (
        "These would be more tasks than you may have (`quota`, those in your trash included; there "
        "is room for `room` more). Delete some for good first: DELETE /trash empties the trash."
    )

    def __init__(self, quota: int, room: int) -> None:
        super().__init__(quota=quota, room=room)


class SearchTimeout(Unavailable):
    code = "search_timeout"
    message = (
        "This search took too long. Narrow it by filters such as `completed` or `created_after`, "
        "or try again later."
    )
    retry_after = 5
