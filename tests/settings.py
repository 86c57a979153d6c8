"""The studio's settings for tests: a home of its own for every run, unless SLIPWAY_HOME names one."""

import os
import tempfile

_home = tempfile.TemporaryDirectory(prefix="slipway-test-", ignore_cleanup_errors=True)  # removed when the run ends
os.environ.setdefault("SLIPWAY_HOME", _home.name)

from studio.settings import *  # noqa: E402, F403 - the same settings, after the home is known
from studio.settings import STATIC_ROOT  # noqa: E402

STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns of a folder that is not there
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # fast; the people of the tests have no secrets
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
