"""Where everything is mounted."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import (
    SpectacularAPIView,
    SpectacularRedocView,
    SpectacularSwaggerSplitView,
)

from taptrading.web.views import TraderPage

admin.autodiscover()

urlpatterns = [
    # Tried in this order, so what is asked for most stands first.
    path("api/v1/", include("bets.urls")),
    path("api/v1/", include("wallet.urls")),
    path("", TraderPage.as_view(), name="page"),
    path("", include("ops.urls")),
    path("api/schema", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path(
        "api/redoc",
        SpectacularRedocView.as_view(url_name="schema", template_name="api/redoc.html"),
        name="redoc",
    ),
    path("admin/", admin.site.urls),
]
