"""Tools of npm, installed by the tests that need them: once, by the lock beside them."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from tempfile import gettempdir

import pytest

from tests.support.service import ROOT

needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="Node and npm are missing")


def install(folder: Path = ROOT) -> Path:
    """Install what the folder's lock names, unless it is there; return its programs' folder."""
    lock = folder / "package-lock.json"
    installed = folder / "node_modules" / ".package-lock.json"
    # Several processes of the tests may come here at once.
    name = hashlib.sha256(str(folder).encode()).hexdigest()[:16]
    with (Path(gettempdir()) / f"taskapi-npm-{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            subprocess.run(
                ["npm", "ci", "--prefer-offline", "--no-audit", "--no-fund", "--silent"],
                cwd=folder,
                check=True,
                timeout=300,
            )
    return folder / "node_modules" / ".bin"
