"""The threads of a process: *pulse* and *bulk* (workers only), *sweep* and *sender*.

The pulse renews the leases of this process and saves partial texts, on a connection of its own, and hears there
that a call has to stop. The sender is the one place from which doorbells and hints leave, so that a frozen
Valkey blocks nobody. Each thread survives any error of its own: it logs, waits and goes on.
"""

from __future__ import annotations

import logging
import os
import queue
import socket
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection, connections

from nyxcore import bulk, contact, events, sweep
from nyxcore.calls import CALLS, Call

log = logging.getLogger(__name__)

STOP_CHANNEL = "nyxcore_stop"
STUBBORN = 5.0  # s a call may take to obey its stop signal; the supervisor's patience is longer
FLUSH_EVERY = 1.0  # s between two savings of partial text
PATIENCE = 10.0  # s that the pulse waits for an answer; the server itself gives up each statement after 5 s


def worker_name() -> str:
    """A name that no other process, alive or dead, ever has."""
    return f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"


# --- sender ---


class Doorbell:
    """An item of the sender's queue: tell the workers that there is work."""


def ring(times: int = 1) -> None:
    """Wake up to `times` idle worker threads. Never blocks, never fails; losing it costs one sweep interval."""
    for _ in range(min(times, 64)):
        events.queue.put_nowait(Doorbell())


def send(item: Any) -> None:
    """Deliver one item of the queue over the network; raises when Valkey does not answer in time."""
    if isinstance(item, Doorbell):
        from nyxcore.celery import app

        app.send_task("nyxcore.work", retry=False, ignore_result=True)
    else:
        events.deliver(item)


def drain(limit: int = 10_000) -> int:
    """Deliver what is queued now, for commands without a sender thread. The first failure drops the rest."""
    sent = 0
    while sent < limit:
        try:
            item = events.queue.get(timeout=0)
        except queue.Empty:
            return sent
        try:
            send(item)
        except Exception as error:  # noqa: BLE001 - hints may be lost; the rows are the truth
            log.warning("sender: %s; the rest is dropped", error)
            events.queue.clear()
            return sent
        sent += 1
    return sent


# --- the process ---


