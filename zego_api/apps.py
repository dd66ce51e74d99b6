from django.apps import AppConfig


class ZegoApiConfig(AppConfig):
    name = "zego_api"

    def ready(self) -> None:
        from zego_api import checks  # noqa: F401, PLC0415 (registers them)
