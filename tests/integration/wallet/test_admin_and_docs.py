"""Operators read money and cannot change it; the documentation is complete and offline."""

import re
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from wallet import models

TABLES = [
    models.Wallet,
    models.LedgerEntry,
    models.Seal,
    models.SessionKey,
    models.Deposit,
    models.Withdrawal,
    models.CustodyEvent,
    models.TraderSession,
    models.LocalTransfer,
]


@pytest.fixture
def operator(trader: Any, http: Client) -> Client:
    """Root, in front of some history."""
    for _ in range(5):
        trader.deposit(10)
        trader.post("withdrawals", trader.withdrawal(1))
        key = f"0x{models.SessionKey.objects.count():040x}"
        trader.post("session-keys", trader.session_key(key))
        trader.sign_in()
    http.force_login(User.objects.create_superuser("root", password="not used"))
    return http


@pytest.mark.parametrize("model", TABLES, ids=lambda model: model.__name__)
def test_admin_when_root_looks_then_a_list_in_few_queries_and_nothing_to_change(
    operator: Client, model: Any, django_assert_max_num_queries: Any
) -> None:
    name = f"admin:wallet_{model._meta.model_name}"
    with django_assert_max_num_queries(8):
        page = operator.get(reverse(f"{name}_changelist") + "?q=1")
    assert page.status_code == 200
    page = operator.get(reverse(f"{name}_changelist"))
    assert page.context["cl"].result_count >= 5 or model is models.Wallet

    row = model.objects.order_by("-pk").first()
    change = reverse(f"{name}_change", args=[row.pk])
    assert operator.get(change).status_code == 200
    operator.cookies["csrftoken"] = "c" * 32
    csrf = {"X-CSRFToken": "c" * 32}
    assert operator.post(change, {}, headers=csrf).status_code == 403
    assert operator.post(reverse(f"{name}_add"), {}, headers=csrf).status_code == 403
    delete = reverse(f"{name}_delete", args=[row.pk])
    assert operator.post(delete, {"post": "yes"}, headers=csrf).status_code == 403
    assert model.objects.filter(pk=row.pk).exists()


def test_admin_then_every_table_of_money_is_there() -> None:
    admin.autodiscover()
    assert set(TABLES) <= set(admin.site._registry)


def test_admin_when_a_trader_looks_then_asked_to_log_in(trader: Any) -> None:
    page = trader.http.get("/admin/", headers={"Authorization": f"Bearer {trader.token}"})
    assert page.status_code == 302


@pytest.mark.parametrize("path", ["/api/docs", "/api/redoc"])
def test_docs_then_they_load_nothing_from_elsewhere(http: Client, path: str) -> None:
    page = http.get(path)
    assert page.status_code == 200
    assert not re.findall(rb'(?:src|href)="(?:https?:)?//', page.content)


def test_root_then_is_the_traders_page_under_a_strict_policy(http: Client) -> None:
    page = http.get("/")

    assert page.status_code == 200
    assert b"<title>TapTrading</title>" in page.content
    assert not re.findall(rb"<script(?![^>]*src=)|<style| on[a-z]+=| style=", page.content)
    policy = page["Content-Security-Policy"].split("; ")
    assert {"default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"} <= set(policy)
    assert "unsafe" not in page["Content-Security-Policy"]
    assert "csrftoken" in page.cookies


def test_schema_then_every_resource_is_described_with_its_errors(http: Client) -> None:
    schema = http.get("/api/schema?format=json").json()
    operations = {
        (path, method): operation
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }
    withdraw = operations["/api/v1/withdrawals", "post"]
    assert set(withdraw["responses"]) == {"202", "400", "401", "403", "409", "422", "503", "504"}
    assert withdraw["security"] == [{"bearer": []}, {"cookie": []}]
    assert operations["/api/v1/session-keys", "post"].get("security", [{}]) == [{}]
    assert ("/api/v1/withdrawals/{withdrawal_id}", "delete") in operations
    fields = schema["components"]["schemas"]["WithdrawalInput"]["properties"]
    assert fields["amount_micros"]["maximum"] == 2**63 - 1