class Process:
    """The background threads of one worker process (with a `worker` name) or web process."""

    def __init__(self, *, worker: str = "", threads: int = 0) -> None:
        self.worker = worker
        self.threads = threads
        self.closed = threading.Event()
        self.leave_by = 0.0
        self._bulk_waits = threading.Event()
        self._threads: list[threading.Thread] = []
        self._free = list(range(max(threads, 1)))[::-1]  # numbers of the threads that may claim
        self._free_changed = threading.Condition()
        self._awaited: tuple[float, psycopg.Connection[Any]] | None = (
            None  # since when the pulse waits on which one
        )
        self._pool = ThreadPoolExecutor(threads or 1, thread_name_prefix="nyxcore-look")

    def start(self) -> None:
        loops: list[Callable[[], None]] = [self._sender, self._sweeper]
        if self.worker:
            loops += [self._pulse, self._clock, self._bulk]
        for loop in loops:
            thread = threading.Thread(target=loop, name=f"nyxcore{loop.__name__}", daemon=True)
            thread.start()
            self._threads.append(thread)

    def work(self, wake: Callable[[], None] | None = None) -> None:
        """Claim and run until nothing is left; returns at once when all threads of this process are busy."""
        with self._free_changed:
            if not self._free:
                return
            number = self._free.pop()
        try:
            more = True
            while more:  # each app in turn, so that a long queue of one does not keep the others waiting
                # A name for each thread: what it holds and does not run is a claim whose reply was lost.
                more = True in [target.work(f"{self.worker}/{number}", wake) for target in sweep.TARGETS]
        finally:
            connection.close()
            with self._free_changed:
                self._free.append(number)
                self._free_changed.notify_all()

    def look(self) -> None:
        """Look for work without a doorbell, so that work flows while Valkey is away."""
        self._pool.submit(self._look)

    def _look(self) -> None:
        try:
            self.work(wake=self.look)
        except Exception:
            log.exception("worker: looking for work failed")

    def drain(self, grace: float) -> None:
        """The hand-over at SIGTERM: claim nothing more, let calls end for `grace` seconds, then stop them.

        A call that ignores its signal for some seconds more is handed over from here, and the process ends hard.
        """
        CALLS.draining = True
        if self._idle_within(grace):
            return
        end = time.monotonic() + STUBBORN
        while time.monotonic() < end:
            for call in CALLS.all():
                call.stop.set("handover")
            if self._idle_within(0.5):
                return
        try:
            for call in CALLS.all():
                _hand_over(call)
        finally:
            os._exit(0)

    def _idle_within(self, seconds: float) -> bool:
        """Wait until no thread claims or runs; False when one still does after `seconds`."""
        with self._free_changed:
            return self._free_changed.wait_for(lambda: len(self._free) == max(self.threads, 1), seconds)

    def close(self, timeout: float = 3.0) -> None:
        """Stop the threads; a worker says that it is gone."""
        self.leave_by = time.monotonic() + timeout / 2  # what is queued may still leave, if Valkey answers
        self.closed.set()
        self._bulk_waits.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads:
            thread.join(timeout)

    def _sender(self) -> None:
        while not self.closed.is_set() or (not events.queue.empty() and time.monotonic() < self.leave_by):
            try:
                item = events.queue.get(timeout=0.5)
            except queue.Empty:
                continue
            try:
                send(item)
            except Exception as error:  # noqa: BLE001 - the sender must outlive Valkey
                log.warning("sender: %s", error)
                if isinstance(
                    item, Doorbell
                ):  # the sweep rings again; do not run into the same wall for each
                    events.queue.discard(Doorbell)
                self.closed.wait(0.5)

    def _sweeper(self) -> None:
        while not self.closed.is_set():
            began = time.monotonic()
            try:
                sweep.run_pass()
                if self.worker:
                    self.look()
            except contact.BROKEN as error:
                log.warning("sweep: no contact to PostgreSQL (%s); trying again", str(error).strip())
                contact.lost()
            except Exception:
                log.exception("sweep: this pass failed")
            finally:
                connections.close_all()
            self.closed.wait(sweep.wait_after(time.monotonic() - began))

    def _bulk(self) -> None:
        """Bulk actions have a thread of their own: to cancel many runs must not wait for one of them to end."""
        while not self.closed.is_set():
            self._bulk_waits.clear()
            try:
                bulk.work(self.worker, lambda: self.closed.is_set() or CALLS.draining)
            except Exception:
                log.exception("bulk: interrupted; going on later")
            finally:
                connections.close_all()
            self._bulk_waits.wait(sweep.every())

    def _pulse(self) -> None:
        conn: psycopg.Connection[Any] | None = None
        beat_at = 0.0
        while not self.closed.is_set():
            try:
                if conn is None:
                    conn = connect()
                    self._awaited = time.monotonic(), conn
                    conn.execute(f"LISTEN {STOP_CHANNEL}")
                    conn.execute(f"LISTEN {bulk.CHANNEL}")
                    beat_at = 0.0
                self._awaited = time.monotonic(), conn
                if time.monotonic() >= beat_at:
                    self._beat(conn)
                    beat_at = time.monotonic() + settings.NYXCORE_LEASE / 6
                self._save_texts(conn)
                self._awaited = None
                wait = min(FLUSH_EVERY, max(0.05, beat_at - time.monotonic()))
                for notice in conn.notifies(timeout=wait, stop_after=1):
                    if notice.channel == bulk.CHANNEL:
                        self._bulk_waits.set()
                    else:
                        hear(notice.payload)
            except Exception as error:  # noqa: BLE001 - without the pulse every lease of this process lapses
                log.warning("pulse: %s: %s; calls go on, trying again", type(error).__name__, error)
                self._awaited = None
                if conn is not None:
                    conn.close()
                conn = None
                self.closed.wait(1.0)
        if conn is not None:
            conn.execute("DELETE FROM nyxcore_worker WHERE name = %s", [self.worker])
            conn.close()

    def _clock(self) -> None:
        """Stop calls at their deadline, whatever the pulse waits for; and end its wait for a network that swallows
        everything, so that it makes a new connection."""
        while not self.closed.wait(1.0):
            expire_overlong()
            awaited = self._awaited
            if awaited is not None and time.monotonic() - awaited[0] > PATIENCE:
                log.warning("pulse: no answer from PostgreSQL for %.0f s; hanging up", PATIENCE)
                self._awaited = None
                hang_up(awaited[1])

    def _beat(self, conn: psycopg.Connection[Any]) -> None:
        """Say that the worker lives, renew all its leases in one UPDATE per table, stop what is no longer ours."""
        conn.execute(
            """INSERT INTO nyxcore_worker (name, host, threads, stopping)
               VALUES (%(name)s, %(host)s, %(threads)s, %(stopping)s)
               ON CONFLICT (name) DO UPDATE SET seen_at = clock_timestamp(), stopping = excluded.stopping""",
            {
                "name": self.worker,
                "host": socket.gethostname(),
                "threads": self.threads,
                "stopping": CALLS.draining,
            },
        )
        conn.execute("DELETE FROM nyxcore_worker WHERE seen_at < clock_timestamp() - interval '1 day'")
        for table, calls in _by_table().items():
            held = {call.key[1]: call.worker for call in calls}
            mine = "(id, worker) IN (SELECT * FROM unnest(%(pks)s::bigint[], %(workers)s::text[]))"
            values = {"pks": list(held), "workers": list(held.values()), "lease": settings.NYXCORE_LEASE}
            # A row that somebody has locked is left for the next beat: it must not cost the others their lease.
            conn.execute(
                f"""UPDATE {table} SET heartbeat_at = clock_timestamp(),
                           due_at = clock_timestamp() + make_interval(secs => %(lease)s)
                     WHERE id IN (SELECT id FROM {table} WHERE {mine} AND status = 'running'
                                     FOR NO KEY UPDATE SKIP LOCKED)""",
                values,
            )
            rows = conn.execute(f"SELECT id FROM {table} WHERE {mine} AND status = 'running'", values)
            still = {row[0] for row in rows.fetchall()}
            for call in calls:
                if call.key[1] not in still and call.key in CALLS:
                    call.stop.set("gone")

    def _save_texts(self, conn: psycopg.Connection[Any]) -> None:
        for call in CALLS.all():
            call.announce()
            text = call.text()
            if len(text) > call.saved:
                # Never over a whole answer, which has its stop reason; not now, where somebody has locked the row.
                saved = conn.execute(
                    f"""UPDATE {call.key[0]} SET output = %s
                         WHERE id = (SELECT id FROM {call.key[0]} WHERE id = %s AND worker = %s
                                        AND status = 'running' AND stop_reason = ''
                                        FOR NO KEY UPDATE SKIP LOCKED)""",
                    [text, call.key[1], call.worker],
                )
                call.saved = len(text) if saved.rowcount else call.saved


