"""What monitors and operators read over HTTP. Plain Django: no session, except for the details."""

import os
import threading
from typing import Final

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST

from ops import health
from ops import metrics as platform_metrics
from ops.staff import admission
from ops.version import version as running_version
from taptrading.api import error_body, request_id
from taptrading.errors import Refusal

_NO_STORE: Final = {"Cache-Control": "no-store"}


@require_safe
def alive(request: HttpRequest) -> HttpResponse:
    """The process answers; asks nothing of anybody else."""
    return JsonResponse({"status": health.OK}, headers=_NO_STORE)


@require_safe
def liveness(request: HttpRequest) -> HttpResponse:
    return JsonResponse({"alive": True}, headers=_NO_STORE)


@require_safe
def readiness(request: HttpRequest) -> HttpResponse:
    ready = health.is_ready(health.healthz())
    return JsonResponse({"ready": ready}, status=200 if ready else 503, headers=_headers(ready))


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    found = health.healthz()
    up = found["status"] != health.DOWN
    return JsonResponse(found, status=200 if up else 503, headers=_headers(up))


@require_safe
def detailed(request: HttpRequest) -> HttpResponse:
    """For staff: the same, and what this process is made of."""
    if not admission.is_admitted(request):
        refusal = Refusal("forbidden" if request.user.is_authenticated else "unauthenticated")
        body = error_body(refusal, request_id(request))
        return JsonResponse(body, status=refusal.status, headers=_NO_STORE)
    process = {
        "pid": os.getpid(),
        "threads": threading.active_count(),
        "descriptors": len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else None,
        "load_average": os.getloadavg(),
    }
    found = {**health.healthz(), "version": running_version(), "process": process}
    return JsonResponse(found, headers=_NO_STORE)


@require_safe
def version(request: HttpRequest) -> HttpResponse:
    return JsonResponse(running_version(), headers=_NO_STORE)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """For Prometheus; see `ops/metrics.py`."""
    found = platform_metrics.text()
    return HttpResponse(found, content_type=CONTENT_TYPE_LATEST, headers=_NO_STORE)


def _headers(well: bool) -> dict[str, str]:
    return _NO_STORE if well else {**_NO_STORE, "Retry-After": "1"}
