"""Event streams: the product's web process beside a minimal Starlette stream, with the same clients, in turns.

What is timed: from the commit (for the baseline: from the call of publish) until the last client has the event.
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from django.conf import settings
from django.db import connection, transaction

from bench import floor
from nyxcore import events, live_tokens

SIZES = (1, 100, 1000)
PER_USER = 40  # streams of one person in one process; 50 are allowed
CHANNEL = "workflow-1"
RATE, SECONDS = 66, 5  # events/s to all streams: 66,000 deliveries/s at 1,000
APPS = {"nyxcore": "nyxcore.asgi:application", "starlette": "bench.floor:app"}


class Listeners:
    """The process of the clients."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "bench.listeners"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, crowd: str, do: str, **how: Any) -> dict[str, Any]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps({"crowd": crowd, "do": do} | how) + "\n")
        self.process.stdin.flush()
        answer: dict[str, Any] = json.loads(self.process.stdout.readline())
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


@contextmanager
def clients() -> Iterator[Listeners]:
    """They leave before the servers, which would otherwise wait for them."""
    listeners = Listeners()
    try:
        yield listeners
    finally:
        listeners.close()


class Ours:
    """Publishing as the engine does: on commit, through the queue and the sender."""

    name = "nyxcore"

    def path(self, number: int) -> str:
        return f"/events/?token={live_tokens.make_token(1 + number // PER_USER, [CHANNEL])}"

    def publish(self, number: int) -> float:
        committed: list[float] = []
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            transaction.on_commit(lambda: committed.append(time.monotonic()))
            transaction.on_commit(lambda: events.queue.put_nowait(_item(number)))
        return committed[0]


class Floor:
    """Publishing at once."""

    name = "starlette"

    def __init__(self) -> None:
        self.client = redis.from_url(settings.REDIS_URL)

    def path(self, number: int) -> str:
        return f"/events/?channel={CHANNEL}"

    def publish(self, number: int) -> float:
        item = _item(number)
        now = time.monotonic()
        message = {"channel": item.channel, "event_type": item.event, "data": json.dumps(item.data)}
        self.client.publish(floor.CHANNEL, json.dumps(message))
        return now


def _item(number: int) -> events.Item:
    """A piece of text, as a step that streams sends it."""
    data = {
        "attempt": 1,
        "step": "step-1",
        "offset": 20 * number,
        "text": "some words of text. ",
        "n": number,
    }
    return events.Item(CHANNEL, "text", data, ("text", CHANNEL, 1, number))


class Bench:
    """Both servers, their clients, and the numbers of the events so far."""

    def __init__(self, listeners: Listeners, pids: dict[str, int], ports: dict[str, int]) -> None:
        self.listeners, self.pids, self.ports = listeners, pids, ports
        self.sides: list[Ours | Floor] = [Ours(), Floor()]
        self.number = 0
        self.open_now = dict.fromkeys(ports, 0)

    def open(self, size: int) -> None:
        """Have so many streams on either server."""
        for side in self.sides:
            paths = [side.path(number) for number in range(self.open_now[side.name], size)]
            answer = self.listeners.order(side.name, "open", port=self.ports[side.name], paths=paths)
            if answer["open"] != size:
                raise RuntimeError(f"{side.name}: {answer['open']} of {size} streams are open")
            self.open_now[side.name] = size

    def latency(self, rounds: int) -> tuple[dict[str, list[float]], dict[str, float]]:
        """Milliseconds from commit to the last client, each event alone, in turns; processor seconds used by it."""
        found: dict[str, list[float]] = {side.name: [] for side in self.sides}
        used = {name: -_cpu(pid) for name, pid in self.pids.items()}
        for turn in range(rounds + 3):
            for side in self.sides if turn % 2 else self.sides[::-1]:
                self.number += 1
                self.listeners.order(side.name, "expect", after=self.number - 1, number=self.number)
                time.sleep(0.01)
                began = side.publish(self.number)
                got = self.listeners.order(side.name, "collect", within=10)
                if got["heard"] != self.open_now[side.name]:
                    raise RuntimeError(f"{side.name}: {got['heard']} streams heard event {self.number}")
                if turn >= 3:  # warm
                    found[side.name].append(1000 * (dict(got["last"])[self.number] - began))
        return found, {name: used[name] + _cpu(pid) for name, pid in self.pids.items()}

    def load(self, side: Ours | Floor, rate: float, seconds: float) -> dict[str, float]:
        """A steady stream of events to all; what arrived, and how late at the last client."""
        count = int(rate * seconds)
        first, self.number = self.number + 1, self.number + count
        self.listeners.order(side.name, "expect", after=first - 1, number=self.number)
        sent: dict[int, float] = {}
        cpu, start = _cpu(self.pids[side.name]), time.monotonic()
        for number in range(first, first + count):
            time.sleep(max(0.0, start + (number - first) / rate - time.monotonic()))
            sent[number] = side.publish(number)
        got = self.listeners.order(side.name, "collect", within=10)
        last = dict(got["last"])
        late = sorted(1000 * (last[number] - at) for number, at in sent.items() if number in last)
        taken = max(last.values(), default=start) - start
        streams = self.open_now[side.name]
        return {
            "deliveries/s": got["heard"] / taken if taken else 0.0,
            "lost": count * streams - got["heard"],
            "out of order": got["disordered"],
            "resyncs": got["resyncs"],
            "p50": statistics.median(late),
            "p95": late[int(0.95 * (len(late) - 1))],
            "cpu": (_cpu(self.pids[side.name]) - cpu) / taken if taken else 0.0,
        }


