from django.apps import AppConfig


class ShiftsConfig(AppConfig):
    name = "shifts"
    verbose_name = "Events and shifts"

    def ready(self) -> None:
        from shifts import links  # noqa: F401, PLC0415 (connects the receiver of link_changed)
