"""The settings of the tests: as in production, with short times and the practice model."""

import os

os.environ.setdefault(
    "DATABASE_URL", "postgresql://nobody@127.0.0.1:1/none"
)  # for mypy, which never connects
os.environ.setdefault("REDIS_URL", "redis://127.0.0.1:1/0")
os.environ.setdefault("SECRET_KEY", "for-tests-only")
os.environ.setdefault("ALLOWED_HOSTS", "testserver,127.0.0.1,localhost")
os.environ.setdefault("NYXCORE_LLM", "practice")
os.environ.setdefault("NYXCORE_LEASE", "30")
os.environ.setdefault("NYXCORE_PRACTICE_SPEED", "200000")

from nyxcore.settings import *  # noqa: F403
from nyxcore.settings import DATABASES

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
DATABASES["default"]["TEST"] = {"NAME": "test_nyxcore"}
# Tests open connections from several threads and processes: no pool, so that none outlives its test.
DATABASES["default"]["OPTIONS"].pop("pool")
