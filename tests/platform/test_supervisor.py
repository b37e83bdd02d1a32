"""The supervisor with small programs: what it shows, starts again, and ends."""

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from nyxcore import supervisor as module
from nyxcore.console import Console
from nyxcore.processes import Program, StartError
from nyxcore.supervisor import Child, Stop, Supervisor
from tests.platform.helpers import processes_of, until

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)


class Output(Console):
    def __init__(self) -> None:
        self.written = io.StringIO()
        super().__init__(self.written)

    def lines(self, name: str) -> list[str]:
        start = f"{name.ljust(self.width)} │ "
        return [
            line.removeprefix(start)
            for line in self.written.getvalue().splitlines()
            if line.startswith(start)
        ]


@pytest.fixture
def output() -> Output:
    return Output()


@pytest.fixture
def supervisor(output: Output) -> Iterator[Supervisor]:
    """A supervisor in this process; its signal handlers are taken back afterwards."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    made = Supervisor(output)
    yield made
    made.stop(made.children)
    made.close()
    for number, handler in before.items():
        signal.signal(number, handler)


def program(
    code: str, *, name: str = "web", is_up: Callable[[], bool] = lambda: True, **options: object
) -> Program:
    return Program(name, lambda: [sys.executable, "-u", "-c", code], is_up=is_up, **options)


def alarm(seconds: float, number: signal.Signals = signal.SIGTERM) -> None:
    threading.Timer(seconds, os.kill, (os.getpid(), number)).start()


def test_output_carries_the_name_of_its_process(supervisor, output):
    child = supervisor.start(program("print('one'); print('two', end='')"))
    supervisor.run_until(lambda: child.state == "waiting")
    assert output.lines("web")[:2] == ["one", "two"]


def test_output_of_a_service_is_shown_only_when_its_start_fails(supervisor, output):
    supervisor.start(program("print('chatter'); import time; time.sleep(60)", name="db"), quiet_start=True)
    supervisor.wait_up(supervisor.children)
    assert output.lines("db") == []
    with pytest.raises(StartError, match="bus does not start: no such thing"):
        never = program("print('no such thing')", name="bus", is_up=lambda: False)
        supervisor.wait_up([supervisor.start(never, quiet_start=True)])
    assert output.lines("bus") == ["no such thing"]


def test_undecodable_and_endless_lines_do_no_harm(supervisor, output):
    code = "import os; os.write(1, b'\\xff\\xfe\\n' + b'x' * 50000 + b'\\n')"
    child = supervisor.start(program(code))
    supervisor.run_until(lambda: child.state == "waiting")
    assert output.lines("web")[0] == "\ufffd\ufffd"
    assert sum(len(line) for line in output.lines("web") if set(line) == {"x"}) == 50000


def test_what_dies_starts_again_with_growing_delays(supervisor, output, monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    child = supervisor.start(program("raise SystemExit(3)", is_up=lambda: True))
    child.was_up = True
    supervisor.run_until(lambda: child.failures == 4)
    assert [line for line in output.lines("up") if "starts again" in line] == [
        "web starts again in 0.01 s",
        "web starts again in 0.05 s",
        "web starts again in 0.25 s",
        "web starts again in 1.25 s",
    ]


def test_a_program_that_never_comes_up_is_given_up_with_its_last_words(supervisor, monkeypatch):
    monkeypatch.setattr(module, "FIRST_DELAY", 0.01)
    child = supervisor.start(program("raise SystemExit('the key is wrong')", is_up=lambda: False))
    with pytest.raises(StartError, match="web does not start: the key is wrong"):
        supervisor.wait_up([child])
    assert child.failures == module.TRIES - 1


def test_a_calm_time_earns_the_short_delay_again(supervisor, monkeypatch):
    monkeypatch.setattr(module, "CALM", 0.0)
    child = supervisor.start(program("pass"))
    child.was_up, child.failures = True, 5
    supervisor.run_until(lambda: child.state == "waiting")
    assert child.failures == 1


def test_a_one_time_program_ends_well_or_fails_the_start(supervisor, output):
    supervisor.run_once(program("print('done')", name="setup"))
    assert output.lines("setup") == ["done"]
    with pytest.raises(StartError, match="setup failed: broken"):
        supervisor.run_once(program("raise SystemExit('broken')", name="setup"))


def test_children_of_a_dead_child_are_ended_too(supervisor, tmp_path):
    code = "import subprocess, sys; subprocess.Popen(['sleep', '60'], cwd=sys.argv[1])"
    made = Program("web", lambda: [sys.executable, "-c", code, str(tmp_path)])
    child = supervisor.start(made)
    supervisor.run_until(lambda: child.state == "waiting")
    until(lambda: processes_of(tmp_path) == [], 5)


def test_a_signal_during_the_start_stops_it(supervisor):
    alarm(0.2)
    child = supervisor.start(program("import time; time.sleep(60)", is_up=lambda: False))
    with pytest.raises(Stop):
        supervisor.wait_up([child])


def test_a_stubborn_program_is_ended_by_force(supervisor, output):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    child = supervisor.start(program(code, stop_seconds=0.2))
    supervisor.run_until(lambda: output.lines("web") == ["deaf"])
    supervisor.stop([child])
    assert child.state == "ended"
    assert child.process.returncode == -signal.SIGKILL
    assert "web did not end in time; it gets SIGKILL" in output.lines("up")


def test_a_second_signal_ends_the_patience(supervisor, output):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf'); time.sleep(60)"
    child = supervisor.start(program(code, stop_seconds=60))
    supervisor.run_until(lambda: output.lines("web") == ["deaf"])
    alarm(0.3, signal.SIGINT)
    began = time.monotonic()
    supervisor.stop([child], patient=False)
    assert time.monotonic() - began < 10
    assert child.process.returncode == -signal.SIGKILL


def test_nothing_happens_while_nothing_happens(supervisor):
    child = supervisor.start(program("import time; time.sleep(60)"))
    supervisor.wait_up([child])
    turns = 0
    plain = supervisor._turn

    def counted() -> None:
        nonlocal turns
        turns += 1
        plain()

    supervisor._turn = counted
    alarm(1.0)
    supervisor.run()
    assert turns <= 3


def test_the_live_line_is_for_terminals_only(supervisor, output):
    supervisor.start(program("import time; time.sleep(60)"))
    assert "\x1b" not in output.written.getvalue()


def test_the_live_line_stays_below_the_log():
    stream = io.StringIO()
    console = Console(stream)
    console.terminal = True
    console.status("● web")
    console.line("web", "hello")
    assert stream.getvalue() == "\r\x1b[K● web\r\x1b[Kweb    │ hello\n● web"


def test_a_reader_that_went_away_stops_nothing():
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as stream:
        console = Console(stream)
        console.say("into the void")
        console.say("and again")


def test_a_child_knows_its_name():
    assert Child(program("pass", name="db")).name == "db"
