"""The numbers that Prometheus asks for."""

from __future__ import annotations

from typing import Final

from flask import Response
from prometheus_client import CONTENT_TYPE_LATEST

from taskapi.http.app import Section
from taskapi.http.views import endpoint
from taskapi.observability import metrics

_EXAMPLE: Final = """\
# HELP taskapi_requests_in_flight Requests that are being answered.
# TYPE taskapi_requests_in_flight gauge
taskapi_requests_in_flight 1.0
"""

blueprint = Section("metrics", __name__, "What Prometheus may know.")


@blueprint.get("/metrics")
@endpoint(access="public", media={"text/plain": _EXAMPLE}, needs_database=False)
def get_metrics() -> Response:
    """Answer in Prometheus' text format.

    Not for the public: a proxy in front keeps it in.
    """
    return Response(metrics.collect(), content_type=CONTENT_TYPE_LATEST)
