"""The admin: Django's, behind a second factor, with what operators do besides looking."""

from typing import Final

from django.contrib.admin import AdminSite
from django.http import HttpRequest

from ops.staff import admission

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " font-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none';"
    " frame-ancestors 'none'"
)


class StaffSite(AdminSite):
    site_header = site_title = "TapTrading"
    index_title = "Look, and operate"

    def has_permission(self, request: HttpRequest) -> bool:
        return admission.is_admitted(request)
