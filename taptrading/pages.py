"""Lists of the API: newest first, a page at a time, by the time-ordered id. Knows no app."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from django.urls import register_converter
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from taptrading.errors import ApiError
from taptrading.limits import LIMITS
from taptrading.money import MAX_INT
from taptrading.rows import Rows

R = TypeVar("R")


class Partial(list[R]):
    """Fewer rows than asked for although there are more: the rest is not at hand yet."""


class PageRequest(NamedTuple):
    """`?limit=` and `?before=` of a list, newest first; `before` is the last id already seen."""

    limit: int
    before: int | None

    @classmethod
    def of(cls, request: Request) -> "PageRequest":
        """Raises ApiError (invalid_request)."""
        limit = _query_int(request, "limit", LIMITS.page_max, LIMITS.page_default)
        return cls(limit or LIMITS.page_default, _query_int(request, "before", MAX_INT, None))

    def cut(
        self, request: Request, rows: Sequence[R], id_of: Callable[[R], int]
    ) -> tuple[Sequence[R], str | None]:
        """At most `limit` of `limit + 1` rows, and the relative URL of the next page."""
        if len(rows) <= self.limit and not isinstance(rows, Partial):
            return rows, None
        kept = rows[: self.limit]
        query = request._request.GET.copy()
        query["before"] = str(id_of(kept[-1]))
        return kept, f"{request.path}?{query.urlencode()}"


def _query_int(request: Request, name: str, most: int, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) <= 19 and 1 <= int(text) <= most):
        raise ApiError("invalid_request", fields={name: [f"An integer in 1 … {most}."]})
    return int(text)


class CursorPage(BasePagination):
    """Pages of rows by descending id, which is time-ordered: a walk down an index, as quick on the
    last page as on the first."""

    next_url: str | None = None

    def paginate_queryset(  # type: ignore[override]
        self, queryset: Rows[Any], request: Request, view: Any = None
    ) -> list[Any]:
        page = PageRequest.of(request)
        rows = queryset.newest(page.limit + 1, page.before)
        kept, self.next_url = page.cut(request, rows, lambda row: row.id)
        return list(kept)

    def get_paginated_response(self, data: Any) -> Response:
        return Response({"results": data, "next": self.next_url})

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        return {
            "type": "object",
            "required": ["results", "next"],
            "properties": {
                "results": schema,
                "next": {"type": "string", "nullable": True, "format": "uri-reference"},
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        return [
            _query_parameter("limit", LIMITS.page_max, "Rows a page."),
            _query_parameter("before", MAX_INT, "Only rows older than this id; see `next`."),
        ]


def _query_parameter(name: str, most: int, description: str) -> dict[str, Any]:
    schema = {"type": "integer", "minimum": 1, "maximum": most}
    return {"name": name, "in": "query", "schema": schema, "description": description}


class IdConverter:
    """`<id:…>` in a path: a minted id; anything else is not found."""

    regex = "[1-9][0-9]{0,18}"

    def to_python(self, value: str) -> int:
        number = int(value)
        if number > MAX_INT:
            raise ValueError("an id has 63 bits")
        return number

    def to_url(self, value: int) -> str:
        return str(value)


register_converter(IdConverter, "id")
