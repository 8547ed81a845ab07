"""The trader's page. It knows whether there is a session; whose it is, the page asks the API."""

from typing import Any, Final

from django.conf import settings
from django.http import HttpResponse
from django.utils.decorators import method_decorator
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.generic import TemplateView

# Nothing but our own files, no inline script, nobody's frame. 'self' covers the WebSocket too.
# Trusted types: no text of a server can become markup by mistake.
POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "manifest-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
    )
)


@method_decorator(ensure_csrf_cookie, name="dispatch")
class TraderPage(TemplateView):
    template_name = "trader/index.html"

    def get_context_data(self, **more: Any) -> dict[str, Any]:
        return super().get_context_data(
            session=settings.SESSION_COOKIE in self.request.COOKIES, **more
        )

    def render_to_response(self, context: dict[str, Any], **more: Any) -> HttpResponse:
        response = super().render_to_response(context, **more)
        response["Content-Security-Policy"] = POLICY
        response["Cache-Control"] = "no-cache"
        response["Referrer-Policy"] = "same-origin"
        return response
