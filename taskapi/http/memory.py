"""Return memory to the operating system that glibc would keep.

After 48 batches of 1 MiB of `[]`, a worker kept 128 MiB, and after a minute of large files 290 MiB.
"""

from __future__ import annotations

import ctypes
from typing import Final

from flask import Flask, request

from taskapi.settings import BODY_LIMIT

_M_MMAP_THRESHOLD: Final = -3  # From malloc.h.
_MMAP_THRESHOLD_BYTES: Final = 256 * 1024

# Only glibc has these functions.
_libc: Final = ctypes.CDLL(None)
_mallopt: Final = getattr(_libc, "mallopt", None)
_malloc_trim: Final = getattr(_libc, "malloc_trim", None)


def map_large_buffers() -> None:
    """Allocate large buffers by mmap, also in forked processes, so that freeing unmaps them.

    By default, glibc raises its threshold when a large buffer is freed (mallopt(3)) and allocates
    the next ones on the heap, where smaller, longer-lived ones keep them from being returned.
    """
    if _mallopt:
        _mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)


def init_app(app: Flask) -> None:
    """Trim the heap after each request with a large body."""
    app.teardown_request(_trim_heap)


def _trim_heap(_error: BaseException | None) -> None:
    if _malloc_trim and (request.content_length or 0) > BODY_LIMIT:
        _malloc_trim(0)
