"""Event streams over the wire: a real Valkey, real uvicorn processes, real sockets."""

import json
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

import pytest
import redis
from django.core import signing
from django_eventstream import eventstream

from nyxcore import bus, events, live, live_tokens
from tests.nyxcore.live_server import SECRET
from tests.nyxcore.live_tools import Events, OwnValkey, Proxy, Server, closing_all, wait_until

pytestmark = pytest.mark.processes

CHANNEL = "workflow-7"


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnValkey]:
    server = OwnValkey(tmp_path_factory.mktemp("valkey"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def bus_here(valkey: OwnValkey, settings, monkeypatch) -> Iterator[redis.Redis]:
    """This process publishes on the Valkey of this module."""
    settings.SECRET_KEY = SECRET
    settings.EVENTSTREAM_REDIS = bus.options(valkey.url)
    client = redis.Redis(**settings.EVENTSTREAM_REDIS)
    monkeypatch.setattr(eventstream, "redis_client", client)
    monkeypatch.setattr(events, "queue", events.BoundedQueue())
    yield client
    if valkey.process is None:
        valkey.start()
    client.flushall()
    client.close()


@pytest.fixture
def serve(valkey: OwnValkey, tmp_path: Path, bus_here: redis.Redis) -> Iterator[Callable[..., Server]]:
    """Start servers; keyword arguments are settings, `limits` sets constants of live_hub."""
    servers: list[Server] = []

    def start(*, limits: dict[str, object] | None = None, **extra: object) -> Server:
        server = Server(valkey.url, extra, limits or {}, tmp_path / f"server-{len(servers)}.log")
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.stop()


@pytest.fixture(scope="module")
def server(valkey: OwnValkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server with the usual limits, for the tests that break nothing."""
    started = Server(
        valkey.url, {"NYXCORE_LIVE_STREAMS": 500}, {}, tmp_path_factory.mktemp("log") / "server.log"
    )
    yield started
    started.stop()


@pytest.fixture
def streams() -> Iterator[list[Events]]:
    with closing_all() as opened:
        yield opened


@pytest.fixture
def listen(streams: list[Events]) -> Callable[..., Events]:
    """Open a stream that is live."""

    def start(server: Server, *channels: str, user: int = 1) -> Events:
        stream = Events(server.port, live.make_token(user, channels or [CHANNEL]))
        streams.append(stream)
        return stream.hello()

    return start


def hint(version: int, channel: str = CHANNEL, dom_id: str = "step-42") -> events.Item:
    row = SimpleNamespace(dom_id=dom_id, channel=channel, version=version, status="running")
    data = {"id": row.dom_id, "version": row.version, "status": row.status}
    return events.Item(channel, "hint", data, ("hint", channel, dom_id), version)


def answer(port: int, path: str = "/events/", method: str = "GET") -> tuple[int, str, dict[str, str]]:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    found = response.status, response.read().decode(), dict(response.getheaders())
    connection.close()
    return found


# --- what a stream brings


def test_hint_reaches_the_stream(server, listen, bus_here):
    stream = listen(server)
    events.deliver(hint(7))
    assert stream.next() == ("hint", {"id": "step-42", "version": 7, "status": "running"})


def test_headers_forbid_caching_and_buffering(server, listen, bus_here):
    stream = listen(server)
    assert stream.response.getheader("content-type") == "text/event-stream"
    assert stream.response.getheader("cache-control") == "no-cache"
    assert stream.response.getheader("x-accel-buffering") == "no"


def test_a_stream_hears_only_its_channels(server, listen, bus_here):
    stream = listen(server, "workflow-7", "workflow-8")
    events.deliver(hint(1, "workflow-9"))
    events.deliver(hint(2, "workflow-8"))
    assert stream.next()[1]["version"] == 2


def test_another_installation_on_the_same_valkey_is_not_heard(server, listen, settings, bus_here):
    stream = listen(server)
    settings.SECRET_KEY = "the secret of somebody else"
    events.deliver(hint(1))
    settings.SECRET_KEY = SECRET
    events.deliver(hint(2))
    assert stream.next()[1]["version"] == 2


@pytest.mark.parametrize(
    "evil", ["a\r\n\r\nevent: hint\r\ndata: {}\r\n\r\n", "a\rdata: b\r\r", "\0\u2028x\nid: 1"]
)
def test_line_breaks_in_text_stay_inside_one_event(server, listen, evil, bus_here):
    stream = listen(server)
    data = {"attempt": 1, "step": "step-42", "offset": 0, "text": evil}
    events.deliver(events.Item(CHANNEL, "text", data, ("text",)))
    events.deliver(hint(3))
    assert stream.next() == ("text", data)
    assert stream.next()[1]["version"] == 3


def test_raw_line_breaks_on_the_bus_cannot_inject_an_event(server, listen, bus_here):
    stream = listen(server)
    message = {"channel": bus.wire(CHANNEL), "event_type": "te\nxt", "data": '"a\r\n\r\nevent: b"'}
    bus_here.publish(bus.EVENTS, json.dumps(message))
    assert stream.next() == ("text", "aevent: b")


def test_quiet_streams_are_pinged(serve, listen):
    stream = listen(serve(limits={"PING_AFTER": 0.5}))
    name, data = stream.next(5)
    assert (name, data["live"]) == ("ping", True)
    assert 0 < data["expires_in"] <= live_tokens.TOKEN_AGE


@pytest.mark.parametrize("last", ["a:abc", "a:1:2", ":", "9" * 20])
def test_last_event_id_does_no_harm(server, streams, last, bus_here):
    stream = Events(server.port, live.make_token(1, [CHANNEL]), **{"Last-Event-ID": last})
    streams.append(stream)
    stream.hello()


# --- who gets no stream


def test_no_token_is_a_bad_request(server, bus_here):
    port = server.port
    for path in (
        "/events/",
        "/events/?channel=workflow-7",
        "/events/?token=a&token=b",
        "/events/?token=" + "a" * 5000,
    ):
        status, text, headers = answer(port, path)
        assert (status, headers["content-type"]) == (400, "text/plain; charset=utf-8"), path
        assert "token" in text


def test_forged_tokens_are_refused(server, bus_here):
    port = server.port
    good = live.make_token(1, [CHANNEL])
    other = signing.dumps({"u": 1, "c": [CHANNEL], "t": 0, "x": 9e9}, salt="another salt")
    foreign = signing.dumps({"u": 1, "c": [CHANNEL], "t": 0, "x": 9e9}, salt=live_tokens.SALT, key="guessed")
    for token in ("x", good[:-1], good[1:], other, foreign, "%F0%9F%98%80", "a%00b"):
        status, text, _headers = answer(port, f"/events/?token={token}")
        assert (status, "not valid" in text) == (403, True), token


def test_expired_token_is_refused(server, settings, bus_here):
    settings.NYXCORE_LIVE_TOKEN_AGE = -1
    status, text, _headers = answer(server.port, "/events/?token=" + live.make_token(1, [CHANNEL]))
    assert (status, "expired" in text) == (403, True)


def test_a_channel_in_the_address_adds_nothing(server, streams, bus_here):
    stream = Events(server.port, live.make_token(1, [CHANNEL]) + "&channel=workflow-9&es-meta=forged")
    streams.append(stream.hello())
    events.deliver(hint(1, "workflow-9"))
    events.deliver(hint(2))
    assert stream.next()[1]["version"] == 2


@pytest.mark.parametrize("method", ["POST", "HEAD", "DELETE", "OPTIONS"])
def test_other_methods_are_refused(server, method, bus_here):
    status, _text, headers = answer(server.port, "/events/", method)
    assert (status, headers["allow"]) == (405, "GET")


def test_too_many_streams_of_one_user_are_refused(serve, listen):
    server = serve(NYXCORE_LIVE_STREAMS=3)
    opened = [listen(server) for _ in range(3)]
    assert answer(server.port, "/events/?token=" + live.make_token(1, [CHANNEL]))[0] == 429
    listen(server, user=2)
    opened[0].close()
    wait_until(lambda: _can_listen(server))


def _can_listen(server: Server) -> bool:
    stream = Events(server.port, live.make_token(1, [CHANNEL]))
    stream.close()
    return stream.status == 200


# --- streams that end


def test_expiry_ends_the_stream_and_says_so(server, streams, settings, bus_here):
    settings.NYXCORE_LIVE_TOKEN_AGE = 1.5
    stream = Events(server.port, live.make_token(1, [CHANNEL]))
    streams.append(stream.hello())
    assert stream.next(5) == ("expired", {})
    assert stream.next(5) == ("end", None)


def test_kick_ends_the_streams_of_a_user_in_all_processes(serve, listen):
    first, second = serve(), serve()
    mine = [listen(first), listen(second), listen(second, "workflow-8")]
    other = listen(second, user=2)
    started = time.monotonic()
    events.deliver(events.kick_item(1, None))
    for stream in mine:
        assert stream.next(5) == ("expired", {})
        assert stream.next(5) == ("end", None)
    assert time.monotonic() - started < 2
    events.deliver(hint(5))
    assert other.next()[0] == "hint"


def test_kick_from_a_host_whose_clock_is_slow_ends_the_streams(server, listen, bus_here):
    stream = listen(server)
    kick = events.kick_item(1, CHANNEL)
    kick.data["at"] -= 7_200
    events.deliver(kick)
    assert stream.next(5) == ("expired", {})


def test_kick_ends_a_stream_whose_token_comes_from_a_fast_clock(server, streams, bus_here):
    ahead = time.time() + live_tokens.CLOCKS_APART - 10
    stream = Events(server.port, live.make_token(1, [CHANNEL], issued_at=ahead))
    streams.append(stream.hello())
    events.deliver(events.kick_item(1, CHANNEL))
    assert stream.next(5) == ("expired", {})


def test_token_from_the_future_is_refused(server, bus_here):
    """It would outlive the memory of kicks."""
    ahead = time.time() + live_tokens.CLOCKS_APART + 60
    token = live.make_token(1, [CHANNEL], issued_at=ahead)
    status, text, _headers = answer(server.port, f"/events/?token={token}")
    assert (status, "clock" in text) == (403, True)


def test_kick_from_one_channel_leaves_the_others(server, listen, bus_here):
    gone, stays = listen(server, "workflow-7"), listen(server, "workflow-8")
    events.deliver(events.kick_item(None, "workflow-7"))
    assert gone.next(5)[0] == "expired"
    events.deliver(hint(1, "workflow-8"))
    assert stays.next()[0] == "hint"


def test_token_from_before_a_kick_is_void_even_where_the_kick_was_not_heard(serve, listen):
    old = live.make_token(1, [CHANNEL])
    events.deliver(events.kick_item(1, None))
    server = serve()  # started after the kick
    assert answer(server.port, f"/events/?token={old}")[0] == 403
    listen(server)


def test_streams_end_at_once_when_the_server_stops(serve, listen):
    server = serve()
    opened = [listen(server) for _ in range(5)]
    started = time.monotonic()
    server.process.terminate()
    assert server.process.wait(10) is not None
    assert time.monotonic() - started < 3
    assert all(stream.next() == ("end", None) for stream in opened)


# --- faults


def test_malformed_messages_are_survived(server, listen, bus_here):
    stream = listen(server)
    wire = bus.wire(CHANNEL)
    for bad in (
        b"\xff\xfe",
        b"{",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps({"channel": wire}),
        json.dumps({"channel": wire, "event_type": 1, "data": {}}),
        json.dumps({"channel": bus.wire("*"), "event_type": "kick", "data": "{}"}),
        json.dumps(
            {"channel": bus.wire("*"), "event_type": "kick", "data": '{"user": [], "channel": 1, "at": "x"}'}
        ),
    ):
        bus_here.publish(bus.EVENTS, bad)
    bus_here.zadd(bus.kicks_key(), {b"\xff": time.time()})
    events.deliver(hint(9))
    assert stream.next()[1]["version"] == 9


def test_valkey_restart_brings_resync_and_later_events(serve, listen, valkey):
    stream = listen(serve())
    valkey.kill()
    assert stream.next(10) == ("away", {})
    valkey.start()
    assert stream.next(6) == ("resync", {})
    events.deliver(hint(4))
    assert stream.next()[1]["version"] == 4


def test_frozen_valkey_is_noticed_and_survived(serve, listen, valkey):
    stream = listen(serve())
    valkey.freeze()
    try:
        assert stream.next(10) == ("away", {})
        started = time.monotonic()
        with pytest.raises(redis.RedisError):
            events.deliver(hint(1))
        assert time.monotonic() - started < 4
    finally:
        valkey.thaw()
    assert stream.next(8) == ("resync", {})
    events.deliver(hint(2))
    assert stream.until("hint")["version"] == 2


def test_a_half_open_subscription_is_noticed(valkey, bus_here, listen, tmp_path):
    """Commands still work and nothing is closed; only the subscription hears nothing any more."""
    proxy = Proxy(valkey.port)
    server = Server(f"redis://127.0.0.1:{proxy.port}", {}, {}, tmp_path / "log")
    try:
        stream = listen(server)
        proxy.deafen()
        assert stream.next(11) == ("away", {})
        assert stream.next(6) == ("resync", {})
        events.deliver(hint(3))
        assert stream.next()[1]["version"] == 3
    finally:
        server.stop()
        proxy.close()


def test_killed_connections_are_replaced(server, listen, bus_here):
    stream = listen(server)
    bus_here.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
    assert stream.next(10) == ("away", {})
    assert stream.next(10) == ("resync", {})


def test_a_stream_opened_while_valkey_is_away_says_so_and_becomes_live(serve, streams, valkey):
    server = serve()
    valkey.kill()
    stream = Events(server.port, live.make_token(1, [CHANNEL]))
    streams.append(stream)
    name, data = stream.next()
    assert (name, data["live"]) == ("hello", False)
    valkey.start()
    assert stream.next(8) == ("resync", {})


def test_overflow_becomes_one_resync_and_then_goes_on(serve, listen, bus_here):
    stream = listen(serve(limits={"MAX_PENDING_BYTES": 50_000}))
    big = {"attempt": 1, "step": "step-42", "offset": 0, "text": "x" * 20_000}
    for _ in range(1_000):  # more than socket buffers hold, while nothing is read
        events.deliver(events.Item(CHANNEL, "text", big, ("text",)))
    events.deliver(hint(8))
    names = []
    while not names or names[-1] != "hint":
        names.append(stream.next()[0])
    assert "resync" in names
    assert len(names) < 1_000


def test_a_client_that_takes_nothing_is_cut_off(serve, listen):
    server = serve(limits={"STALLED_AFTER": 1.0}, NYXCORE_LIVE_STREAMS=1)
    listen(server)
    big = {"attempt": 1, "step": "step-42", "offset": 0, "text": "x" * 200_000}
    for _ in range(100):
        events.deliver(events.Item(CHANNEL, "text", big, ("text",)))
    wait_until(lambda: _can_listen(server))


def test_streams_cost_no_thread(serve, listen):
    server = serve(NYXCORE_LIVE_STREAMS=500)
    listen(server)
    before = server.threads()
    opened = [listen(server) for _ in range(200)]
    assert server.threads() <= before + 1
    events.deliver(hint(6))
    assert {stream.next()[1]["version"] for stream in opened} == {6}
