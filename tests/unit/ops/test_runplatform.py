"""What `make run` tells the person who typed it."""

import sys
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from ops.management.commands.runplatform import _banner, _news
from ops.supervisor import Part


async def answers() -> bool:
    return True


def banner(url: str = "http://127.0.0.1:8000") -> dict[str, str]:
    lines = [line.strip().partition("  ") for line in _banner(url, 2.24, Path("p.log"))]
    return {name: told.strip() for name, _, told in lines}


def test_banner_when_nothing_is_set_then_commands_as_short_as_they_can_be(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = django_settings.BASE_DIR / "var"
    monkeypatch.setattr(sys, "executable", "/opt/python")

    told = banner()

    assert "TapTrading is up after 2.2 s" in told
    assert told["watch a trader play"] == "/opt/python manage.py play --rounds 5"
    assert told["administration"].endswith("(/opt/python manage.py createsuperuser)")


def test_banner_when_folder_and_port_are_set_then_each_command_gets_what_it_needs(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.DATA_DIR = Path("/tmp/my tap")
    monkeypatch.setattr(sys, "executable", "/opt/python")

    told = banner("http://127.0.0.1:8001")

    play = "/opt/python manage.py play --rounds 5 --url http://127.0.0.1:8001"
    assert told["watch a trader play"] == play
    create = "(DATA_DIR='/tmp/my tap' /opt/python manage.py createsuperuser)"
    assert told["administration"].endswith(create)


def test_news_when_part_came_up_then_how_long_it_took_where_that_is_known() -> None:
    assert _news(Part("writer", ("w",), probe=answers), 0.42) == "is up (0.4 s)"
    assert _news(Part("funding", ("f",), once=True), 0.42) == "is done (0.4 s)"
    assert _news(Part("worker", ("c",)), 0.0) == "was started"
