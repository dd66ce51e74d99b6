"""What the tests of accounts and links have in common."""

import pytest
from django.core.cache import cache


@pytest.fixture(autouse=True)
def unlimited() -> None:
    """Each test starts with nothing counted."""
    cache.clear()
