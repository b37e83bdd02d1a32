"""One settings module; every value that differs between installations comes from the environment.

`manage.py up` sets what it starts itself (DATABASE_URL, REDIS_URL, SECRET_KEY); see docs/operations.md.
"""

import os
import re
import warnings
from pathlib import Path
from typing import Any

import dj_database_url
from csp.constants import NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from nyxcore import bus

BASE_DIR = Path(__file__).resolve().parent.parent


def env_bool(name: str, default: bool) -> bool:
    """True for 1, true, yes, on (any case)."""
    return os.environ.get(name, str(default)).strip().lower() in {"1", "true", "yes", "on"}


def env_float(name: str, default: float, *, least: float = 0.0) -> float:
    """A number from the environment; anything else, or less than `least`, refuses to start and says so."""
    raw = os.environ.get(name, "")
    try:
        value = float(raw) if raw.strip() else float(default)
    except ValueError:
        raise ImproperlyConfigured(f"{name} must be a number, not {raw!r}.") from None
    if value < least:
        raise ImproperlyConfigured(f"{name} must be at least {least:g}, not {value:g}.")
    return value


def env_int(name: str, default: int, *, least: int = 0) -> int:
    """A whole number from the environment, with the same refusals as `env_float`."""
    value = env_float(name, default, least=least)
    if value != int(value):
        raise ImproperlyConfigured(f"{name} must be a whole number, not {value:g}.")
    return int(value)


def env_list(name: str) -> list[str]:
    """Comma-separated words."""
    return [word.strip() for word in os.environ.get(name, "").split(",") if word.strip()]


DEBUG = env_bool("DEBUG", False)
SECRET_KEY = os.environ.get("SECRET_KEY", "")
ALLOWED_HOSTS = env_list("ALLOWED_HOSTS")
CSRF_TRUSTED_ORIGINS = env_list("CSRF_TRUSTED_ORIGINS")
if DEBUG:
    SECRET_KEY = SECRET_KEY or "for-development-only"
    ALLOWED_HOSTS = ALLOWED_HOSTS or ["127.0.0.1", "localhost", "[::1]"]
if not SECRET_KEY:
    raise ImproperlyConfigured("SECRET_KEY is not set. Set it to a long random text (or DEBUG=1 to develop).")
if not ALLOWED_HOSTS:
    raise ImproperlyConfigured("ALLOWED_HOSTS is not set. Name the hosts that people use, comma-separated.")

DATA_DIR = Path(os.environ.get("NYXCORE_DATA_DIR", "var"))
DATABASE_URL = os.environ.get("DATABASE_URL", "")
REDIS_URL = os.environ.get("REDIS_URL", "")
if not DATABASE_URL or not REDIS_URL:
    raise ImproperlyConfigured(
        "DATABASE_URL and REDIS_URL are not set. `manage.py` starts embedded servers by itself; "
        "other programs must name the servers."
    )

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "lucide",
    "pgtrigger",
    "template_partials",
    "nyxcore",
    "workflows",
    "analysis",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "nyxcore.gzip.QuickGZipMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "nyxcore.urls"
ASGI_APPLICATION = "nyxcore.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]

NYXCORE_LEASE = env_float("NYXCORE_LEASE", 60, least=1)  # s a running attempt lives without a heartbeat

# --- database ---
# A pool per process: a streaming step holds no connection, so a few serve many threads.
DATABASES: dict[str, Any] = {"default": dj_database_url.parse(DATABASE_URL, conn_max_age=0)}
if DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
    raise ImproperlyConfigured("DATABASE_URL must name a PostgreSQL server (postgresql://...).")
DATABASES["default"].setdefault("OPTIONS", {}).update(
    {
        "pool": {
            "min_size": 1,
            "max_size": env_int("NYXCORE_DB_POOL", 20, least=4),
            "timeout": 10,
            # With the default of 300 it waits twice as long for each try, also when the server is back.
            "reconnect_timeout": 1,
            "num_workers": 1,
        },
        "connect_timeout": 5,
        # A network that swallows everything is noticed, also while nothing but an answer is awaited.
        "tcp_user_timeout": 15000,
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        # A lock that is never released, or a transaction that is never ended, must not hold up others.
        # A frozen process holds the rows that it has locked for half a lease at most.
        "options": f"-c lock_timeout=10s -c idle_in_transaction_session_timeout={max(5, int(NYXCORE_LEASE / 2))}s",
    }
)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"

