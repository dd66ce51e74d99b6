"""System checks of what drivers meet."""

from datetime import timedelta

from django.utils import timezone

from linking.checks import terms_published
from tests import factories


def test_a_service_without_terms_is_warned_about(db: None) -> None:
    [warning] = terms_published(databases=["default"])
    assert warning.id == "zego.W001"
    factories.terms(factories.work_provider())
    factories.terms(None, published_at=timezone.now() + timedelta(days=1))
    assert list(terms_published(databases=["default"]))
    factories.terms(None)
    assert not list(terms_published(databases=["default"]))
    assert not list(terms_published())
