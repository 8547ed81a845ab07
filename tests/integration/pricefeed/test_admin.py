"""The admin shows prices and overrides and changes neither."""

import pytest
from django.contrib import admin
from django.http import HttpRequest

from pricefeed.models import BreakerOverride, Tick


@pytest.mark.parametrize("model", [Tick, BreakerOverride])
def test_register_model_when_in_the_admin_then_read_only(
    model: type[Tick] | type[BreakerOverride],
) -> None:
    admin.autodiscover()
    page, request = admin.site._registry[model], HttpRequest()
    assert not page.has_add_permission(request)
    assert not page.has_change_permission(request)
    assert not page.has_delete_permission(request)
