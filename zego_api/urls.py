"""Where every address of the service leads."""

from django.contrib import admin
from django.urls import include, path

from zego_api import health

admin.site.site_header = admin.site.site_title = "Zego shifts"

urlpatterns = [
    path("v1/", include("shifts.urls")),
    path("admin/", admin.site.urls),
    path("healthz", health.alive),
    path("readyz", health.ready),
    path("", health.front),
]

handler400 = "zego_api.errors.bad_request"
handler403 = "zego_api.errors.permission_denied"
handler404 = "zego_api.errors.not_found"
handler500 = "zego_api.errors.server_error"
