"""What each role may do. Roles are groups, made by a migration.

Everybody may look at the game and its money. Who gives out roles moves no money, and who moves
money gives out no roles.
"""

from collections.abc import Iterable
from typing import Any, Final

VIEWER: Final = "viewer"
SUPPORT: Final = "support"
OPERATOR: Final = "operator"
ADMINISTRATOR: Final = "administrator"

_LOOK: Final = (
    "bets.view_bet",
    "bets.view_cellexposure",
    "bets.view_settlement",
    "pricefeed.view_breakerchange",
    "pricefeed.view_breakeroverride",
    "pricefeed.view_tick",
    "wallet.view_custodyevent",
    "wallet.view_deposit",
    "wallet.view_ledgerentry",
    "wallet.view_seal",
    "wallet.view_wallet",
    "wallet.view_withdrawal",
    "ops.view_proposal",
    "ops.watch_operations",
)
_HELP: Final = (
    "wallet.view_localtransfer",
    "wallet.view_sessionkey",
    "wallet.view_tradersession",
    "ops.trace_money",
    "ops.freeze_wallet",
)
_OPERATE: Final = (
    "ops.view_auditentry",
    "ops.override_breaker",
    "ops.reject_withdrawal",
    "ops.propose_money",
    "ops.approve_money",
)
_ADMINISTER: Final = (
    "auth.view_group",
    "auth.add_user",
    "auth.change_user",
    "auth.view_user",
    "ops.view_auditentry",
    "ops.trace_money",
    "ops.reset_two_factor",
)

ROLES: Final[dict[str, tuple[str, ...]]] = {
    VIEWER: _LOOK,
    SUPPORT: _LOOK + _HELP,
    OPERATOR: _LOOK + _HELP + _OPERATE,
    ADMINISTRATOR: _LOOK + _ADMINISTER,
}


def install(apps: Any, _editor: Any = None) -> None:
    """Make the groups that are missing, with their permissions. Django makes permissions after
    all migrations, so those that it has not made yet are made here."""
    for role, names in ROLES.items():
        group, made = apps.get_model("auth", "Group").objects.get_or_create(name=role)
        if made:
            group.permissions.set(_permissions(apps, names))


def _permissions(apps: Any, names: Iterable[str]) -> list[Any]:
    return [_permission(apps, name) for name in names]


def _permission(apps: Any, name: str) -> Any:
    app_label, codename = name.split(".")
    verb, _, noun = codename.partition("_")
    # What is about no model of its own hangs on the proposal, whose model names it.
    content_type, _ = apps.get_model("contenttypes", "ContentType").objects.get_or_create(
        app_label=app_label, model=noun if verb in ("view", "add", "change") else "proposal"
    )
    permission, _ = apps.get_model("auth", "Permission").objects.get_or_create(
        codename=codename,
        content_type=content_type,
        defaults={"name": f"Can {verb} {noun.replace('_', ' ')}"},
    )
    return permission
