"""Strict input: JSON and fields that take only what the contract documents.

Knows no app. Every refusal is `invalid_request` or `too_large`, before anything is stored.
"""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from rest_framework import exceptions, serializers
from rest_framework.parsers import BaseParser

from taptrading.errors import ApiError
from taptrading.limits import LIMITS
from taptrading.money import MAX_INT


class StrictJSONParser(BaseParser):
    """One JSON object of at most 16 KiB: no float, no NaN, no key twice, no lone surrogate."""

    media_type = "application/json"

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        body: bytes = stream.read(LIMITS.body_bytes + 1)
        if len(body) > LIMITS.body_bytes:
            raise ApiError("too_large", limit_bytes=LIMITS.body_bytes)
        return parse_json_object(body)


def parse_json_object(body: bytes) -> dict[str, Any]:
    """Raises ApiError (invalid_request)."""
    try:
        parsed = json.loads(
            body.decode(),
            object_pairs_hook=_object_of_unique_keys,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
        # A lone surrogate parses, but no reply, log or column could hold it.
        json.dumps(parsed, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ApiError("invalid_request", f"The body is not acceptable JSON: {error}.") from None
    if not isinstance(parsed, dict):
        raise ApiError("invalid_request", "The body must be a JSON object.")
    return parsed


def _object_of_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return found


def _refuse_number(text: str) -> NoReturn:
    raise ValueError(f"{text[:20]} is not an integer")


class StrictSerializer(serializers.Serializer[Any]):
    """Refuses fields it does not know."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, Mapping):
            known = {name for name, field in self.fields.items() if not field.read_only}
            if unknown := sorted(set(data) - known):
                raise exceptions.ValidationError({name: ["Unknown field."] for name in unknown})
        return super().to_internal_value(data)


class IntField(serializers.IntegerField):
    """A JSON integer in 0 … 2^63 - 1: no text, no bool, no float."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"min_value": 0, "max_value": MAX_INT, **options})

    def to_internal_value(self, data: Any) -> int:
        if type(data) is not int:
            self.fail("invalid")
        return super().to_internal_value(data)


class TextField(serializers.CharField):
    """A JSON string, taken as it is."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **options})

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)
