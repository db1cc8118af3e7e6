"""The views of `/tasks/export` and `/tasks/import`."""

from __future__ import annotations

from itertools import chain
from typing import Any, Final

from flask import (
    Response,
    g,
    stream_with_context,
)

from taskapi.extension import Extension
from taskapi.http.app import Section, json_response
from taskapi.http.examples import example_of
from taskapi.http.views import endpoint
from taskapi.settings import IMPORT_LIMIT
from taskapi.tasks.schemas import EXAMPLE_ID, Task
from taskapi.transfer import csv_files, json_files
from taskapi.transfer.schemas import ExportQuery, ImportedTask, ImportQuery, ImportReport
from taskapi.transfer.service import export_tasks, import_tasks

blueprint = Section("transfer", __name__, "Export and import of all tasks.", "/tasks")

IMPORTED_TASK: Final[Extension[ImportedTask]] = Extension("imported_task")
"""The schema of an imported task, if a contract has its own."""

_IMPORTED_TASK = ImportedTask()
_EXAMPLE_CSV = "id,title,description,completed\r\n" + EXAMPLE_ID + ",Buy milk,Oat,false\r\n"
_EXPORTED_CSV = b"".join(csv_files.write_csv([[example_of(Task())]])).decode()
_UPLOAD = {
    "application/x-ndjson": f'{{"id": "{EXAMPLE_ID}", "title": "Buy milk"}}\n',
    "application/json": [{"id": EXAMPLE_ID, "title": "Buy milk"}],
    "text/csv": _EXAMPLE_CSV,
}


_READERS = {
    "application/json": json_files.read_json,
    "application/x-ndjson": json_files.read_json_lines,
    "text/csv": csv_files.read_csv,
}


@blueprint.get("/export")
@endpoint(
    query=ExportQuery(),
    returns=Task(many=True),
    media={"text/csv": _EXPORTED_CSV},
    headers=("Content-Disposition",),
)
def export(query: dict[str, Any]) -> Any:
    """Export all your tasks as a file, oldest first.

    JSON is an array with a task on each line. In CSV, a text that a spreadsheet could run as a
    formula is prefixed by an apostrophe, which an import removes.
    """
    first, others = export_tasks(g.actor)
    is_csv = query["format"] == "csv"
    write = csv_files.write_csv if is_csv else json_files.write_json
    return Response(
        stream_with_context(write(chain([first], others))),
        content_type="text/csv; charset=utf-8" if is_csv else "application/json",
        headers={"Content-Disposition": f'attachment; filename="tasks.{query["format"]}"'},
    )


@blueprint.post("/import")
@endpoint(
    body_limit=IMPORT_LIMIT,
    query=ImportQuery(),
    upload=_UPLOAD,
    idempotency="stored_answer",
    returns=ImportReport(),
    problems=("quota_exceeded",),
    response_example={"rows": [{"row": 1, "status": "created", "id": EXAMPLE_ID}]},
)
def import_file(query: dict[str, Any], body: bytes, media: str) -> Any:
    """Import up to 10,000 tasks from a file: a JSON array, JSON Lines, or CSV with a header.

    The import keeps ids, `created_at` and `completed_at`. It does not change existing tasks or
    those in the trash, so it is idempotent. A task without an id is added each time, unless you
    set `deduplicate`. Invalid tasks are reported, and the others imported. If the new tasks exceed
    your quota, none is added.
    """
    schema = IMPORTED_TASK.find() or _IMPORTED_TASK
    rows = import_tasks(
        g.actor,
        _READERS[media](body),
        schema,
        dry_run=query["dry_run"],
        deduplicate=query["deduplicate"],
    )
    counts = dict.fromkeys(("created", "exists", "in_trash", "refused"), 0)
    for row in rows:
        counts[row["status"]] += 1
    return json_response(
        {
            "dry_run": query["dry_run"],
            "created": counts["created"],
            "existing": counts["exists"] + counts["in_trash"],
            "refused": counts["refused"],
            "rows": rows,
        }
    )
