"""Leave each field out of each place that follows from its declaration; a test must notice.

`python -m tests.mutate_fields` copies the project, takes one place out, and runs the tests of the
fields; it says which test failed, and exits with 1 where none did. Each mutation takes 20 seconds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
TESTS = ["tests/api/test_field_round_trips.py"]
COPIED = ("taskapi", "migrations", "tests", "clients", "docs", "pyproject.toml", "wsgi.py")


class Mutation(NamedTuple):
    """A place, by what it is for, and what stands there instead of the declared fields."""

    purpose: str
    file: str
    original: str
    mutated: str


def without(names: str, field: str = "order") -> str:
    return f"[name for name in {names} if name != {field!r}]"


TASKS, BATCH, TRANSFER = "taskapi/tasks", "taskapi/batch", "taskapi/transfer"
MUTATIONS = (
    Mutation(
        "kept in the trash",
        f"{TASKS}/sql.py",
        'TRASHED_NAMES = ("user_id", "id", *COLUMN_FIELDS',
        f'TRASHED_NAMES = ("user_id", "id", *{without("COLUMN_FIELDS")}',
    ),
    Mutation(
        "answered",
        f"{TASKS}/sql.py",
        "getattr(table, name) for name in FIELDS)",
        f"getattr(table, name) for name in {without('FIELDS')})",
    ),
    Mutation(
        "created",
        f"{TASKS}/sql.py",
        '_bind_new(name) for name in ("id", *STORED, *WORDS)',
        f'_bind_new(name) for name in ("id", *{without("STORED")}, *WORDS)',
    ),
    Mutation(
        "in the records of batches and imports",
        f"{TASKS}/records.py",
        "for name in (*STORED, *WORDS)),",
        f"for name in (*{without('STORED')}, *WORDS)),",
    ),
    Mutation(
        "created from records",
        f"{TASKS}/records.py",
        "        for name in (*STORED, *WORDS)\n",
        f"        for name in (*{without('STORED')}, *WORDS)\n",
    ),
    Mutation(
        "changed by batches",
        f"{BATCH}/sql.py",
        "{name: name for name in STORED}",
        "{name: name for name in STORED if name != 'order'}",
    ),
    Mutation(
        "accepted",
        f"{TASKS}/schemas.py",
        "_make_inputs(WRITABLE)",
        f"_make_inputs({without('WRITABLE')})",
    ),
    Mutation(
        "sorted by",
        f"{TASKS}/list_statements.py",
        "    if field.sorted_by\n",
        "    if field.sorted_by and name != 'order'\n",
    ),
    Mutation(
        "filtered by",
        f"{TASKS}/list_statements.py",
        "if field.ranges:",
        "if field.ranges == 'Created':",
    ),
    Mutation(
        "a query parameter",
        f"{TASKS}/schemas.py",
        "if field.ranges:",
        "if field.ranges == 'Created':",
    ),
    Mutation(
        "exported to CSV",
        f"{TRANSFER}/csv_files.py",
        'COLUMNS: Final = ("id", *FIELDS',
        f'COLUMNS: Final = ("id", *{without("FIELDS")}',
    ),
    Mutation(
        "read from CSV",
        f"{TRANSFER}/csv_files.py",
        "for name in STORED},",
        f"for name in {without('STORED')}}},",
    ),
    Mutation(
        "times of a file",
        f"{TRANSFER}/service.py",
        '"created_at": func.coalesce(record.created_at, change.time)',
        '"created_at": change.time',
    ),
    Mutation(
        "default",
        f"{TASKS}/service.py",
        "add_words({**DEFAULTS, **fields})",
        "add_words({**{**DEFAULTS, 'order': 1}, **fields})",
    ),
)


def main() -> int:
    survived = list(_run_all())
    if survived:
        print(f"{len(survived)} of {len(MUTATIONS)} were not noticed: {', '.join(survived)}")
        return 1
    print(f"All {len(MUTATIONS)} were noticed.")
    return 0


def _run_all() -> Iterator[str]:
    for number, mutation in enumerate(MUTATIONS, 1):
        with tempfile.TemporaryDirectory() as directory:
            found = _run(mutation, Path(directory))
        print(f"[{number}/{len(MUTATIONS)}] {mutation.purpose}: {found or 'NOT NOTICED'}")
        sys.stdout.flush()
        if not found:
            yield mutation.purpose


def _run(mutation: Mutation, copy: Path) -> str:
    """Run the tests on a mutated copy; return the first that failed, or nothing."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("node_modules", "__pycache__")
            shutil.copytree(source, copy / name, ignore=ignored)
        else:
            shutil.copy(source, copy / name)
    file = copy / mutation.file
    text = file.read_text()
    assert mutation.original in text, f"{mutation.purpose}: {mutation.file} has changed"
    file.write_text(text.replace(mutation.original, mutation.mutated))
    command = [sys.executable, "-m", "pytest", "-q", "--no-cov", "-x", "-p", "no:cacheprovider"]
    done = subprocess.run([*command, *TESTS], cwd=copy, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return ""
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    # What cannot even be imported says so in its last line.
    return failed[1] if failed else (done.stdout + done.stderr).strip().splitlines()[-1]


if __name__ == "__main__":
    sys.exit(main())
