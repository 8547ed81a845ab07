"""Security events that Django's own signals tell of: staff locked out, somebody's rights changed.

Counted in the process where it happens. Who did it stands in the audit log.
"""

from typing import Any, Final

from axes.signals import user_locked_out
from django.contrib.auth.models import Group, User
from django.db.models.signals import m2m_changed, pre_save

from taptrading import security
from taptrading.logs import mask_client

_RIGHTS: Final = ("is_active", "is_staff", "is_superuser")
_CHANGES: Final = frozenset({"post_add", "post_remove", "post_clear"})


def connect() -> None:
    user_locked_out.connect(_locked_out)
    pre_save.connect(_user_is_saved, sender=User)
    for relation in (User.groups, User.user_permissions, Group.permissions):
        m2m_changed.connect(_relation_changed, sender=relation.through)


def _locked_out(*, username: str, ip_address: str | None, **_: Any) -> None:
    client = mask_client(ip_address or "")
    security.event("staff_lockout", username=username, client=client)


def _user_is_saved(*, instance: User, raw: bool = False, **_: Any) -> None:
    if raw:
        return
    before = User.objects.filter(pk=instance.pk).values(*_RIGHTS).first()
    after = {right: getattr(instance, right) for right in _RIGHTS}
    is_staff_now = before is None and (instance.is_staff or instance.is_superuser)
    if is_staff_now or (before is not None and before != after):
        security.event("role_change", username=instance.get_username(), **after)


def _relation_changed(*, instance: Any, action: str, **_: Any) -> None:
    if action in _CHANGES:
        security.event("role_change", of=str(instance))
