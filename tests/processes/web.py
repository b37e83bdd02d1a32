"""The web process of the product, with shorter times: `python -m tests.processes.web FD`.

LIVE_TIMES in the environment: JSON, from "module.CONSTANT" of nyxcore to its value.
"""

import importlib
import json
import os
import sys

import uvicorn

from nyxcore import asgi

if __name__ == "__main__":
    for name, value in json.loads(os.environ.get("LIVE_TIMES", "{}")).items():
        module, _, constant = name.rpartition(".")
        found = importlib.import_module(f"nyxcore.{module}")
        assert hasattr(found, constant), name
        setattr(found, constant, value)
    uvicorn.run(
        asgi.application,
        fd=int(sys.argv[1]),
        loop="uvloop",
        http="httptools",
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=2,
    )
