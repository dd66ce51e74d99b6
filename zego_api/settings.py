"""The one settings file; every value that differs between places comes from the environment.

docs/operating.md has the table of variables. `make run` writes `.local/env` while it runs, so that
any `manage.py` command reaches the same database; a real environment variable always wins over it.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import django_stubs_ext
import environ
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static

django_stubs_ext.monkeypatch()  # lets ModelAdmin[...] and the like be written at run time too

BASE_DIR = Path(__file__).resolve().parent.parent


class Env(environ.Env):  # type: ignore[misc]
    """Says which variable it is that cannot be read."""

    def int(self, var: str, default: Any = environ.Env.NOTSET) -> int:
        try:
            return int(super().int(var, default))
        except ValueError:
            raise ImproperlyConfigured(f"{var} must be a whole number.") from None


env = Env()
_local_env = BASE_DIR / ".local" / "env"
if _local_env.is_file():
    env.read_env(_local_env)

# Security. Missing or weak values are refused by zego_api/checks.py, with a hint, at every start.
SECRET_KEY = env.str("SECRET_KEY", default="")
# Former keys, the latest first: what they signed or encrypted can still be read.
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
DEBUG = False
INSECURE_HTTP = env.bool("INSECURE_HTTP", default=False)
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=[])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])
# Links in mails and of `make_link` start with this, never with what a client calls us.
HOST = env.str("HOST", default="127.0.0.1")
PORT = env.int("PORT", default=8000)
PUBLIC_URL = env.str("PUBLIC_URL", default="").rstrip("/") or (
    f"http://localhost:{PORT}" if INSECURE_HTTP else f"https://{(*ALLOWED_HOSTS, '')[0]}"
)
# How many proxies of ours have appended to X-Forwarded-For; limits count by the address before them.
TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXY_COUNT", default=0 if INSECURE_HTTP else 1)

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = not INSECURE_HTTP
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Lax"
SECURE_SSL_REDIRECT = not INSECURE_HTTP
# A redirect turns a POST into a GET, and a probe from inside speaks plain HTTP.
SECURE_REDIRECT_EXEMPT = [r"^v1/", r"^healthz$", r"^readyz$"]
SECURE_PROXY_SSL_HEADER = None if INSECURE_HTTP else ("HTTP_X_FORWARDED_PROTO", "https")
SECURE_HSTS_SECONDS = 0 if INSECURE_HTTP else 365 * 24 * 3600
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = not INSECURE_HTTP
CSRF_FAILURE_VIEW = "zego_api.errors.csrf_failure"
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": ["'none'"],
        "script-src": ["'self'"],
        "style-src": ["'self'"],
        "img-src": ["'self'", "data:"],  # the QR code of the second factor is a data: image
        "font-src": ["'self'"],
        "connect-src": ["'self'"],
        "form-action": ["'self'"],
        "base-uri": ["'none'"],
        "frame-ancestors": ["'none'"],
    }
}

# Django
ROOT_URLCONF = "zego_api.urls"
WSGI_APPLICATION = "zego_api.wsgi.application"
AUTH_USER_MODEL = "linking.User"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
MESSAGE_STORAGE = "django.contrib.messages.storage.session.SessionStorage"  # a new key is in one
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "zego_api.formats"
APPEND_SLASH = False  # both spellings are routed; a redirect would lose a POST's body

INSTALLED_APPS = [
    "zego_api.apps.ZegoApiConfig",
    "linking",
    "shifts",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "csp",
    "rest_framework",
    "unfold.apps.BasicAppConfig",
    "zego_api.apps.DeskAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
]
MIDDLEWARE = [
    "zego_api.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "csp.middleware.CSPMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "zego_api.context.support",
            ]
        },
    }
]

# Accounts (django-allauth): by email and password, the address verified by a code in the same tab.
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "account"
ACCOUNT_ADAPTER = "linking.accounts.AccountAdapter"
ACCOUNT_FORMS = {
    "login": "linking.forms.LoginForm",
    "reset_password": "linking.forms.ResetPasswordForm",
    "signup": "linking.forms.SignupForm",
}
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_CHANGE = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = True
ACCOUNT_PASSWORD_RESET_BY_CODE_TIMEOUT = 15 * 60
ACCOUNT_LOGIN_ON_PASSWORD_RESET = True
ACCOUNT_LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 15 * 60
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = "http" if INSECURE_HTTP else "https"
ALLAUTH_TRUSTED_PROXY_COUNT = TRUSTED_PROXY_COUNT
MFA_ADAPTER = "linking.accounts.MfaAdapter"
MFA_SUPPORTED_TYPES = ["totp", "recovery_codes"]
MFA_TOTP_ISSUER = "Zego"
MFA_TOTP_TOLERANCE = 1
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
# The ops desk (docs/ops.md)
STAFF_NEED_TWO_FACTOR = not INSECURE_HTTP
UNFOLD = {
    "SITE_TITLE": "Zego shifts",
    "SITE_HEADER": "Zego shifts",
    "SITE_SUBHEADER": "Ops desk",
    "SITE_SYMBOL": "schedule",
    "SITE_URL": None,
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda request: static("zego_api/mark.svg"),
        }
    ],
    "SHOW_HISTORY": False,
    "SHOW_VIEW_ON_SITE": False,
    "STYLES": [lambda request: static("desk/desk.css")],
    "SIDEBAR": {"navigation": "shifts.desk.navigation.groups"},
    "ACCOUNT": {"navigation": "shifts.desk.navigation.account"},
    "COLORS": {
        "primary": {
            "50": "oklch(97.5% .018 184)",
            "100": "oklch(94.5% .04 184)",
            "200": "oklch(89.5% .07 184)",
            "300": "oklch(82.5% .09 184)",
            "400": "oklch(72% .1 184)",
            "500": "oklch(58% .09 184)",
            "600": "oklch(43.5% .075 184)",
            "700": "oklch(38% .065 184)",
            "800": "oklch(33% .056 184)",
            "900": "oklch(28.5% .047 184)",
            "950": "oklch(20% .034 184)",
        }
    },
}

STATIC_URL = "static/"
STATIC_ROOT = None if INSECURE_HTTP else BASE_DIR / "staticfiles"  # filled by collectstatic
WHITENOISE_USE_FINDERS = INSECURE_HTTP
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"
        if INSECURE_HTTP
        else "whitenoise.storage.CompressedManifestStaticFilesStorage"
    },
}

# PostgreSQL: a database that is away must be noticed in seconds, not in TCP's own minutes.
DATABASES: dict[str, dict[str, Any]] = {"default": {"ENGINE": "django.db.backends.dummy"}}
if DATABASE_URL := env.str("DATABASE_URL", default=""):
    DATABASES["default"] = {
        **env.db_url_config(DATABASE_URL),
        "CONN_MAX_AGE": None,
        "CONN_HEALTH_CHECKS": True,
    }
    DATABASES["default"]["OPTIONS"] = {
        "connect_timeout": 3,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
        "options": "-c timezone=UTC -c statement_timeout=60s -c lock_timeout=10s -c jit=off"
        " -c idle_in_transaction_session_timeout=60s",
        **DATABASES["default"].get("OPTIONS", {}),
    }

# Celery on Redis: wake-ups without data. What each setting prevents stands in docs/operating.md.
REDIS_URL = env.str("REDIS_URL", default="")
CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_DEFAULT_QUEUE = "digest"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_PUBLISH_RETRY = False
CELERY_TASK_TIME_LIMIT = 300
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 0.5
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = {
    "socket_timeout": 5,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 5,
    "visibility_timeout": 300,
}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_SEND_TASK_EVENTS = False

# Limits and sessions' counters; a cache that is away lets requests through.
CACHES = {
    "default": {
        "BACKEND": "zego_api.cache.ForgivingRedisCache",
        "LOCATION": REDIS_URL,
        "KEY_PREFIX": "zego",
    }
}

# Mail goes into a table in the transaction that causes it; the sweeper delivers it by EMAIL_URL.
if django.VERSION < (6, 1):
    EMAIL_BACKEND = "zego_api.mail.Outbox"
else:
    MAILERS = {"default": {"BACKEND": "zego_api.mail.Outbox"}}
EMAIL_URL = env.str("EMAIL_URL", default="")
SUPPORT_EMAIL = env.str("SUPPORT_EMAIL", default="")  # where drivers write to
DEFAULT_FROM_EMAIL = env.str("MAIL_FROM", default="Zego <no-reply@localhost>")

REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["shifts.authentication.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [],
    "EXCEPTION_HANDLER": "zego_api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
}

# The processes (zego_api/management/commands/web.py, worker.py, sweeper.py)
WEB_WORKERS = env.int("WEB_WORKERS", default=2)
WEB_THREADS = env.int("WEB_THREADS", default=8)
WORKER_CONCURRENCY = env.int("WORKER_CONCURRENCY", default=2)
HEARTBEAT_FILE = env.str("HEARTBEAT_FILE", default="")

# The rules' own numbers (docs/domain.md)
BODY_MAX_BYTES = 5 * 1024 * 1024
BATCH_MAX_EVENTS = 10_000
HELD_EXPIRES_AFTER = timedelta(days=30)
DEFAULT_MAX_SHIFT_LENGTH = timedelta(hours=14)
INTENT_LASTS = timedelta(minutes=30)
RECENT_LOGIN = timedelta(minutes=15)
LINK_LIMITS = {"ip": "30/minute", "work_provider": "3000/minute", "email": "10/minute"}
SIGNED_LINK_MAX_AGE = timedelta(days=30)
UNDO_LASTS = timedelta(days=7)
DATA_UPLOAD_MAX_MEMORY_SIZE = BODY_MAX_BYTES

# Logs: one line an event on stderr. Request bodies, keys and identifiers are never logged.
LOG_LEVEL = env.str("LOG_LEVEL", default="INFO")
LOG_FORMAT = env.str("LOG_FORMAT", default="json")
LOGGING_CONFIG = "zego_api.logs.configure"
LOGGING = {"level": LOG_LEVEL, "format": LOG_FORMAT}
