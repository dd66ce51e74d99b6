"""Staff of the groups that the migration makes."""

from importlib import import_module
from typing import Any

from django.apps import apps
from django.contrib.auth.models import Group

from linking.models import User
from tests import factories

READER, OPS, ADMIN = "Ops reader", "Ops", "Admin"


def group(name: str) -> Group:
    """One of the groups; made anew where a test that empties the database came before."""
    if not Group.objects.filter(name=name).exists():
        import_module("shifts.migrations.0003_rights").make_groups(apps, None)
    return Group.objects.get(name=name)


def member(name: str = "", **fields: Any) -> User:
    """Somebody on the staff, in that group if one is named."""
    made = factories.user(is_staff=True, **fields)
    if name:
        made.groups.add(group(name))
    return made
