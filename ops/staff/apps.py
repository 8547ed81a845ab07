"""Django's admin with our own site in the place of its default one."""

from django.contrib.admin.apps import SimpleAdminConfig


class StaffAdmin(SimpleAdminConfig):
    """The URLs register its pages: of a dozen processes only those that serve them load them, which
    takes half a second of a core."""

    default_site = "ops.staff.site.StaffSite"