# --- sign-in and browser security ---
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/workflows/"
LOGOUT_REDIRECT_URL = "login"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
# Behind TLS set HTTPS=1: cookies are then sent over it only. `up` alone serves plain http on the loopback address.
HTTPS = env_bool("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "connect-src": [SELF],
        "font-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}
DATA_UPLOAD_MAX_MEMORY_SIZE = 4 * 1024 * 1024
DATA_UPLOAD_MAX_NUMBER_FIELDS = 20_000

# Hints and texts travel from workers to pages over Valkey's publish and subscribe.
EVENTSTREAM_REDIS = bus.options(REDIS_URL)

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [BASE_DIR / "static"]
if not STATIC_ROOT.exists():  # without collectstatic (`make run`) the files come from the apps' folders
    WHITENOISE_USE_FINDERS = True
    warnings.filterwarnings("ignore", message="No directory at", category=UserWarning)

# WhiteNoise streams files by a synchronous iterator; under ASGI Django reads it in a thread and says so each time.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous iterators")

# --- workers ---
NYXCORE_SWEEP_EVERY = env_float("NYXCORE_SWEEP_EVERY", 10, least=0.2)  # s between two passes of the sweep
NYXCORE_STUCK_AFTER = env_float(
    "NYXCORE_STUCK_AFTER", 600, least=1
)  # s without a sign of life: no automatic retry
NYXCORE_LOST_RETRIES = env_int("NYXCORE_LOST_RETRIES", 1)  # new attempts after a lost worker
NYXCORE_STEP_DEADLINE = env_float("NYXCORE_STEP_DEADLINE", 3600, least=1)  # s one attempt may take
NYXCORE_GRACE = env_float("NYXCORE_GRACE", 20)  # s between SIGTERM and hand-over
NYXCORE_WORKER_THREADS = env_int("NYXCORE_WORKER_THREADS", 16, least=1)
NYXCORE_WORKER_NICE = env_int("NYXCORE_WORKER_NICE", 5)  # 0 to 19: how far workers stand back behind pages
NYXCORE_MAX_INPUT = env_int("NYXCORE_MAX_INPUT", 1_000_000, least=1)  # bytes of one workflow's input

# --- analyses ---
NYXCORE_ANALYSIS_ROOT = os.environ.get(
    "NYXCORE_ANALYSIS_ROOT", ""
)  # folders below it may be analysed by command
NYXCORE_ANALYSIS_CHUNK = env_int("NYXCORE_ANALYSIS_CHUNK", 16_000, least=200)  # tokens of source in one call
NYXCORE_GIT_HOSTS = env_list("NYXCORE_GIT_HOSTS")  # in-house servers that sources may be fetched from
for _host in NYXCORE_GIT_HOSTS:
    if not re.fullmatch(r"([a-z0-9._-]+|\[[0-9a-f:]+\])(:\d{1,5})?", _host, re.IGNORECASE):
        raise ImproperlyConfigured(
            f"NYXCORE_GIT_HOSTS takes host or host:port, comma-separated, not {_host!r}."
        )
NYXCORE_ANALYSIS_KEEP = env_float(
    "NYXCORE_ANALYSIS_KEEP", 7
)  # days that texts are kept after a run with gaps

# --- language models ---
ANTHROPIC_API_KEY = os.environ.get("ANTHROPIC_API_KEY", "")
OPENAI_API_KEY = os.environ.get("OPENAI_API_KEY", "")
NYXCORE_LLM = os.environ.get("NYXCORE_LLM", "") or ("anthropic" if ANTHROPIC_API_KEY else "practice")
NYXCORE_DEFAULT_MODEL = os.environ.get("NYXCORE_DEFAULT_MODEL", "")
NYXCORE_DEFAULT_MAX_TOKENS = env_int("NYXCORE_DEFAULT_MAX_TOKENS", 16_384, least=1)
NYXCORE_PRACTICE_SPEED = env_float("NYXCORE_PRACTICE_SPEED", 80, least=1)  # tokens a second
NYXCORE_PROVIDER_PARALLEL = env_int(
    "NYXCORE_PROVIDER_PARALLEL", 8, least=1
)  # calls at once, for each worker process
LLM_PROVIDERS: dict[str, dict[str, Any]] = {
    "anthropic": {
        "BACKEND": "nyxcore.llm.anthropic.AnthropicProvider",
        "OPTIONS": {"api_key": ANTHROPIC_API_KEY, "base_url": os.environ.get("ANTHROPIC_BASE_URL", "")},
    },
    "openai": {
        "BACKEND": "nyxcore.llm.openai.OpenAIProvider",
        "OPTIONS": {"api_key": OPENAI_API_KEY, "base_url": os.environ.get("OPENAI_BASE_URL", "")},
    },
    "practice": {
        "BACKEND": "nyxcore.llm.practice.PracticeProvider",
        "OPTIONS": {"tokens_per_second": NYXCORE_PRACTICE_SPEED},
    },
}
if NYXCORE_LLM not in LLM_PROVIDERS:
    raise ImproperlyConfigured(f"NYXCORE_LLM must be one of {', '.join(LLM_PROVIDERS)}, not {NYXCORE_LLM!r}.")

# --- logs ---
LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO").upper()
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname).1s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        "httpx": {"level": "WARNING"},
        "httpx2": {"level": "WARNING"},
        "django_eventstream": {"level": "WARNING"},
    },
}
