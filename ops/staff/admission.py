"""Who is let in: staff with a password, and, where it is asked for, a second factor."""

from typing import Any

from django.conf import settings
from django.contrib.auth.signals import user_logged_in
from django.http import HttpRequest
from django.urls import reverse
from django_otp.plugins.otp_totp.models import TOTPDevice

from taptrading import clock

CONFIRMED_AT = "staff_confirmed_at"


def is_staff(request: HttpRequest) -> bool:
    """Signed in with the password of one of the staff; perhaps not admitted yet."""
    user = request.user
    return bool(user.is_authenticated and user.is_active and user.is_staff)


def is_admitted(request: HttpRequest) -> bool:
    return is_staff(request) and (is_verified(request.user) or not needs_two_factor(request.user))


def is_verified(user: Any) -> bool:
    """Whether a device of theirs has verified this session."""
    return bool(getattr(user, "otp_device", None))


def needs_two_factor(user: Any) -> bool:
    """Whoever has a device uses it, even where nobody is made to have one."""
    return bool(settings.STAFF_TWO_FACTOR or has_device(user))


def has_device(user: Any) -> bool:
    """Asked of the database once a request, however often a page wants to know."""
    if not hasattr(user, "_has_device"):
        # Recovery codes come with an app, never alone.
        user._has_device = TOTPDevice.objects.devices_for_user(user, confirmed=True).exists()
    return bool(user._has_device)


def next_step(request: HttpRequest) -> str:
    """The page that someone who has given their password is to see next."""
    return reverse("admin:verify" if has_device(request.user) else "admin:set_up")


def confirm(request: HttpRequest) -> None:
    """They have just shown who they are."""
    request.session[CONFIRMED_AT] = clock.now_s()


def is_recent(request: HttpRequest) -> bool:
    """Whether they showed who they are shortly before: what is dangerous asks for that."""
    confirmed_s = request.session.get(CONFIRMED_AT, 0)
    return bool(0 <= clock.now_s() - confirmed_s <= settings.STAFF_RECENT_S)


def _signed_in(request: HttpRequest, user: Any, **_: Any) -> None:
    if not needs_two_factor(user):
        confirm(request)


def connect() -> None:
    """A password shows who somebody is, unless there is more to ask for."""
    user_logged_in.connect(_signed_in)
