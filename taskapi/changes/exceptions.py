"""Domain exceptions of the change feed."""

from __future__ import annotations

from taskapi.exceptions import Gone


class SyncReset(Gone):
    code = "sync_reset"
    message = (
        "What has changed since this cursor is not known any more; throw your copy away and "
        "begin again without `since`."
    )
