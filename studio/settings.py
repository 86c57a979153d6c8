"""Django's settings, from the typed configuration in env.py."""

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import dj_database_url
from cryptography.fernet import Fernet
from django.core.management.utils import get_random_secret_key

from studio.console import logging_settings, send_structlog_to_logging
from studio.env import read_env
from studio.homefile import read_or_make

ENV = read_env()
BASE_DIR = Path(__file__).resolve().parent.parent
HOME = ENV.home.resolve()

SECRET_KEY = (
    ENV.secret_key.get_secret_value()
    if ENV.secret_key
    else read_or_make(HOME / "secrets" / "secret_key", make=get_random_secret_key)
)
ENCRYPTION_KEYS = (
    ENV.encryption_keys.get_secret_value()
    if ENV.encryption_keys
    else read_or_make(HOME / "secrets" / "encryption_keys", make=lambda: Fernet.generate_key().decode())
).split(",")

DEBUG = ENV.debug
send_structlog_to_logging()
LOGGING = logging_settings(ENV.log_level)
ALLOWED_HOSTS = ENV.allowed_hosts.split(",")
if ENV.public_url:
    ALLOWED_HOSTS.append(urlsplit(ENV.public_url).hostname or "")
    CSRF_TRUSTED_ORIGINS = [ENV.public_url]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "channels",
    "django_htmx",
    "studio",
    "clusters",
    "deployments",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "studio.middleware.headers.SecurityHeaders",
    "studio.middleware.static.StaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "studio.middleware.signed_in.SignedInUnlessApi",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "studio.middleware.errors.ErrorsForPeople",
]
ROOT_URLCONF = "studio.urls"
ASGI_APPLICATION = "studio.asgi.application"
PAGE_LOADERS = ["django.template.loaders.filesystem.Loader", "django.template.loaders.app_directories.Loader"]
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": False,
        "OPTIONS": {
            # Written out, because installing template_partials as an app would import Django's whole admin.
            "loaders": [("template_partials.loader.Loader", [("django.template.loaders.cached.Loader", PAGE_LOADERS)])],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "studio.frame.page_frame",
            ],
            "builtins": ["template_partials.templatetags.partials", "studio.templatetags.slipway"],
        },
    }
]


def _sqlite() -> dict[str, Any]:
    """SQLite as a server needs it: readers never wait for the writer, writers queue up instead of failing."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": HOME / "slipway.sqlite3",
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA foreign_keys=ON",
        },
    }


DATABASES: dict[str, Any] = {
    "default": dj_database_url.parse(ENV.database_url, conn_max_age=60) if ENV.database_url else _sqlite()
}

STATIC_URL = "/static/"
STATIC_ROOT = HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATICFILES_FINDERS = [
    "django.contrib.staticfiles.finders.FileSystemFinder",
    "django.contrib.staticfiles.finders.AppDirectoriesFinder",
    "studio.staticfiles.PlotlyFinder",
]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "studio.staticfiles.NamedByContent"},
}
WHITENOISE_MAX_AGE = 3600
MEDIA_ROOT = HOME / "files"

# Redis holds the queue (0), live updates (1) and the cache (2); without it all three live in the studio's own process.
REDIS_URL = ENV.redis_url.rstrip("/") if ENV.redis_url else None
CHANNEL_LAYERS: dict[str, Any] = {
    "default": {
        "BACKEND": "channels_redis.core.RedisChannelLayer",
        # A page waits at Redis for 5 seconds at a time; the client's own limit must not end that wait.
        "CONFIG": {"hosts": [{"address": f"{REDIS_URL}/1", "socket_timeout": 30}]},
    }
    if REDIS_URL
    else {"BACKEND": "studio.layer.LoopBoundLayer"}
}
CACHES: dict[str, Any] = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": f"{REDIS_URL}/2"}
    if REDIS_URL
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "OPTIONS": {"MAX_ENTRIES": 20_000}}
}
CELERY_BROKER_URL = f"{REDIS_URL}/0" if REDIS_URL else "memory://"

LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = (ENV.public_url or "").startswith("https://")
CSRF_COOKIE_SAMESITE = "Lax"
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
CSRF_FAILURE_VIEW = "studio.views.errors.csrf_failed"

# A folder of code may hold 2,000 files (deployments.artifacts.pack.CODE_LIMITS), each with its path beside it.
DATA_UPLOAD_MAX_NUMBER_FILES = 2_000
DATA_UPLOAD_MAX_NUMBER_FIELDS = 2_500
