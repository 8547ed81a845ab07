"""The admin: Django's, behind a second factor, with what operators do besides looking."""

from typing import Any

from django.contrib.admin import AdminSite
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, URLResolver, path
from django.utils.http import urlencode

from ops.staff import admission


class StaffSite(AdminSite):
    site_header = site_title = "TapTrading"
    index_title = "Look, and operate"
    site_url = "/"

    def has_permission(self, request: HttpRequest) -> bool:
        return admission.is_admitted(request)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Whoever has given their password goes on to their second factor."""
        if (
            request.method == "GET"
            and admission.is_staff(request)
            and not self.has_permission(request)
        ):
            wanted = request.GET.get("next", "")
            return redirect(admission.next_step(request) + "?" + urlencode({"next": wanted}))
        return super().login(request, extra_context)

    def get_urls(self) -> list[URLPattern | URLResolver]:
        from ops.desk import views as desk
        from ops.staff import views as staff

        own = [
            path("logout/", self.logout, name="logout"),  # who is not admitted may go, too
            path("second-factor/", staff.verify, name="verify"),
            path("second-factor/set-up/", staff.set_up, name="set_up"),
            path("second-factor/codes/", self.admin_view(staff.codes), name="recovery_codes"),
            path("operations/", self.admin_view(desk.operations), name="operations"),
            path("trace/", self.admin_view(desk.trace), name="trace"),
            path("proposals/<int:pk>/", self.admin_view(desk.proposal), name="proposal"),
            path("do/<slug:name>/", self.admin_view(desk.deed), name="deed"),
        ]
        return own + super().get_urls()

    def each_context(self, request: HttpRequest) -> dict[str, Any]:
        from ops.desk.deeds import offered_to

        offered = offered_to(request.user) if self.has_permission(request) else []
        return super().each_context(request) | {"deeds": offered}
