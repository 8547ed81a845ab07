"""How staff get in: a password, then a code; and what is in front of those who have none yet."""

import re
import time
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.core.management import CommandError, call_command
from django.test import Client
from django_otp.oath import TOTP
from django_otp.plugins.otp_totp.models import TOTPDevice

from ops.models import AuditEntry
from ops.staff import admission, devices
from ops.staff.acting import POLICY
from tests.integration.ops.conftest import Enter

PASSWORD = "a long one of staff"


@pytest.fixture(autouse=True)
def two_factor(settings: Any, plain_pages: None) -> None:
    settings.STAFF_TWO_FACTOR = True
    settings.OTP_TOTP_THROTTLE_FACTOR = settings.OTP_STATIC_THROTTLE_FACTOR = 0


@pytest.fixture
def ann(db: None) -> User:
    user = User.objects.create_user("ann", password=PASSWORD, is_staff=True)
    user.groups.add(Group.objects.get(name="operator"))
    return user


@pytest.fixture
def client(ann: User) -> Client:
    """Ann's, after her password."""
    client = Client()
    page = client.post("/admin/login/?next=/admin/operations/", _credentials(PASSWORD))
    assert page.status_code == 302
    return client


def _credentials(password: str) -> dict[str, str]:
    return {"username": "ann", "password": password, "next": "/admin/operations/"}


def code_of(device: TOTPDevice, steps: int = 0) -> str:
    totp = TOTP(device.bin_key, device.step, device.t0, device.digits, device.drift)
    totp.time = time.time() + steps * device.step
    return f"{totp.token():06d}"


def set_up(client: Client) -> list[str]:
    """The recovery codes of a device that has just been set up."""
    assert client.get("/admin/second-factor/set-up/").status_code == 200
    device = TOTPDevice.objects.get(confirmed=False)
    page = client.post("/admin/second-factor/set-up/", {"code": code_of(device)})
    assert page.status_code == 200, page.content
    return re.findall(r"<code>([a-z2-7-]+)</code>", page.content.decode())


def test_staff_when_they_have_no_device_then_nothing_but_its_setting_up(client: Client) -> None:
    for path in ("", "operations/", "trace/", "do/breaker/", "wallet/wallet/", "auth/user/"):
        page = client.get(f"/admin/{path}")
        assert page.status_code == 302, path
        assert page["Location"].startswith("/admin/login/"), path
    assert client.get("/health/detailed").status_code == 403
    page = client.get("/admin/login/?next=/admin/operations/")
    assert page["Location"] == "/admin/second-factor/set-up/?next=%2Fadmin%2Foperations%2F"
    assert client.get("/admin/second-factor/")["Location"] == "/admin/second-factor/set-up/"
    assert client.get("/admin/second-factor/codes/").status_code == 302


def test_set_up_when_the_code_is_right_then_admitted_with_codes_shown_once(
    client: Client, ann: User
) -> None:
    codes = set_up(client)
    assert len(set(codes)) == devices.RECOVERY_CODES
    assert client.get("/admin/").status_code == 200
    assert client.get("/health/detailed").status_code == 200
    again = client.get("/admin/second-factor/codes/").content.decode()
    assert "10 recovery codes are left" in again
    assert codes[0] not in again
    assert AuditEntry.objects.filter(action="staff.second_factor_set_up", actor="ann").exists()


def test_set_up_when_the_code_is_wrong_then_there_is_no_device(client: Client, ann: User) -> None:
    client.get("/admin/second-factor/set-up/")
    page = client.post("/admin/second-factor/set-up/", {"code": "000000"})
    assert "not right" in page.content.decode()
    assert not admission.has_device(User.objects.get())
    assert client.get("/admin/").status_code == 302


def test_sign_in_when_there_is_a_device_then_its_code_or_a_recovery_code_once(
    client: Client, ann: User
) -> None:
    recovery = set_up(client)[0]
    for code, admitted in (("123456", False), (recovery, True), (recovery, False), ("x", False)):
        other = Client()
        other.post("/admin/login/", _credentials(PASSWORD))
        step = other.get("/admin/login/?next=/admin/operations/")
        assert step["Location"].startswith("/admin/second-factor/?next=")
        reply = other.post("/admin/second-factor/", {"code": code, "next": "/admin/operations/"})
        assert (reply.status_code == 302) is admitted, code
        assert (other.get("/admin/").status_code == 200) is admitted, code
        # With a device, the password alone sets up no other one.
        if not admitted:
            page = other.get("/admin/second-factor/set-up/")
            assert page["Location"].startswith("/admin/second-factor/")
    assert AuditEntry.objects.filter(action="staff.not_confirmed", actor="ann").count() == 3


