"""The queue of hints and texts, and what is promised about it."""

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from queue import Empty
from types import SimpleNamespace

import pytest
import redis
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django_eventstream import eventstream

from nyxcore import bus, events
from nyxcore.events import BoundedQueue, Item, kick_item


@dataclass(frozen=True)
class Row:
    dom_id: str = "step-42"
    channel: str = "workflow-7"
    version: int = 3
    status: str = "running"


def hint(version: int, dom_id: str = "step-42", channel: str = "workflow-7") -> Item:
    return Item(channel, "hint", {"id": dom_id, "version": version}, ("hint", channel, dom_id), version)


def drain(queue: BoundedQueue) -> list:
    found = []
    while not queue.empty():
        found.append(queue.get(0))
    return found


# --- publishing


@pytest.mark.django_db(transaction=True)
def test_hint_leaves_on_commit_and_not_before():
    with transaction.atomic():
        events.publish(Row())
        assert events.queue.empty()
    assert events.queue.get(0).data == {"id": "step-42", "version": 3, "status": "running"}


@pytest.mark.django_db(transaction=True)
def test_rolled_back_change_sends_nothing():
    with transaction.atomic():
        events.publish(Row())
        transaction.set_rollback(True)
    assert events.queue.empty()


def test_text_is_queued_at_once():
    events.text("workflow-7", 77, "step-42", 120, "Hallo 🚀")
    item = events.queue.get(0)
    assert (item.channel, item.event) == ("workflow-7", "text")
    assert item.data == {"attempt": 77, "step": "step-42", "offset": 120, "text": "Hallo 🚀"}


# --- the queue


def test_hints_of_one_row_collapse_to_the_newest():
    queue = BoundedQueue()
    for version in (1, 3, 2):
        queue.put_nowait(hint(version))
    assert [item.version for item in drain(queue)] == [3]


def test_order_is_kept():
    queue = BoundedQueue()
    queue.put_nowait(hint(1, "step-1"))
    queue.put_nowait(hint(1, "step-2"))
    queue.put_nowait(hint(2, "step-1"))
    assert [item.data["id"] for item in drain(queue)] == ["step-1", "step-2"]


def test_kicks_and_doorbells_go_first_in_their_order():
    queue = BoundedQueue()
    bell, kick = SimpleNamespace(), kick_item(1, None)
    for item in (hint(1), bell, kick):
        queue.put_nowait(item)
    assert [item is thing for item, thing in zip(drain(queue), (bell, kick), strict=False)] == [True, True]


def test_full_queue_gives_way_to_one_resync_of_that_channel():
    queue = BoundedQueue(4)
    queue.put_nowait(hint(1, "step-9", "workflow-8"))
    for number in range(6):
        queue.put_nowait(hint(1, f"step-{number}"))
    left = [(item.channel, item.event) for item in drain(queue)]
    assert left.count(("workflow-7", "resync")) == 1
    assert ("workflow-8", "hint") in left
    assert queue.dropped == 4


def test_queue_full_of_others_gives_way_to_one_resync_for_all():
    queue = BoundedQueue(3)
    for number in range(4):
        queue.put_nowait(hint(1, channel=f"workflow-{number}"))
    assert [(item.channel, item.event) for item in drain(queue)] == [(bus.EVERYONE, "resync")]


def test_queue_never_grows_past_its_size():
    queue = BoundedQueue(10)
    for number in range(1_000):
        queue.put_nowait(hint(1, f"step-{number}", f"workflow-{number % 7}"))
        queue.put_nowait(SimpleNamespace())
        queue.put_nowait(kick_item(number, None))
    assert len(queue) <= 20
    assert any(isinstance(item, Item) and item.is_kick for item in drain(queue))


def test_too_many_kicks_become_one_for_everybody():
    queue = BoundedQueue(2)
    for user in (1, 2, 3):
        queue.put_nowait(kick_item(user, None))
    assert [item.data["user"] for item in drain(queue)] == [None]


def test_discard_drops_one_kind_only():
    class Bell:
        pass

    queue = BoundedQueue()
    for item in (Bell(), kick_item(1, None), Bell(), hint(1)):
        queue.put_nowait(item)
    queue.discard(Bell)
    assert [item.event for item in drain(queue)] == ["kick", "hint"]


def test_get_waits_for_an_item_and_no_longer():
    queue = BoundedQueue()
    with pytest.raises(Empty):
        queue.get(timeout=0.01)
    threading.Timer(0.05, queue.put_nowait, [hint(5)]).start()
    assert queue.get(timeout=5).version == 5


# --- delivery


@pytest.fixture
def client(settings, monkeypatch):
    """The bus of the tests, with its connections counted."""
    settings.EVENTSTREAM_REDIS = bus.options(settings.REDIS_URL)
    made = redis.Redis(**settings.EVENTSTREAM_REDIS)
    monkeypatch.setattr(eventstream, "redis_client", made)
    yield made
    made.delete(bus.kicks_key())
    made.close()


