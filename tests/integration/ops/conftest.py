"""Staff of every role, who have just shown who they are."""

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

Enter = Callable[..., Client]


@pytest.fixture
def plain_pages(settings: Any) -> None:
    """Pages name their styles as they are: tests collect none. Nobody guesses passwords here."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    storage = {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"}
    settings.STORAGES = settings.STORAGES | {"staticfiles": storage}
    settings.MIDDLEWARE = [name for name in settings.MIDDLEWARE if "StaticFiles" not in name]


@pytest.fixture
def enter(db: None, plain_pages: None) -> Enter:
    """The client of a new member of staff with these roles."""

    def entered(*roles: str, name: str = "", staff: bool = True) -> Client:
        user = User.objects.create_user(name or "-".join(roles) or "nobody", is_staff=staff)
        user.groups.set(Group.objects.filter(name__in=roles))
        client = Client()
        client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
        return client

    return entered
