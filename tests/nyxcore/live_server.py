"""The event-stream application alone in uvicorn: no database is configured, so none can be used.

Run as a program by the tests: `python live_server.py REDIS_URL`; the port is the first line it prints.
"""

import json
import logging
import os
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import django
import uvicorn
from django.conf import settings

from nyxcore import bus

SECRET = "a secret of the live tests"


def main(redis_url: str) -> None:
    extra = json.loads(os.environ.get("LIVE_SETTINGS", "{}"))
    settings.configure(SECRET_KEY=SECRET, EVENTSTREAM_REDIS=bus.options(redis_url), DATABASES={}, **extra)
    django.setup()
    logging.basicConfig(level="INFO", stream=sys.stderr)
    from nyxcore import live, live_hub

    for name, value in json.loads(os.environ.get("LIVE_LIMITS", "{}")).items():
        setattr(live_hub, name, value)
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    print(listener.getsockname()[1], flush=True)
    config = uvicorn.Config(live.application, log_level="warning", lifespan="off", access_log=False)
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(sys.argv[1])
