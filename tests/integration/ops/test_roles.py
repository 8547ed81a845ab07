"""Every page of the admin and every resource of the API, for every role."""

from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse

from ops.desk.deeds import DEEDS
from ops.staff.roles import ROLES
from taptrading.urls import urlpatterns
from tests.fakes import InProcessLink
from tests.integration.ops.conftest import Enter

V, S, O, A = "viewer", "support", "operator", "administrator"  # noqa: E741
EVERY: Final = {V, S, O, A}
# Who may see which page of lists; a page that is not here has to be added.
LISTS: Final = {
    "auth_group": {A},
    "auth_user": {A},
    "bets_bet": EVERY,
    "bets_cellexposure": EVERY,
    "bets_settlement": EVERY,
    "ops_auditentry": {O, A},
    "ops_proposal": EVERY,
    "pricefeed_breakeroverride": EVERY,
    "pricefeed_tick": EVERY,
    "wallet_custodyevent": EVERY,
    "wallet_deposit": EVERY,
    "wallet_ledgerentry": EVERY,
    "wallet_localtransfer": {S, O},
    "wallet_seal": EVERY,
    "wallet_sessionkey": {S, O},
    "wallet_tradersession": {S, O},
    "wallet_wallet": EVERY,
    "wallet_withdrawal": EVERY,
}
PAGES: Final = {
    "/admin/": EVERY,
    "/admin/operations/": EVERY,
    "/admin/trace/": {S, O, A},
    "/admin/trace/?q=1": {S, O, A},
    "/admin/password_change/": EVERY,
    "/admin/jsi18n/": EVERY,
    "/admin/auth/user/add/": {A},
    "/health/detailed": EVERY,
}
DOES: Final = {
    "breaker": {O},
    "freeze": {S, O},
    "unfreeze": {O},
    "approve-withdrawal": {O},
    "reject-withdrawal": {O},
    "fund-house": {O},
    "take-profit": {O},
    "adjust": {O},
}
WHO: Final = [V, S, O, A, "none", "trader", "nobody"]


@pytest.fixture
def redis_url() -> None:
    """Not needed: what is asked here is who may."""


@pytest.fixture
def entered(enter: Enter, writer: InProcessLink, who: str) -> Client:
    """`none` is staff without a role, `trader` has signed in but is no staff."""
    if who == "nobody":
        return Client()
    roles = () if who in ("none", "trader") else (who,)
    return enter(*roles, staff=who != "trader")


def expected(who: str, allowed: set[str], anybody_on_staff: bool = False) -> int:
    if who in ("nobody", "trader"):
        return 302
    if who == "none":
        return 200 if anybody_on_staff else 403
    return 200 if who in allowed else 403


@pytest.mark.parametrize("who", WHO)
def test_pages_when_looked_at_by_a_role_then_shown_or_refused(entered: Client, who: str) -> None:
    pages = PAGES | {
        reverse(f"admin:{name}_changelist"): allowed for name, allowed in LISTS.items()
    }
    pages |= {reverse("admin:deed", args=[name]): allowed for name, allowed in DOES.items()}
    open_to_all = {"/admin/", "/admin/password_change/", "/admin/jsi18n/", "/health/detailed"}
    found = {path: entered.get(path).status_code for path in pages}
    wanted = {path: expected(who, allowed, path in open_to_all) for path, allowed in pages.items()}
    if who in ("nobody", "trader"):
        wanted["/health/detailed"] = 401 if who == "nobody" else 403
    assert found == wanted


@pytest.mark.parametrize("who", WHO)
def test_deeds_when_tried_by_a_role_then_done_only_by_those_who_may(
    entered: Client, who: str
) -> None:
    found = {
        name: entered.post(reverse("admin:deed", args=[name]), {}).status_code for name in DOES
    }
    # An empty form is a bad one: whoever gets that far may.
    told = {200: 400, 302: 302, 403: 403}
    assert found == {name: told[expected(who, allowed)] for name, allowed in DOES.items()}


@pytest.mark.parametrize("who", WHO)
def test_rows_when_changed_by_a_role_then_never(entered: Client, who: str) -> None:
    for name in sorted(set(LISTS) - {"auth_user"}):
        for path in (
            reverse(f"admin:{name}_add"),
            reverse(f"admin:{name}_change", args=[1]),
            reverse(f"admin:{name}_delete", args=[1]),
        ):
            assert entered.post(path, {"post": "yes"}).status_code in (302, 403), path
        actions = {"action": "delete_selected", "_selected_action": [1]}
        listed = entered.post(reverse(f"admin:{name}_changelist"), actions)
        assert b"deleted" not in listed.content


@pytest.mark.parametrize("who", WHO)
def test_api_when_asked_by_a_role_then_staff_are_nobody_to_it(entered: Client, who: str) -> None:
    """A staff session is no trader's: what needs one is refused, the rest is open to everybody."""
    asked = {path: entered.get(path) for path in _api_paths()}
    assert len(asked) >= 10
    for path, reply in asked.items():
        anonymous = Client().get(path)
        assert reply.status_code == anonymous.status_code, path
    closed = {path for path, reply in asked.items() if reply.status_code == 401}
    assert {"/api/v1/wallet", "/api/v1/ledger", "/api/v1/bets", "/api/v1/withdrawals"} <= closed


def test_matrix_when_compared_with_what_there_is_then_whole() -> None:
    models = {f"{m._meta.app_label}_{m._meta.model_name}" for m in admin.site._registry}
    assert models == set(LISTS)
    assert set(DEEDS) == set(DOES)
    assert set(ROLES) == EVERY
    mine = {p.name for p in admin.site.get_urls() if isinstance(p, URLPattern)}
    known = {"index", "login", "logout", "password_change", "password_change_done"}
    known |= {"autocomplete", "jsi18n", "view_on_site", None, "app_list"}
    known |= {"verify", "set_up", "recovery_codes", "operations", "trace", "proposal", "deed"}
    assert mine <= known


def _api_paths() -> Iterator[str]:
    """Those of the API that take no parameter."""
    assert urlpatterns
    for pattern in _flat(get_resolver().url_patterns):
        path = pattern.replace("^", "").replace("$", "").replace("/?", "")
        if path.startswith("api/v1/") and "(" not in path and "<" not in path:
            yield f"/{path.rstrip('/')}"


def _flat(patterns: Any, prefix: str = "") -> Iterator[str]:
    for item in patterns:
        if isinstance(item, URLResolver):
            yield from _flat(item.url_patterns, prefix + str(item.pattern))
        else:
            yield prefix + str(item.pattern)
