"""Every address of the desk, under /admin/desk/. Each module names its own."""

from shifts.desk import (
    audit,
    bulk,
    cover,
    customer,
    find,
    keys,
    lists,
    mending,
    partner,
    rejected,
    reports,
    shift,
    submission,
    work_providers,
)

app_name = "desk"
urlpatterns = [
    *find.urlpatterns,
    *customer.urlpatterns,
    *shift.urlpatterns,
    *submission.urlpatterns,
    *cover.urlpatterns,
    *lists.urlpatterns,
    *mending.urlpatterns,
    *bulk.urlpatterns,
    *work_providers.urlpatterns,
    *keys.urlpatterns,
    *partner.urlpatterns,
    *rejected.urlpatterns,
    *reports.urlpatterns,
    *audit.urlpatterns,
]
