"""How the desk shows a bulk action that goes on in the background."""

from django import template

from linking.models import DeskAction
from shifts import bulk

register = template.Library()


@register.filter
def progress(action: DeskAction) -> bulk.Progress | None:
    """How far it is; None for an action that was done at once."""
    return bulk.progress(action) if "items" in action.details else None
