"""The view of the metrics for Prometheus."""

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

blueprint = Section("metrics", __name__, "Metrics for Prometheus.")


@blueprint.get("/metrics")
@endpoint(access="public", media={"text/plain": _EXAMPLE}, needs_database=False)
def get_metrics() -> Response:
    """Get the metrics in Prometheus' text format.

    They are not public: a reverse proxy must block this URL.
    """
    return Response(metrics.collect(), content_type=CONTENT_TYPE_LATEST)
