"""Where every address of the service leads."""

from django.contrib import admin
from django.urls import include, path

from shifts.desk.front import front
from zego_api import health
from zego_api.inbox import inbox

urlpatterns = [
    path("v1/", include("shifts.urls")),
    path("", include("linking.urls")),
    path("account/", include("shifts.account_urls")),
    path("account/", include("allauth.urls")),
    path("admin/", front),
    path("admin/desk/", include("shifts.desk.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("inbox/", inbox, name="inbox"),
    path("", health.front),
]

handler400 = "zego_api.errors.bad_request"
handler403 = "zego_api.errors.permission_denied"
handler404 = "zego_api.errors.not_found"
handler429 = "zego_api.errors.too_many"
handler500 = "zego_api.errors.server_error"
