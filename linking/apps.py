from django.apps import AppConfig


class LinkingConfig(AppConfig):
    name = "linking"
    verbose_name = "Work providers and customers"

    def ready(self) -> None:
        from linking import accounts, checks, people  # noqa: F401, PLC0415 (registers what they hold)
