"""How wallet's resources are described in the OpenAPI document."""

from typing import Any

from django.conf import settings
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

FROM_TO = [
    OpenApiParameter(
        "from", OpenApiTypes.DATETIME, description="RFC 3339; this instant and later."
    ),
    OpenApiParameter("to", OpenApiTypes.DATETIME, description="RFC 3339; before this instant."),
]


class SessionTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """A trader's token, as Bearer or as the session cookie."""

    target_class = "wallet.authentication.SessionTokenAuthentication"
    name = ["bearer", "cookie"]

    def get_security_definition(self, auto_schema: Any) -> list[dict[str, str]]:
        return [
            {"type": "http", "scheme": "bearer", "description": "The token of auth/login."},
            {
                "type": "apiKey",
                "in": "cookie",
                "name": settings.SESSION_COOKIE,
                "description": "Set by auth/login; unsafe methods need X-CSRFToken too.",
            },
        ]

    def get_security_requirement(self, auto_schema: Any) -> list[dict[str, list[str]]]:
        """Either of them will do."""
        return [{name: []} for name in self.name]