def _hand_over(call: Call) -> None:
    log.error("attempt %s ignores its stop signal; handing it over and leaving", call.key[1])
    try:
        for target in sweep.TARGETS:
            if target.attempts._meta.db_table == call.key[0]:
                target.hand_over(call.key[1], call.worker)
    except Exception:
        log.exception("the hand-over of attempt %s failed; its lease will tell", call.key[1])


def connect() -> psycopg.Connection[Any]:
    """A connection of its own, autocommit, with short time-outs."""
    params = connection.get_connection_params()
    params.pop("cursor_factory", None)
    params["options"] = "-c statement_timeout=5s -c lock_timeout=2s"
    return psycopg.connect(**params, autocommit=True)


def hang_up(conn: psycopg.Connection[Any]) -> None:
    """End a connection that another thread waits on: that one finds it closed."""
    try:
        with socket.socket(fileno=os.dup(conn.fileno())) as line:
            line.shutdown(socket.SHUT_RDWR)
    except (OSError, psycopg.Error) as error:  # it has ended by itself
        log.debug("pulse: nothing to hang up: %s", error)


def _by_table() -> dict[str, list[Call]]:
    tables: dict[str, list[Call]] = {}
    for call in CALLS.all():
        tables.setdefault(call.key[0], []).append(call)
    return tables


def hear(payload: str) -> None:
    """A row was ended by somebody else ("table:pk:cause"): stop its call if it is made here."""
    table, _, rest = payload.partition(":")
    pk, _, cause = rest.partition(":")
    if pk.isdecimal():
        CALLS.stop((table, int(pk)), cause)


def tell_to_stop(table: str, pks: list[int], cause: str) -> None:
    """In a transaction: when it commits, whichever worker makes these calls ends them."""
    with connection.cursor() as cursor:
        told = [f"{table}:{pk}:{cause}" for pk in pks]
        cursor.execute("SELECT pg_notify(%s, said) FROM unnest(%s::text[]) said", [STOP_CHANNEL, told])


def expire_overlong() -> None:
    """Stop the calls that are past their deadline."""
    now = time.monotonic()
    for call in CALLS.all():
        if now > call.deadline:
            call.stop.set("deadline")
