"""Recorded market data below RECORDINGS_DIR. Where it is missing, the tests on it are skipped,
except in CI, where that is a failure."""

import os
from pathlib import Path

import pytest
from django.conf import settings

BINANCE = (
    "raw/hftbacktest_spot_btcusdt_20240808.jsonl.gz",
    "raw/hftbacktest_spot_btcusdt_20240809.jsonl.gz",
)
KRAKEN_TRADES = ("normalized/kraken_xbtusd_20190701_00h.csv.gz",)


def recording(name: str) -> Path:
    path = Path(settings.RECORDINGS_DIR) / name
    if not path.exists():
        missing = f"the recording {name} is not below RECORDINGS_DIR"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    return path
