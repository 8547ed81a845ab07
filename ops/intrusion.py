"""What Django's own signals tell of staff: who came, went, was locked out, or has other rights.

All of it goes into the audit log; what somebody should look at is a security event besides,
counted in the process where it happens.
"""

from typing import Any, Final

from axes.signals import user_locked_out
from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.db.models.signals import m2m_changed, pre_save

from taptrading import audit, security
from taptrading.audit import Note
from taptrading.logs import mask_client

_RIGHTS: Final = ("is_active", "is_staff", "is_superuser")
_CHANGES: Final = frozenset({"post_add", "post_remove", "post_clear"})


def connect() -> None:
    user_locked_out.connect(_locked_out)
    user_logged_in.connect(_came)
    user_logged_out.connect(_went)
    user_login_failed.connect(_did_not_come)
    pre_save.connect(_user_is_saved, sender=User)
    for relation in (User.groups, User.user_permissions, Group.permissions):
        m2m_changed.connect(_relation_changed, sender=relation.through)


def _locked_out(*, username: str, ip_address: str | None, **_: Any) -> None:
    client = mask_client(ip_address or "")
    security.event("staff_lockout", username=username, client=client)
    audit.try_to_record(Note("staff.locked_out", f"user:{username}", after={"client": client}))


def _came(*, user: User, **_: Any) -> None:
    name = user.get_username()
    audit.try_to_record(Note("staff.signed_in", f"user:{name}", actor=name))


def _went(*, user: User | None, **_: Any) -> None:
    if user is not None:
        audit.try_to_record(Note("staff.signed_out", f"user:{user.get_username()}"))


def _did_not_come(*, credentials: dict[str, Any], **_: Any) -> None:
    audit.try_to_record(Note("staff.sign_in_failed", f"user:{credentials.get('username', '')}"))


def _user_is_saved(*, instance: User, raw: bool = False, **_: Any) -> None:
    if raw:
        return
    before = User.objects.filter(pk=instance.pk).values(*_RIGHTS).first()
    after = {right: getattr(instance, right) for right in _RIGHTS}
    is_staff_now = before is None and (instance.is_staff or instance.is_superuser)
    if is_staff_now or (before is not None and before != after):
        name = instance.get_username()
        security.event("role_change", username=name, **after)
        audit.record(Note("staff.rights", f"user:{name}", before, after))


def _relation_changed(
    *, instance: Any, action: str, model: Any, pk_set: set[int] | None, **_: Any
) -> None:
    if action in _CHANGES:
        security.event("role_change", of=str(instance))
        names = sorted(str(row) for row in model._default_manager.filter(pk__in=pk_set or ()))
        of = "role" if isinstance(instance, Group) else "user"
        audit.record(Note("staff.roles", f"{of}:{instance}", after={action[5:]: names}))
