"""`python -m taskapi.openapi`: print the document as a service of the default settings has it."""

from __future__ import annotations

import os
import secrets
import sys
from typing import Any

import orjson

from taskapi import create_app
from taskapi.config import Settings
from taskapi.openapi import build_document

_OPTIONS = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


def describe(**settings: str) -> dict[str, Any]:
    """Build the document whatever the environment says, and without a database."""
    os.environ.clear()
    os.environ |= {
        "DATABASE_URL": "postgresql://nowhere",
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        **settings,
    }
    return build_document(create_app(Settings.from_environment(env_file=os.devnull)))


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(describe(), option=_OPTIONS))