def test_sign_in_when_the_code_of_the_app_is_used_then_not_again(client: Client, ann: User) -> None:
    set_up(client)
    code = code_of(TOTPDevice.objects.get(), steps=1)
    for admitted in (True, False):
        other = Client()
        other.force_login(ann, "django.contrib.auth.backends.ModelBackend")
        other.post("/admin/second-factor/", {"code": code})
        assert (other.get("/admin/").status_code == 200) is admitted


@pytest.mark.parametrize("wanted", ["https://evil.example/", "//evil.example", "javascript:x"])
def test_verify_when_it_would_lead_elsewhere_then_it_leads_home(
    client: Client, ann: User, wanted: str
) -> None:
    recovery = set_up(client)[0]
    reply = client.post("/admin/second-factor/", {"code": recovery, "next": wanted})
    assert reply["Location"] == "/admin/"


def test_reset_when_by_command_then_they_start_anew_and_it_is_remembered(
    client: Client, ann: User
) -> None:
    set_up(client)
    said = StringIO()
    call_command("reset_two_factor", "ann", reason="phone lost", by="carl", stdout=said)
    assert said.getvalue() == "ann had 2 devices and has none now\n"
    assert client.get("/admin/").status_code == 302
    note = AuditEntry.objects.get(action="staff.second_factor_reset")
    assert (note.actor, note.subject, note.reason) == ("carl", "user:ann", "phone lost")
    with pytest.raises(CommandError, match="nobody is called eve"):
        call_command("reset_two_factor", "eve", reason="x")


def test_secrets_when_anybody_looks_at_the_database_then_no_recovery_code_is_there(
    client: Client, ann: User
) -> None:
    codes = {code.replace("-", "") for code in set_up(client)}
    stored = {token.token for d in ann.staticdevice_set.all() for token in d.token_set.all()}
    assert len(stored) == 10
    assert not stored & codes


def test_pages_when_of_the_admin_then_under_a_policy_without_inline_script(
    client: Client, ann: User
) -> None:
    page = client.get("/admin/second-factor/set-up/")
    assert page["Content-Security-Policy"] == POLICY
    text = page.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)", text)
    assert not re.search(r"\son\w+=|\sstyle=|javascript:", text)


def test_sign_in_when_it_fails_or_works_then_the_audit_log_has_it(
    ann: User, client: Client
) -> None:
    Client().post("/admin/login/", _credentials("wrong"))
    client.post("/admin/logout/")
    actions = list(AuditEntry.objects.order_by("id").values_list("action", flat=True))
    assert " ".join(actions) == (
        "staff.rights staff.roles staff.signed_in staff.sign_in_failed staff.signed_out"
    )
    note = AuditEntry.objects.get(action="staff.roles")
    assert (note.subject, note.after) == ("user:ann", {"add": ["operator"]})


def test_administrator_when_they_give_roles_then_neither_their_own_nor_roots_nor_two_at_once(
    enter: Enter, ann: User, settings: Any
) -> None:
    settings.STAFF_TWO_FACTOR = False
    client = enter("administrator", name="adam")
    adam, root = User.objects.get(username="adam"), User.objects.create_superuser("root")
    for user in (adam, root):
        assert client.post(f"/admin/auth/user/{user.pk}/change/", {}).status_code == 403
    groups = dict(Group.objects.values_list("name", "pk"))
    both = [groups["operator"], groups["administrator"]]
    fields = {"username": "ann", "is_active": "on", "is_staff": "on"}
    page = client.post(f"/admin/auth/user/{ann.pk}/change/", fields | {"groups": both})
    assert "An administrator has no other role." in page.content.decode()
    only = fields | {"groups": [groups["viewer"]], "is_superuser": "on"}
    assert client.post(f"/admin/auth/user/{ann.pk}/change/", only).status_code == 302
    ann.refresh_from_db()
    assert (list(ann.groups.values_list("name", flat=True)), ann.is_superuser) == (
        *(["viewer"], False),
    )
    assert AuditEntry.objects.filter(action="staff.roles", actor="adam").exists()
