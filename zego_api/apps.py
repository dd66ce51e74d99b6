from django.apps import AppConfig
from django.contrib.admin.apps import AdminConfig


class ZegoApiConfig(AppConfig):
    name = "zego_api"

    def ready(self) -> None:
        from zego_api import checks  # noqa: F401, PLC0415 (registers them)


class DeskAdminConfig(AdminConfig):
    """Django's admin, on a site of our own."""

    default_site = "zego_api.admin_site.DeskSite"
