"""PostgreSQL behind a network that swallows everything: nothing is refused, nothing answers."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connection

from nyxcore.processes import Program
from tests.factories import attempts_of, make_workflow, step_of
from tests.faults.proxy import Proxy, Wires
from tests.platform.helpers import free_port
from tests.processes.model import BEGINNING, HELD
from tests.processes.servers import Child
from tests.processes.tools import KNOWN_WITHIN, ends, environment, eventually, saved
from tests.workflows.engine_helpers import run_all
from workflows.models import StepAttempt

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def wire(transactional_db: None) -> Iterator[Proxy]:
    """Between a process and the database of the tests."""
    where = connection.settings_dict
    host, port = where["HOST"], int(where["PORT"] or 5432)
    wires = Wires()
    proxy = Proxy(wires, Path(host) / f".s.PGSQL.{port}" if host.startswith("/") else (host, port))
    yield proxy
    proxy.heal()
    proxy.close()
    wires.close()


def address(wire: Proxy) -> str:
    where = connection.settings_dict
    who = quote(where["USER"]) + (f":{quote(where['PASSWORD'])}" if where["PASSWORD"] else "")
    return f"postgresql://{who}@127.0.0.1:{wire.port}/{where['NAME']}"


def test_a_worker_behind_a_black_hole_loses_its_step_and_its_late_answer_is_no_result(
    web, asking, model, wire
):
    model.play(HELD)
    worker = asking("first", DATABASE_URL=address(wire))
    workflow = make_workflow([{"key": "one"}], start=True)
    attempt = saved(BEGINNING)
    wire.stall()
    eventually(StepAttempt.objects.filter(pk=attempt.pk, reason="lost").exists, KNOWN_WITHIN, "for the sweep")
    run_all("second")
    ends(workflow)
    call = model.held()
    call.release()
    assert call.ended.wait(5)
    wire.heal()
    eventually(lambda: attempts_of(workflow, "one")[0].request_id, 30, "for the late facts")
    late, again = attempts_of(workflow, "one")
    assert (late.status, late.reason, late.stop_reason) == ("failed", "lost", "")
    assert step_of(workflow, "one").output == again.output
    assert worker.alive


def test_a_call_ends_at_its_deadline_and_a_pulse_without_an_answer_makes_a_new_connection(
    web, asking, model, wire
):
    model.play(HELD)
    worker = asking("first", DATABASE_URL=address(wire))
    make_workflow([{"key": "one", "config": {"deadline": 12}}], start=True)
    call = model.held()
    wire.stall()
    eventually(lambda: call.hung_up_at, 30, "for the worker to hang up")
    worker.says("no answer from PostgreSQL for 10 s; hanging up")
    worker.says("calls go on, trying again")


@pytest.fixture
def server(wire: Proxy, tmp_path: Path) -> Iterator[Any]:
    port = free_port()
    argv = [sys.executable, "-m", "uvicorn", "nyxcore.asgi:application", "--port", str(port)]
    env = environment(DATABASE_URL=address(wire))

    def ready() -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=20) as answer:
                return answer.status, json.loads(answer.read())["checks"]
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())["checks"]
        except OSError:
            return 0, {}

    program = Program("web", lambda: argv, env, is_up=lambda: ready()[0] > 0, stop_seconds=6)
    web = Child(program, tmp_path / "web.log")
    web.await_up()
    yield ready
    web.kill()


def test_a_web_process_behind_a_black_hole_says_that_it_is_not_ready_and_is_again_after(server, wire):
    assert server()[1]["database"] == "ok"
    wire.stall()
    for _ in range(2):  # the first question is still without an answer
        assert server() == (503, {"database": "not reachable: no answer within 3 s"})
    wire.heal()
    eventually(lambda: server()[1].get("database") == "ok", 30, "for the database")
