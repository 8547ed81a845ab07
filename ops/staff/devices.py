"""The second factor: an app that shows a new code every 30 s, and codes on paper for when it is
lost. A code on paper is good once; what is stored of it is its hash.
"""

import base64
import hashlib
import io
import secrets
from typing import Any, Final

import qrcode
import qrcode.image.svg
from django.db import transaction
from django_otp.models import Device
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from taptrading import audit
from taptrading.audit import Note

RECOVERY_CODES: Final = 10
_CODE_BYTES: Final = 10  # 16 letters, 80 bits
_STORED: Final = 16  # what the column takes: 64 bits of the hash


def matching(user: Any, text: str) -> Device | None:
    """The confirmed device of theirs that this code is of. Wrong ones make the device slower."""
    code = text.replace(" ", "").replace("-", "").lower()
    kind: Any = TOTPDevice if code.isdecimal() else StaticDevice
    token = code if kind is TOTPDevice else _hash(code)
    with transaction.atomic():
        for device in kind.objects.devices_for_user(user, confirmed=True).select_for_update():
            if device.verify_token(token):
                return device
    return None


def pending(user: Any) -> TOTPDevice:
    """The device that they are about to set up, with a secret of its own."""
    device, _ = TOTPDevice.objects.get_or_create(
        user=user, confirmed=False, defaults={"name": "authenticator"}
    )
    return device


def set_up(user: Any, text: str) -> tuple[Device, list[str]] | None:
    """The pending device, confirmed by its first code, in the place of all older ones, and new
    recovery codes; None if the code is not its."""
    with transaction.atomic():
        device = pending(user)
        if not device.verify_token(text.replace(" ", "")):
            return None
        TOTPDevice.objects.filter(user=user).exclude(pk=device.pk).delete()
        device.confirmed = True
        device.save(update_fields=["confirmed"])
        codes = new_recovery_codes(user)
        audit.record(Note("staff.second_factor_set_up", f"user:{user.get_username()}"))
    return device, codes


def new_recovery_codes(user: Any) -> list[str]:
    """As people write them down; the older ones are worth nothing any more."""
    codes = [_new_code() for _ in range(RECOVERY_CODES)]
    with transaction.atomic():
        StaticDevice.objects.filter(user=user).delete()
        device = StaticDevice.objects.create(user=user, name="recovery")
        for code in codes:
            device.token_set.create(token=_hash(code.replace("-", "")))
    return codes


def recovery_codes_left(user: Any) -> int:
    return sum(device.token_set.count() for device in StaticDevice.objects.filter(user=user))


def reset(user: Any, *, reason: str, by: str = "") -> int:
    """Take all devices of theirs away. How many there were; they set up a new one as they next
    come in."""
    with transaction.atomic():
        found = TOTPDevice.objects.filter(user=user), StaticDevice.objects.filter(user=user)
        gone = sum(int(devices.count()) for devices in found)
        for devices in found:
            devices.delete()
        note = Note(
            "staff.second_factor_reset", f"user:{user.get_username()}", reason=reason, actor=by
        )
        audit.record(note)
    return gone


def picture(device: TOTPDevice) -> str:
    """A `data:` URL of the QR code that an app reads the secret from."""
    drawn = io.BytesIO()
    image = qrcode.make(device.config_url, image_factory=qrcode.image.svg.SvgPathImage, border=2)
    image.save(drawn)
    return "data:image/svg+xml;base64," + base64.b64encode(drawn.getvalue()).decode()


def secret_text(device: TOTPDevice) -> str:
    """The secret as people type it, in groups of four."""
    text = base64.b32encode(device.bin_key).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def _new_code() -> str:
    text = base64.b32encode(secrets.token_bytes(_CODE_BYTES)).decode().lower()
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def _hash(code: str) -> str:
    return hashlib.sha256(code.encode()).hexdigest()[:_STORED]
