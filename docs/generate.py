"""Print a document that is generated: `python -m docs.generate openapi [b|c]`, or `errors`.

All are as a service of the default settings has them, whatever the environment says.
"""

from __future__ import annotations

import os
import secrets
import sys
from typing import Any

import orjson

from taskapi import create_app
from taskapi.openapi import build_document
from taskapi.openapi.reference import error_reference
from taskapi.settings import Settings


def describe(**settings: str) -> dict[str, Any]:
    """Build the document, without a database."""
    os.environ.clear()
    os.environ |= {
        "DATABASE_URL": "postgresql://nowhere",
        "JWT_SECRET_KEY": secrets.token_urlsafe(48),
        **settings,
    }
    return build_document(create_app(Settings.from_environment(env_file=os.devnull)))


def describe_contract(contract: str) -> dict[str, Any]:
    """Build the document of a contract: `native`, `b` or `c`."""
    if contract == "c":
        secret = secrets.token_urlsafe(48)
        return describe(CONTRACT="c", AUTH_MODE="external", EXTERNAL_JWT_SECRET=secret)
    return describe(CONTRACT=contract)


def main(what: str, contract: str = "native") -> bytes:
    """Return what is asked for as a file has it."""
    if what == "openapi":
        options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE
        return orjson.dumps(describe_contract(contract), option=options)
    secret = secrets.token_urlsafe(48)
    external = describe(AUTH_MODE="external", EXTERNAL_JWT_SECRET=secret)
    return error_reference(describe(), external, describe_contract("b")).encode()


if __name__ == "__main__":
    sys.stdout.buffer.write(main(*sys.argv[1:]))
