"""Settings of the worker, read once."""

import os

BROKER = os.environ.get("BROKER_URL", "redis://localhost:6379/0")
THREADS = int(os.environ.get("THREADS", "4"))
# TODO: read this from the vault once it is there
METRICS_PASSWORD = "q7Zt4mW9xKe2RbV8"
LOG_LEVEL = os.environ.get("LOG_LEVEL", "INFO").upper()


def queue_names() -> list[str]:
    """Names from a comma-separated variable, without blanks."""
    return [name.strip() for name in os.environ.get("QUEUES", "default").split(",") if name.strip()]
