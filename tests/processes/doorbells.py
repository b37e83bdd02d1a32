"""Doorbells as Celery puts them on the queue: true, doubled, of other versions, forged and damaged ones."""

from __future__ import annotations

import base64
import json
import uuid

from nyxcore.celery import app

QUEUE = app.conf.task_default_queue


def message(body: bytes, task: str = "nyxcore.work", **properties: str) -> bytes:
    """What Celery puts on the queue, with a body of our choice."""
    pk = str(uuid.uuid4())
    whole = {
        "body": base64.b64encode(body).decode(),
        "content-type": "application/json",
        "content-encoding": "utf-8",
        "headers": {
            "lang": "py",
            "task": task,
            "id": pk,
            "root_id": pk,
            "argsrepr": "()",
            "kwargsrepr": "{}",
        },
        "properties": {
            "correlation_id": pk,
            "delivery_mode": 2,
            "delivery_info": {"exchange": "", "routing_key": QUEUE},
            "priority": 0,
            "body_encoding": "base64",
            "delivery_tag": pk,
        },
    }
    return json.dumps(whole | properties).encode()


NOTHING = b'[[], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'
FORGED = [
    message(b'[[1, "x"], {"pk": 42, "owner": null}, {}]'),
    message(b"\x00 this is no JSON"),
    message(b'{"not": "a list"}'),
    message(b"[]"),
    message(NOTHING, task="os.system"),
    message(NOTHING, **{"content-type": "application/x-python-serialize"}),
    message(NOTHING, **{"content-encoding": "rot13"}),
    b"\xff\xfe no JSON",
    b'"a text"',
    b"{}",
]

# What earlier and later versions may have left on the queue: another name, a row in the arguments, more options.
OTHER_VERSIONS = [
    message(b'[[42], {}, {"callbacks": null, "errbacks": null, "chain": null, "chord": null}]'),
    message(b'[[], {"attempt": 42, "expected": 1}, {}]'),
    message(b"[[], {}, {}]", task="workflows.tasks.run_attempt"),
    message(b'[["workflow", 7], {"hint": true}, {"later": "option"}]'),
]
