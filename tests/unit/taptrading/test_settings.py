"""Settings that make no sense are a refusal to start, in a sentence that helps."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from taptrading import settings


def start(
    monkeypatch: pytest.MonkeyPatch, folder: Path, sources: list[str], files: list[str]
) -> None:
    monkeypatch.setattr(settings, "PRICE_SOURCES", sources)
    monkeypatch.setattr(settings, "REPLAY_FILES", files)
    monkeypatch.setattr(settings, "RECORDINGS_DIR", folder)
    settings._refuse_to_start()


@pytest.mark.parametrize(
    ("sources", "files", "sentence"),
    [
        (["nyse", "binance"], [], "PRICE_SOURCES holds the unknown nyse: it is simulated, replay"),
        ([], [], "PRICE_SOURCES is simulated alone"),
        (["replay", "binance"], ["here.csv.gz"], "replay alone"),
        (["simulated", "kraken"], [], "simulated alone"),
        (["kraken", "kraken"], [], "each once"),
        (["replay"], [], "PRICE_SOURCES=replay needs REPLAY_FILES, below RECORDINGS_DIR"),
        (["replay"], ["here.csv.gz", "gone.csv.gz"], r"REPLAY_FILES not found .*: gone\.csv\.gz$"),
    ],
)
def test_start_when_price_sources_make_no_sense_then_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    sources: list[str],
    files: list[str],
    sentence: str,
) -> None:
    (tmp_path / "here.csv.gz").touch()

    with pytest.raises(ImproperlyConfigured, match=f"refusing to start: .*{sentence}"):
        start(monkeypatch, tmp_path, sources, files)


@pytest.mark.parametrize(
    "sources", [["simulated"], ["replay"], ["kraken"], ["binance", "coinbase", "kraken"]]
)
def test_start_when_price_sources_are_fine_then_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sources: list[str]
) -> None:
    (tmp_path / "here.csv.gz").touch()

    start(monkeypatch, tmp_path, sources, ["here.csv.gz"])


@pytest.mark.parametrize("least", [-1, 0, 3])
def test_start_when_sources_min_cannot_be_met_then_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, least: int
) -> None:
    monkeypatch.setattr(settings, "SOURCES_MIN", least)

    with pytest.raises(ImproperlyConfigured, match=f"SOURCES_MIN={least} is not in 1 … 2"):
        start(monkeypatch, tmp_path, ["binance", "kraken"], [])


def test_start_when_every_source_is_needed_then_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(settings, "SOURCES_MIN", 2)

    start(monkeypatch, tmp_path, ["binance", "kraken"], [])


@pytest.mark.parametrize("workers", [-1, 0, 17])
def test_start_when_web_workers_are_none_or_too_many_then_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int
) -> None:
    monkeypatch.setattr(settings, "WEB_WORKERS", workers)

    with pytest.raises(ImproperlyConfigured, match=f"WEB_WORKERS={workers} is not in 1 … 16"):
        start(monkeypatch, tmp_path, ["simulated"], [])


@pytest.mark.parametrize("workers", [1, 16])
def test_start_when_web_workers_are_few_then_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, workers: int
) -> None:
    monkeypatch.setattr(settings, "WEB_WORKERS", workers)

    start(monkeypatch, tmp_path, ["simulated"], [])


@pytest.mark.parametrize(("cores", "workers"), [(1, 1), (2, 1), (3, 2), (64, 2)])
def test_web_workers_when_not_set_then_a_second_one_where_a_third_core_is(
    cores: int, workers: int
) -> None:
    assert settings.default_web_workers(cores) == workers


def test_read_setting_when_it_is_no_number_then_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE", "abc")

    with pytest.raises(ImproperlyConfigured, match=r"NODE makes no sense: .*'abc'"):
        settings.env.int("NODE", 0)


def test_connect_when_another_holds_the_write_lock_then_does_not_wait(tmp_path: Path) -> None:
    path = tmp_path / "db.sqlite3"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.executescript(settings._sqlite_pragmas(path))
        assert writer.execute("PRAGMA auto_vacuum").fetchone() == (2,)
        writer.execute("CREATE TABLE t (id)")
        writer.execute("BEGIN IMMEDIATE")
        with closing(sqlite3.connect(path, timeout=0)) as reader:
            reader.executescript(settings._sqlite_pragmas(path))
            assert reader.execute("SELECT count(*) FROM t").fetchone() == (0,)
