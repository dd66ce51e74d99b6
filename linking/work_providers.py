"""Finding a work provider by its name, for commands."""

from django.core.management.base import CommandError

from linking.models import WorkProvider


def by_name(name: str) -> WorkProvider:
    """The work provider of that name, without case; CommandError names those that there are."""
    found = WorkProvider.objects.filter(name__iexact=name).first()
    if found is None:
        known = ", ".join(WorkProvider.objects.order_by("name").values_list("name", flat=True))
        raise CommandError(
            f"There is no work provider named {name!r}. "
            f"Known: {known or 'none yet; add one in the admin'}."
        )
    return found
