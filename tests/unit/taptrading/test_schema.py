"""The OpenAPI document tells of what is served without Django, as it is served."""

from typing import Any

import msgspec
import pytest
from drf_spectacular.validation import validate_schema

from bets import reads
from bets.entry import BetRequest
from bets.quotes import Quotes
from pricefeed.board import Board
from taptrading.schema import add_raw_paths


def document(**paths: Any) -> dict[str, Any]:
    empty = {"openapi": "3.0.3", "info": {"title": "t", "version": "1"}, "paths": paths}
    return add_raw_paths(empty, None, None, True)


def fields(name: str) -> set[str]:
    found: dict[str, Any] = document()["components"]["schemas"][name]
    assert found["required"] == list(found["properties"])
    return set(found["properties"])


def test_add_raw_paths_when_validated_is_openapi() -> None:
    validate_schema(document())


def test_add_raw_paths_when_django_describes_a_path_keeps_its_operations() -> None:
    list_bets = {"responses": {"200": {"description": "the list"}}}
    paths = document(**{"/api/v1/bets": {"get": list_bets}})["paths"]
    assert paths["/api/v1/bets"]["get"] == list_bets
    assert "202" in paths["/api/v1/bets"]["post"]["responses"]


@pytest.mark.parametrize("path", list(reads.ROUTES))
def test_add_raw_paths_names_every_read(path: str) -> None:
    assert "get" in document()["paths"][path]


def test_components_have_the_fields_that_are_served() -> None:
    board = Board()
    assert fields("PlatformConfig") == set(reads.config_json())
    assert fields("PlatformStatus") == set(board.status_json(0))
    assert fields("Grid") == set(Quotes(board.refusal).grid_json(0))
    assert fields("BetRequest") == {field.name for field in msgspec.structs.fields(BetRequest)}
