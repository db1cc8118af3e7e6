"""Pages of an origin of their own, for a browser to come from."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.support.service import ROOT


class Pages(SimpleHTTPRequestHandler):
    """Any web server with files in a directory."""

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(directory: Path, kind: type[Pages] = Pages) -> Iterator[str]:
    """Serve a directory; return the origin."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(kind, directory=str(directory)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield f"http://localhost:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@contextmanager
def serving_with_client(directory: Path) -> Iterator[str]:
    """Serve a directory, and the JavaScript client as its `js`; return the origin."""
    (directory / "js").symlink_to(ROOT / "clients" / "js")
    with serving(directory) as origin:
        yield origin
