"""Where every address of the service leads."""

from allauth.account.decorators import secure_admin_login
from django.contrib import admin
from django.urls import include, path

from zego_api import health
from zego_api.inbox import inbox

admin.site.site_header = admin.site.site_title = "Zego shifts"
# Staff sign in where drivers do, so that limits and second factors hold for them too.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

urlpatterns = [
    path("v1/", include("shifts.urls")),
    path("", include("linking.urls")),
    path("account/", include("shifts.account_urls")),
    path("account/", include("allauth.urls")),
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
