"""Security events that come from Django: who may what, and who is locked out."""

import logging
from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from prometheus_client import REGISTRY

from taptrading.security import Kind

pytestmark = pytest.mark.django_db


def count(kind: Kind) -> float:
    return REGISTRY.get_sample_value("security_events_total", {"kind": kind}) or 0.0


def test_user_when_made_staff_then_an_event_and_otherwise_none() -> None:
    before = count("role_change")
    user = User.objects.create_user("ann")
    user.last_name = "Lee"
    user.save()
    assert count("role_change") == before
    user.is_staff = True
    user.save()
    user.save()
    assert count("role_change") == before + 1
    User.objects.create_superuser("root")
    assert count("role_change") == before + 2


def test_rights_when_given_or_taken_then_an_event_each() -> None:
    user, group = User.objects.create_user("ann"), Group.objects.create(name="testers")
    permission = Permission.objects.all()[0]
    before = count("role_change")
    user.groups.add(group)
    user.groups.remove(group)
    user.user_permissions.add(permission)
    group.permissions.add(permission)
    group.permissions.clear()
    assert count("role_change") == before + 5


def test_sign_in_when_a_password_is_tried_too_often_then_the_lock_out_is_an_event(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AXES_LOCKOUT_TEMPLATE = None
    User.objects.create_user("ann", password="the right one", is_staff=True)
    before = count("staff_lockout")
    with caplog.at_level(logging.WARNING):
        for _ in range(settings.AXES_FAILURE_LIMIT):
            Client().post("/admin/login/", {"username": "ann", "password": "wrong"})
    assert count("staff_lockout") == before + 1
    (facts,) = [f for f in map(vars, caplog.records) if f.get("kind") == "staff_lockout"]
    assert (facts["username"], facts["client"]) == ("ann", "127.0.0.0/24")
