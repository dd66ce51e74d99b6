"""System checks of what drivers meet."""

from collections.abc import Iterable
from typing import Any

from django.core import checks
from django.db import DatabaseError
from django.utils import timezone

from linking.models import Terms


@checks.register(checks.Tags.database)
def terms_published(
    databases: Iterable[str] | None = None, **kwargs: Any
) -> Iterable[checks.CheckMessage]:
    """Without terms drivers would sign up and agree to nothing."""
    if "default" not in (databases or ()):
        return
    try:
        published = Terms.objects.filter(work_provider=None, published_at__lte=timezone.now())
        found = published.exists()
    except DatabaseError:  # away, or not migrated yet
        return
    if not found:
        yield checks.Warning(
            "Zego has no terms published: drivers sign up without agreeing to any.",
            hint="Add them in the admin under Terms, and those of each work provider.",
            id="zego.W001",
        )
