"""`manage.py run_api` beside a running platform: what needs the writer works from there too."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from taptrading.client.api import Client
from taptrading.client.signing import LocalKey
from taptrading.limits import LIMITS
from tests import stack

pytestmark = pytest.mark.timeout(120)
USDC = 1_000_000
PASSWORD = "only for this test"


@contextmanager
def api_workers(running: stack.Stack) -> Iterator[str]:
    port = stack.free_port()
    process = subprocess.Popen(
        [sys.executable, "manage.py", "run_api", "--workers", "1", "--port", str(port)],
        cwd=stack.ROOT,
        env={k: v for k, v in os.environ.items() if not k.startswith(("TAP_", "COV"))}
        | {
            "DATA_DIR": str(running.folder / "data"),
            "CLOCK_FILE": str(running.folder / "clock"),
            "DOMAIN": running.domain,
        },
    )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + stack.START_S
        while True:
            try:
                assert httpx.get(url + "/health", timeout=2).json() == {"status": "ok"}
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.1)
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_api_workers_when_a_trader_deposits_then_the_writer_moves_the_money(tmp_path: Path) -> None:
    with stack.running(tmp_path) as running, api_workers(running) as url:
        with Client(running.url) as trader:
            trader.sign_in(LocalKey.from_seed("api workers"))
            token = trader.transport.token
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(base_url=url + "/api/v1/", headers=headers) as api:
            deposit = api.post("deposits", json={"amount_micros": 7 * USDC})
            assert (deposit.status_code, deposit.json()["status"]) == (202, "completed")
            assert api.get("wallet").json()["balance_micros"] == 7 * USDC
            assert [entry["kind"] for entry in api.get("ledger").json()["results"]] == ["DEPOSIT"]
            long = api.post("deposits", content=b" " * (LIMITS.body_bytes + 1))
            assert (long.status_code, long.json()["error"]) == (413, "too_large")
            assert api.post("auth/logout").status_code == 204
            assert api.get("wallet").status_code == 401
        _staff_see_operations(running, url)


def _staff_see_operations(running: stack.Stack, url: str) -> None:
    """The same page, from the workers that serve it in production, with all processes' figures."""
    make = "from django.contrib.auth.models import User; User.objects.create_superuser('root',"
    running.manage("shell", "-c", f"{make} password='{PASSWORD}')")
    with httpx.Client(base_url=url) as http:
        http.get("/admin/login/")
        csrf = {"csrfmiddlewaretoken": http.cookies["csrftoken"]}
        http.post("/admin/login/", data=csrf | {"username": "root", "password": PASSWORD})
        page = http.get("/admin/operations/")
        assert page.status_code == 200
        assert "script-src 'self'" in page.headers["content-security-policy"]
        assert "in the index" in page.text  # which the price feed counts
        style = re.search(r'href="(/static/staff/staff[^"]*\.css)"', page.text)
        assert style is not None
        assert http.get(style[1]).status_code == 200
