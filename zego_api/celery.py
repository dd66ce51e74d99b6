"""The Celery application: one queue, `digest`, of wake-ups that carry no data."""

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "zego_api.settings")

app = Celery("zego_api")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
