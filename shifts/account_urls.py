"""Addresses under /account/ that show shifts; the rest there are django-allauth's."""

from django.urls import path

from shifts import account_views

urlpatterns = [
    path("", account_views.page, name="account"),
    path("unlink/<int:link_id>/", account_views.unlink, name="account-unlink"),
    path(
        "request/<int:request_id>/cancel/",
        account_views.cancel_request,
        name="account-cancel-request",
    ),
    path("terms/<int:terms_id>/", account_views.terms, name="account-terms"),
    path("shifts.csv", account_views.shifts_csv, name="account-shifts"),
    path("data.json", account_views.data_json, name="account-data"),
    path("delete/", account_views.delete, name="account-delete"),
    path("deleted/", account_views.deleted, name="account-deleted"),
]
