"""The audit log, proposals, and who is staff. What Django's apps brought is shown no more than
roles allow: secrets of devices are shown to nobody.
"""

from typing import Any

from django.contrib import admin, messages
from django.contrib.auth.admin import UserAdmin
from django.contrib.auth.forms import UserChangeForm
from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice

from ops import proposals
from ops.models import AuditEntry, Proposal
from ops.staff import admission, devices, roles
from taptrading.readonly import ReadOnlyAdmin

for _model in (TOTPDevice, StaticDevice, User, Group):
    admin.site.unregister(_model)


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "actor", "action", "subject", "after", "reason", "client")
    search_fields = ("subject", "actor")
    ordering = ("-id",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """By subject, actor or action, whole: an index has each."""
        words = search_term.strip()
        if not words:
            return queryset, False
        return queryset.filter(**{_field_of(words): words}), False


def _field_of(words: str) -> str:
    if ":" in words or words == "breaker":
        return "subject"
    return "action" if "." in words else "actor"


@admin.register(Proposal)
class ProposalAdmin(ReadOnlyAdmin):
    list_display = ("link", "state", "amount_and_whom", "reason", "proposed_by", "decided_by")
    list_display_links = None
    list_filter = ("state", "kind")
    list_select_related = ("proposed_by", "decided_by", "wallet", "withdrawal")
    ordering = ("-id",)

    @admin.display(description="proposal")
    def link(self, row: Proposal) -> str:
        return format_html('<a href="{}">{}</a>', reverse("admin:proposal", args=[row.pk]), row.pk)

    @admin.display(description="what")
    def amount_and_whom(self, row: Proposal) -> str:
        return proposals.what(row)


@admin.register(Group)
class RoleAdmin(ReadOnlyAdmin):
    """Roles come from a migration; what they may do is changed there, with a review."""

    list_display = ("name",)


class _StaffForm(UserChangeForm):  # type: ignore[type-arg]
    def clean(self) -> dict[str, Any]:
        """Who gives out roles moves no money."""
        cleaned = super().clean() or {}
        given = {group.name for group in cleaned.get("groups", ())}
        if roles.ADMINISTRATOR in given and len(given) > 1:
            raise ValidationError("An administrator has no other role.")
        return cleaned


@admin.register(User)
class StaffUserAdmin(UserAdmin):  # type: ignore[type-arg]
    """Nobody changes their own roles, and only root changes root."""

    form = _StaffForm
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Who", {"fields": ("first_name", "last_name", "email")}),
        ("May", {"fields": ("is_active", "is_staff", "groups")}),
        ("When", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    list_display = ("username", "role", "is_active", "is_staff", "second_factor", "last_login")
    list_filter = ("is_active", "is_staff", "groups")
    actions = ("reset_second_factor",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        return super().get_queryset(request).prefetch_related("groups")

    def has_change_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        user: Any = request.user
        allowed = super().has_change_permission(request, obj)
        if obj is None or user.is_superuser:
            return allowed
        return allowed and not obj.is_superuser and obj.pk != user.pk

    def has_delete_permission(self, request: HttpRequest, obj: User | None = None) -> bool:
        """The audit log names them: whoever leaves is made inactive."""
        return False

    @admin.display(description="role")
    def role(self, user: User) -> str:
        return "root" if user.is_superuser else ", ".join(g.name for g in user.groups.all()) or "-"

    @admin.display(description="second factor", boolean=True)
    def second_factor(self, user: User) -> bool:
        return admission.has_device(user)

    def has_reset_permission(self, request: HttpRequest) -> bool:
        user: Any = request.user
        return bool(user.has_perm("ops.reset_two_factor"))

    @admin.action(description="Take away the second factor", permissions=["reset"])
    def reset_second_factor(self, request: HttpRequest, chosen: QuerySet[User]) -> None:
        if not admission.is_recent(request):
            say = "Show who you are first (Second factor, above): nothing was done."
            self.message_user(request, say, messages.ERROR)
            return
        others = [user for user in chosen if self.has_change_permission(request, user)]
        for user in others:
            devices.reset(user, reason="by an administrator, on the page of users")
        self.message_user(request, f"{len(others)} start anew with their second factor.")
