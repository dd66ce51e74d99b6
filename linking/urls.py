"""Addresses of the linking flow; the first is the specification's, with and without the final slash."""

from django.urls import path, re_path

from linking import views

urlpatterns = [
    re_path(r"^link-work-provider/?\Z", views.follow, name="link-work-provider"),
    path("link-work-provider/consent/", views.consent, name="link-consent"),
    path("link-work-provider/done/<uuid:intent_id>/", views.done, name="link-done"),
    path("link-work-provider/switch/", views.switch, name="link-switch"),
    # Mail programs drop a final slash now and then.
    re_path(r"^link-work-provider/undo/(?P<token>[^/]+)/?\Z", views.undo, name="link-undo"),
    path("account/signup/", views.sign_up),  # before django-allauth's, which it calls
    path("account/terms/", views.terms_changed, name="terms-changed"),
]