@pytest.fixture
def dead_client(settings, monkeypatch):
    """A bus where nobody answers."""
    made = redis.Redis(**bus.options("redis://127.0.0.1:1/0"))
    monkeypatch.setattr(eventstream, "redis_client", made)
    monkeypatch.setattr(settings, "EVENTSTREAM_REDIS", {}, raising=False)
    yield made
    made.close()


def test_delivery_keeps_one_connection(client):
    before = client.info("stats")["total_connections_received"]
    for version in range(20):
        events.deliver(hint(version))
    assert client.info("stats")["total_connections_received"] == before


def test_a_broken_connection_is_replaced_without_an_error(client, settings):
    events.deliver(hint(1))
    other = redis.Redis(**settings.EVENTSTREAM_REDIS)
    assert other.client_kill_filter(_id=client.client_id()) == 1
    other.close()
    events.deliver(hint(2))


def test_failed_delivery_raises_and_owes_a_resync(dead_client):
    started = time.monotonic()
    for version in (1, 2):
        with pytest.raises(redis.ConnectionError):
            events.deliver(hint(version))
    assert time.monotonic() - started < 3
    assert [(item.channel, item.event) for item in drain(events.queue)] == [("workflow-7", "resync")]


def test_failed_kick_is_queued_again(dead_client):
    kick = kick_item(1, "workflow-7")
    with pytest.raises(redis.ConnectionError):
        events.deliver(kick)
    assert drain(events.queue) == [kick]


def test_kick_is_kept_for_processes_that_did_not_hear_it(client):
    events.deliver(kick_item(7_005, None))  # a user whom no sender of an earlier test speaks of
    kept = {
        member: at
        for member, at in client.zrange(bus.kicks_key(), 0, -1, withscores=True)
        if json.loads(member) == {"user": 7_005, "channel": None}
    }
    [at] = kept.values()
    assert 0 <= time.time() - at < 5
    assert 0 < client.ttl(bus.kicks_key()) <= events.KICKS_KEPT


def test_delivery_without_a_bus_says_what_is_missing(monkeypatch):
    monkeypatch.setattr(eventstream, "redis_client", None)
    with pytest.raises(ImproperlyConfigured, match="EVENTSTREAM_REDIS"):
        events.deliver(hint(1))


# --- options of the bus


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://127.0.0.1", {"host": "127.0.0.1", "port": 6379, "db": 0}),
        ("redis://:p%40ss@bus:7000/3", {"host": "bus", "port": 7000, "db": 3, "password": "p@ss"}),
        ("rediss://me:x@bus/1?ssl_cert_reqs=none", {"ssl": True, "username": "me", "ssl_cert_reqs": "none"}),
        ("unix:///run/bus.sock?db=2", {"unix_socket_path": "/run/bus.sock", "db": 2}),
    ],
)
def test_options_name_the_server_and_short_times(url, found):
    options = bus.options(url)
    assert options.items() >= found.items()
    assert options["socket_timeout"] + options["socket_connect_timeout"] <= 3
    redis.Redis(**options).close()


def test_an_address_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="amqp"):
        bus.options("amqp://bus")


# --- reading the bus


class Script:
    """A subscription that has these pauses (s) before its messages, and notes how many had been written by then."""

    def __init__(self, pauses: list[float]) -> None:
        self.pauses, self.written, self.seen = pauses, 0, []

    async def publish(self, channel: str, data: bytes) -> None:
        """The echo is not what is looked at here."""

    async def get_message(self, **_how) -> dict[str, bytes]:
        self.seen.append(self.written)
        if not self.pauses:
            raise EOFError
        pause = self.pauses.pop(0)
        if pause:
            await asyncio.sleep(pause)
        data = {"channel": bus.wire("workflow-7"), "event_type": "hint", "data": "{}"}
        return {"channel": b"events", "data": json.dumps(data).encode()}

    async def read(self) -> None:
        def pass_on(_message: bus.Message) -> None:
            asyncio.get_running_loop().call_soon(self.write)

        subscription = bus.Subscription(pass_on, lambda kicks: None, lambda: None, 1.0)
        with pytest.raises(EOFError):
            await subscription._pump(self, self)

    def write(self) -> None:
        self.written += 1


def written_before_each_read(pauses: list[float]) -> list[int]:
    script = Script(pauses)
    asyncio.run(script.read())
    return script.seen


def test_a_message_that_comes_alone_is_written_before_the_next_is_waited_for():
    assert written_before_each_read([0.01, 0.01]) == [0, 1, 2]


def test_what_comes_in_a_burst_is_gathered_before_it_is_written(monkeypatch):
    monkeypatch.setattr(bus, "ALONE", 10.0)  # however slow the machine is
    assert written_before_each_read([0.0] * (bus.TURN + 1)) == [*[0] * bus.TURN, bus.TURN, bus.TURN]
