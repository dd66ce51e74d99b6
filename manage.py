#!/usr/bin/env python
"""Django's command line for the Zego shift service."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zego_api.settings")
    try:
        from django.conf import settings
        from django.core.exceptions import ImproperlyConfigured
        from django.core.management import execute_from_command_line
    except ImportError:
        sys.exit(
            "Django is not installed for this Python. `make run` builds the environment; "
            "then use .venv/bin/python manage.py."
        )
    try:
        settings.INSTALLED_APPS  # noqa: B018 (reads the settings, and so the environment)
    except (ImproperlyConfigured, ValueError) as error:
        sys.exit(f"A setting in the environment cannot be used: {error}")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
