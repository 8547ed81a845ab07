"""Describes in the OpenAPI document what is served without Django: reads and POST bets.

A postprocessing hook of drf-spectacular; the forms are those of the contract.
"""

from typing import Any, Final

from taptrading.errors import CODES
from taptrading.limits import LIMITS
from taptrading.money import MAX_INT

Schema = dict[str, Any]


def _integer(description: str = "", *, nullable: bool = False) -> Schema:
    found: Schema = {"type": "integer", "format": "int64"}
    if description:
        found["description"] = description
    if nullable:
        found["nullable"] = True
    return found


def _request_integer(description: str) -> Schema:
    return {**_integer(description), "minimum": 0, "maximum": MAX_INT}


def _count(most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most}


def _text(description: str = "", **more: Any) -> Schema:
    found: Schema = {"type": "string", **more}
    if description:
        found["description"] = description
    return found


def _object(description: str = "", **properties: Schema) -> Schema:
    found: Schema = {"type": "object", "properties": properties, "required": list(properties)}
    if description:
        found["description"] = description
    return found


def _list(items: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": items, **more}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


_TIME: Final = _text(format="date-time")
_NULL_TIME: Final = _text(format="date-time", nullable=True)
_BREAKER: Final = ["closed", "degraded", "open"]
_OVERRIDE: Final = ["auto", "open", "close"]

_BET: Final[dict[str, Schema]] = {
    "bet_id": _text(),
    "status": _text(enum=["accepted", "confirmed", "rejected", "won", "lost", "void"]),
    "cell_id": _text("`<column_start>_<low_cents>_<high_cents>`"),
    "stake_micros": _integer(),
    "min_rate_bps": _integer(),
    "rate_bps": _integer("Null until confirmed.", nullable=True),
    "potential_payout_micros": _integer("Null until confirmed.", nullable=True),
    "payout_micros": _integer("Null until resolved.", nullable=True),
    "nonce": _text(format="uuid"),
    "accepted_at": _TIME,
    "confirmed_at": _NULL_TIME,
    "resolved_at": _NULL_TIME,
    "reason": _text(nullable=True),
}

_COMPONENTS: Final[dict[str, Schema]] = {
    "PlatformConfig": _object(
        "The rules of the game, and what signed texts name.",
        domain=_text("As signed texts name it, port included."),
        chain_id=_integer(),
        version=_integer(),
        presets_micros=_list(_integer()),
        column_s=_integer(),
        band_cents=_integer(),
        columns=_integer(),
        bands=_integer(),
        locked_columns=_integer(),
        edge_bps=_integer(),
        index_hz=_integer(),
        pricing_delay_ms=_integer(),
        rate_max_bps=_integer(),
        demo={"type": "boolean"},
    ),
    "PlatformStatus": _object(
        breaker=_text(enum=_BREAKER),
        override=_text(enum=_OVERRIDE),
        reason=_text(),
        price_age_ms=_integer(nullable=True),
        server_time=_TIME,
    ),
    "IndexPrice": _object(
        price_cents=_integer(), at=_TIME, seq=_integer(), age_ms=_integer("Milliseconds.")
    ),
    "Candle": _object(
        at=_TIME,
        open_cents=_integer(),
        low_cents=_integer(),
        high_cents=_integer(),
        close_cents=_integer(),
    ),
    "CandlePage": _object(
        "Newest first.",
        results=_list(_ref("Candle")),
        next=_text("A relative URL.", format="uri-reference", nullable=True),
    ),
    "Grid": _object(
        "The cells that can be bet on now.",
        quoted_at=_NULL_TIME,
        price_cents=_integer(nullable=True),
        cells=_list(_object(cell_id=_text(), rate_bps=_integer(), room_micros=_integer())),
    ),
    "BetRequest": {
        **_object(
            "A bet, signed by the wallet or one of its session keys.",
            wallet=_text("An address.", pattern="^0[xX][0-9a-fA-F]{40}$"),
            cell_id=_text("`<column_start>_<low_cents>_<high_cents>`"),
            stake_micros=_request_integer("One of the presets."),
            min_rate_bps=_request_integer("The smallest rate the trader accepts."),
            nonce=_text("Lower case.", format="uuid"),
            timestamp=_request_integer("Unix seconds."),
            chain_id=_request_integer("As in config."),
            signature=_text("65 bytes.", pattern="^0x[0-9a-fA-F]{130}$"),
        ),
        "additionalProperties": False,
    },
    "BetBatchRequest": {
        **_object(bets=_list(_ref("BetRequest"), minItems=1, maxItems=LIMITS.batch_bets)),
        "additionalProperties": False,
    },
    "AcceptedBet": _object(
        "The stake is committed; the pricing tick confirms or rejects within a second.",
        **_BET,
        balance_micros=_integer(),
    ),
    "BetBatchResult": _object(
        results=_list(
            {
                "type": "object",
                "description": "An accepted bet, or the error it was refused with; in order.",
                "properties": {
                    "status": _integer(),
                    "bet": _ref("AcceptedBet"),
                    "error": _text(),
                    "message": _text(),
                    "detail": {"type": "object", "additionalProperties": {}},
                    "request_id": _text(),
                },
                "required": ["status"],
            }
        )
    ),
    "BetCheck": _object(
        "What the answer would be now; claims nothing.",
        ok={"type": "boolean"},
        rate_bps=_integer(nullable=True),
        error=_text(nullable=True),
        detail={"type": "object", "additionalProperties": {}},
    ),
    "Error": _object(
        "Every error looks like this.",
        error=_text("A stable code."),
        message=_text("A sentence for people."),
        detail={"type": "object", "additionalProperties": {}},
        request_id=_text("As in X-Request-ID."),
    ),
}

_BET_CODES: Final = (
    "invalid_request", "too_large", "wrong_chain", "bad_signature", "timestamp_expired",
    "timestamp_in_future", "unknown_wallet", "session_key_invalid", "wallet_frozen",
    "dependency_unavailable", "breaker_open", "price_stale", "overloaded", "rate_limited",
    "nonce_reused", "cell_off_grid", "cell_locked", "stake_not_allowed", "rate_moved",
    "limit_reached", "player_limit", "cell_taken", "insufficient_funds", "outcome_unknown",
)  # fmt: skip


def _json(schema: Schema, description: str) -> Schema:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _errors(*codes: str) -> dict[str, Schema]:
    by_status: dict[int, list[str]] = {}
    for code in codes:
        by_status.setdefault(CODES[code].status, []).append(f"`{code}`")
    return {
        str(status): _json(_ref("Error"), ", ".join(names))
        for status, names in sorted(by_status.items())
    }


def _read(name: str, schema: Schema, *codes: str, parameters: tuple[Schema, ...] = ()) -> Schema:
    operation: Schema = {
        "operationId": f"api_v1_{name}_retrieve",
        "tags": ["game"],
        "security": [{}],
        "responses": {"200": _json(schema, ""), **_errors(*codes)},
    }
    if parameters:
        operation["parameters"] = list(parameters)
    return {"get": operation}


def _write(name: str, request: str, status: str, reply: str, *codes: str) -> Schema:
    body = {"required": True, "content": {"application/json": {"schema": _ref(request)}}}
    return {
        "post": {
            "operationId": f"api_v1_{name}_create",
            "description": "Needs no session: the signature is the authority.",
            "tags": ["bets"],
            "security": [{}],
            "requestBody": body,
            "responses": {status: _json(_ref(reply), ""), **_errors(*codes)},
        }
    }


def _query(name: str, schema: Schema, description: str) -> Schema:
    return {"in": "query", "name": name, "schema": schema, "description": description}


_RANGE: Final = (
    _query("from", _TIME, "RFC 3339; steps that begin at this instant or later."),
    _query("to", _TIME, "RFC 3339; steps that begin before this instant."),
    _query("step_s", _count(86_400), "Seconds a step."),
    _query("limit", _count(LIMITS.page_max), "Steps a page; of long steps a page has fewer."),
)

_PATHS: Final[dict[str, Schema]] = {
    "/api/v1/config": _read("config", _ref("PlatformConfig")),
    "/api/v1/status": _read("status", _ref("PlatformStatus")),
    "/api/v1/price": _read("price", _ref("IndexPrice"), "price_stale"),
    "/api/v1/prices": _read(
        "prices",
        _ref("CandlePage"),
        "invalid_request",
        "dependency_unavailable",
        parameters=_RANGE,
    ),
    "/api/v1/grid": _read("grid", _ref("Grid")),
    "/api/v1/bets": _write("bets", "BetRequest", "202", "AcceptedBet", *_BET_CODES),
    "/api/v1/bets/batch": _write(
        "bets_batch",
        "BetBatchRequest",
        "200",
        "BetBatchResult",
        *("invalid_request", "too_large", "rate_limited", "dependency_unavailable"),
    ),
    "/api/v1/bets/check": _write(
        "bets_check",
        "BetRequest",
        "200",
        "BetCheck",
        *("invalid_request", "too_large", "rate_limited", "dependency_unavailable"),
    ),
}


def add_raw_paths(result: Schema, generator: Any, request: Any, public: bool) -> Schema:
    """For SPECTACULAR_SETTINGS["POSTPROCESSING_HOOKS"]; what Django describes stays as it is."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in _COMPONENTS.items():
        schemas.setdefault(name, schema)
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    paths = result.setdefault("paths", {})
    for path, operations in _PATHS.items():
        paths[path] = {**operations, **paths.get(path, {})}
    result["paths"] = dict(sorted(paths.items()))
    return result
