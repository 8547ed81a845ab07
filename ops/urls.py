"""Where monitors and operators look; mounted at the root."""

from django.urls import re_path

from ops import views

urlpatterns = [
    re_path(r"^health/?$", views.alive, name="health"),
    re_path(r"^health/liveness/?$", views.liveness, name="health-liveness"),
    re_path(r"^health/readiness/?$", views.readiness, name="health-readiness"),
    re_path(r"^health/detailed/?$", views.detailed, name="health-detailed"),
    re_path(r"^healthz/?$", views.healthz, name="healthz"),
    re_path(r"^version/?$", views.version, name="version"),
    re_path(r"^metrics/?$", views.metrics, name="metrics"),
]
