"""Django's admin with our own site in the place of its default one."""

from django.contrib.admin.apps import AdminConfig


class StaffAdmin(AdminConfig):
    default_site = "ops.staff.site.StaffSite"
