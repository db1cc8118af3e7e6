"""Give memory back to the operating system where glibc would keep it.

After 48 batches of 1 MiB of `[]` a worker kept 128 MiB, and after a minute of large files 290.
"""

from __future__ import annotations

import ctypes
from typing import Final

from flask import Flask, request

from taskapi.settings import BODY_LIMIT

_M_MMAP_THRESHOLD: Final = -3  # From malloc.h.
_MMAP_THRESHOLD_BYTES: Final = 256 * 1024

# glibc alone has them.
_libc: Final = ctypes.CDLL(None)
_mallopt: Final = getattr(_libc, "mallopt", None)
_malloc_trim: Final = getattr(_libc, "malloc_trim", None)


def map_large_buffers() -> None:
    """Let large buffers leave with their last use; processes that are forked do the same.

    By itself glibc takes them from the heap as soon as one has been freed (mallopt(3)), where
    small ones that live longer keep them from being given back.
    """
    if _mallopt:
        _mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def init_app(app: Flask) -> None:
    """Give back what a large body has taken, when its request is over."""
    app.teardown_request(_give_back)


def _give_back(_error: BaseException | None) -> None:
    if _malloc_trim and (request.content_length or 0) > BODY_LIMIT:
        _malloc_trim(0)