def report(env: dict[str, str], rounds: int) -> Iterator[str]:
    """One line for each figure."""
    with server("nyxcore", env) as ours, server("starlette", env) as theirs, clients() as listeners:
        pids = {"nyxcore": ours[0], "starlette": theirs[0]}
        bench = Bench(listeners, pids, {"nyxcore": ours[1], "starlette": theirs[1]})
        bench.open(1)
        before = {name: _costs(pid) for name, pid in pids.items()}
        for size in SIZES:
            bench.open(size)
            yield _latency_line(size, *bench.latency(rounds))
        yield _costs_line(before, {name: _costs(pid) for name, pid in pids.items()}, SIZES[-1] - 1)
        for side in (*bench.sides, *bench.sides):
            yield _load_line(side.name, SIZES[-1], bench.load(side, RATE, SECONDS))


@contextmanager
def server(name: str, env: dict[str, str]) -> Iterator[tuple[int, int]]:
    """One uvicorn process; its id and port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "uvicorn", APPS[name], "--port", str(port), "--log-level", "critical"]
    process = subprocess.Popen([*command, "--no-access-log", "--timeout-graceful-shutdown", "2"], env=env)
    try:
        _wait_for(port)
        yield process.pid, port
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(port: int) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
        else:
            return


def _costs(pid: int) -> dict[str, float]:
    """Threads and resident KiB of a process, and the connections to the database, ours not counted."""
    with open(f"/proc/{pid}/status") as file:
        status = dict(line.split(":", 1) for line in file)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        row = cursor.fetchone()
    return {
        "threads": int(status["Threads"]),
        "KiB": int(status["VmRSS"].split()[0]),
        "connections": row[0] if row else 0,
    }


def _cpu(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    with open(f"/proc/{pid}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _latency_line(size: int, found: dict[str, list[float]], used: dict[str, float]) -> str:
    parts, middles = [], {}
    for name, values in found.items():
        values.sort()
        middles[name] = statistics.median(values)
        parts.append(f"{name} {middles[name]:.1f} ms (p95 {values[int(0.95 * (len(values) - 1))]:.1f})")
    return (
        f"commit to the last of {size:,} streams: {', '.join(parts)};"
        f" ratio {middles['nyxcore'] / middles['starlette']:.2f} (goal <= 1.3); processor time"
        f" {used['nyxcore'] / max(used['starlette'], 0.01):.2f}x; load {os.getloadavg()[0]:.1f}"
    )


def _costs_line(before: dict[str, dict[str, float]], after: dict[str, dict[str, float]], more: int) -> str:
    ours, then = before["nyxcore"], after["nyxcore"]
    each = {name: (after[name]["KiB"] - before[name]["KiB"]) / more for name in before}
    return (
        f"{more + 1:,} streams instead of 1: threads {ours['threads']} -> {then['threads']}, connections to the"
        f" database {ours['connections']} -> {then['connections']} (goal: no more), {each['nyxcore']:.0f} KiB a stream"
        f" (starlette {each['starlette']:.0f}; goal <= 35)"
    )


def _load_line(name: str, streams: int, found: dict[str, float]) -> str:
    return (
        f"{RATE} events/s to {streams:,} streams, {name}: {found['deliveries/s']:,.0f} deliveries/s,"
        f" {found['lost']} lost, {found['out of order']} out of order, {found['resyncs']} resyncs;"
        f" last client {found['p50']:.1f} ms (p95 {found['p95']:.1f});"
        f" {100 * found['cpu']:.0f} % of a core; load {os.getloadavg()[0]:.1f}"
        " (goal >= 60,000, 0 lost)"
    )
