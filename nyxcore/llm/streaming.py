"""What the vendors' adapters share: one client for each process, one stream for each call, one way to fail.

A vendor's SDK is imported on first use, in the adapter's `_sdk()`: it costs seconds and tens of megabytes.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, ClassVar
from urllib.parse import urlsplit

from nyxcore.llm import faults, models
from nyxcore.llm.answer import Answer
from nyxcore.llm.base import Completion, ListedModel, LLMError, Message, Request, Stopped, StopSignal
from nyxcore.llm.faults import Place

log = logging.getLogger(__name__)
_current = threading.local()  # .line: the Line of the call that this thread makes


class Line:
    """The connection of one call, which a stop may cut from another thread even while it is silent.

    Closing a socket does not wake the thread that reads it; shutting it down does.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._cut = False
        self.connected = False

    @contextmanager
    def attached(self) -> Iterator[None]:
        """Follow the connections that this thread opens inside the block."""
        _current.line = self
        try:
            yield
        finally:
            del _current.line

    def trace(self, event: str, info: Mapping[str, Any]) -> None:
        """Take over each socket as it appears: connected, then wrapped in TLS, through a proxy or not."""
        opened = getattr(info.get("return_value"), "get_extra_info", None)
        sock = opened("socket") if opened and event.endswith(".complete") else None
        if sock is None:
            return
        with self._lock:
            self._socket = sock
            self.connected = True
            if self._cut:
                self._shut()

    def cut(self) -> None:
        with self._lock:
            self._cut = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is None:
            return
        try:
            # Not SSLSocket.shutdown: it takes the TLS state away under the reader's feet.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
        except OSError as error:
            log.debug("The connection was closed before it could be cut: %s", error)


def follow(request: Any) -> None:
    """Request hook of the HTTP client: let the calling thread's Line see the connection that serves it."""
    line = getattr(_current, "line", None)
    if line is not None:
        request.extensions["trace"] = line.trace


def _http_error() -> type[Exception]:
    import httpx2

    return httpx2.HTTPError


class StreamingProvider(ABC):
    """A provider on a vendor's SDK. Subclasses say how to ask, how to read an event, and what an error is."""

    name: ClassVar[str]
    vendor: ClassVar[str]
    key_setting: ClassVar[str]
    address_setting: ClassVar[str]
    default_address: ClassVar[str]

    def __init__(
        self,
        api_key: str = "",
        base_url: str = "",
        *,
        connect_timeout: float = 5,
        read_timeout: float = 120,
        model_info: Callable[[str], models.ModelInfo | None] = models.get,
    ) -> None:
        """`read_timeout` is the longest silence, pings included; the whole call has the step's deadline."""
        self._key = (api_key or os.environ.get(self.key_setting, "")).strip()
        self.base_url = base_url or os.environ.get(self.address_setting, "") or self.default_address
        self._connect_timeout = connect_timeout
        self._read_timeout = read_timeout
        self._model_info = model_info
        self._lock = threading.Lock()
        self._client: tuple[int, Any] | None = None
        address = faults.public_address(self.base_url)
        self.place = Place(self.vendor, address, self.key_setting, self.address_setting, self._key)

    @abstractmethod
    def _sdk(self) -> Any:
        """Import and return the vendor's package."""

    @abstractmethod
    def _body(self, request: Request, info: models.ModelInfo | None) -> dict[str, Any]:
        """Return the arguments of the SDK's call."""

    @abstractmethod
    def _open(self, client: Any, body: dict[str, Any]) -> Any:
        """Send the request; return the SDK's stream."""

    @abstractmethod
    def _read(self, event: Any, answer: Answer) -> str:
        """Take one event into the answer; return the new text in it."""

    @abstractmethod
    def _fault(self, error: Any) -> faults.Fault:
        """Return what an error that the vendor sent says."""

    @abstractmethod
    def _request_id(self, headers: Mapping[str, str]) -> str: ...

    @abstractmethod
    def _list(self, client: Any) -> Sequence[ListedModel]:
        """Ask which models there are."""

    def list_models(self) -> Sequence[ListedModel]:
        client = self.client()
        try:
            return self._list(client)
        except self._sdk().APIError as error:
            listing = Request(model="", messages=(Message("user", "models"),), max_tokens=1)
            raise self._failure(error, Answer(listing)) from None

    def complete(self, request: Request, *, on_text: Callable[[str], None], stop: StopSignal) -> Completion:
        """Ask and stream. An answer whose stop reason has arrived counts, whatever happens after it."""
        client = self.client()  # the first call of a process imports the SDK here
        started = time.monotonic()
        answer, line = Answer(request), Line()
        failure: LLMError | None = None
        with stop.on_set(line.cut), line.attached(), closing(self._texts(client, answer, stop)) as texts:
            while True:
                try:
                    text = next(texts, None)
                except Exception as error:  # noqa: BLE001 - damaged bytes can raise anything inside an SDK
                    failure = self._failure(error, answer)
                    break
                if text is None:
                    break
                if text:
                    on_text(text)
        if answer.stop_reason:
            if failure:
                log.info("After a complete answer of %s: %s", self.name, failure)
            return answer.finish(self.place, time.monotonic() - started)
        if stop.is_set():
            raise self._stopped(answer, line, stop)
        raise failure or self._early_end(answer)

    def _texts(self, client: Any, answer: Answer, stop: StopSignal) -> Generator[str, None, None]:
        if stop.is_set():
            return
        body = self._body(answer.request, self._model_info(answer.request.model))
        with self._open(client, body) as stream:
            headers = stream.response.headers
            answer.opened(self._request_id(headers), headers.get("content-type", ""))
            for event in stream:
                yield self._read(event, answer)
                if stop.is_set():
                    return

    def client(self) -> Any:
        """Return this process's client. Threads share it; a fork makes its own."""
        with self._lock:
            if self._client is None or self._client[0] != os.getpid():
                self._check_options()
                self._client = (os.getpid(), self._make_client())
            return self._client[1]

    def _check_options(self) -> None:
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise LLMError(
                f"{self.address_setting} must be a whole address such as {self.default_address}, "
                f"not {self.place.address!r}.",
                "bad_request",
            )
        if not self._key:
            raise LLMError(
                f"There is no key for {self.place}. Set {self.key_setting} in the environment of the worker, "
                "or choose another provider with NYXCORE_LLM.",
                "auth",
            )
        if not (self._key.isascii() and self._key.isprintable() and " " not in self._key):
            # The HTTP library would quote the whole key in its own error.
            raise LLMError(f"{self.key_setting} holds a character that no key has. Copy it again.", "auth")

    def _make_client(self) -> Any:
        import httpx2

        sdk = self._sdk()
        timeout = httpx2.Timeout(connect=self._connect_timeout, read=self._read_timeout, write=30, pool=5)
        # No connection is kept for the next call: calls last long enough that a handshake does not matter,
        # an idle one may have been dropped by the other side, and cutting one must never hit another call.
        limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=0)
        return self._construct(
            sdk,
            api_key=self._key,
            base_url=self.base_url,
            max_retries=0,  # retries are rows, so that people see them and a worker is free meanwhile
            timeout=timeout,
            http_client=sdk.DefaultHttpxClient(
                timeout=timeout, limits=limits, event_hooks={"request": [follow]}
            ),
        )

    @abstractmethod
    def _construct(self, sdk: Any, **options: Any) -> Any:
        """Return the SDK's client."""

    def _failure(self, error: Exception, answer: Answer) -> LLMError:
        """Return our error for whatever opening or reading the stream raised."""
        sdk = self._sdk()
        if isinstance(error, LLMError):
            return error
        if isinstance(error, sdk.APIConnectionError):
            return self._broken(error.__cause__ or error, answer)
        if isinstance(error, sdk.APIError) and not isinstance(error, sdk.APIResponseValidationError):
            return self._refused_by_vendor(error, answer)
        if isinstance(error, UnicodeEncodeError):
            return LLMError("The prompt holds characters that are no text (lone surrogates).", "prompt")
        if not answer.is_open:
            raise error  # nothing was sent: a mistake of ours
        if not isinstance(error, (OSError, ValueError, AssertionError, _http_error())):
            log.warning("The answer of %s could not be read", self.name, exc_info=error)
        return self._broken(error, answer)

    def _refused_by_vendor(self, error: Any, answer: Answer) -> LLMError:
        fault = self._fault(error)
        reason, retryable = faults.decide(fault)
        return LLMError(
            faults.sentence(fault, reason, self.place, answer.request.model),
            reason,
            retryable,
            retry_after=fault.retry_after if retryable else None,
            partial=answer.text,
            usage=answer.usage() if answer.is_open else None,
            code=fault.code or fault.type,
            request_id=fault.request_id or answer.request_id,
        )

    def _broken(self, error: BaseException, answer: Answer) -> LLMError:
        import httpx2

        timed_out = isinstance(error, (httpx2.ReadTimeout, httpx2.WriteTimeout))
        unsent = isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout))
        detail = faults.redact(str(error), self._key).rstrip(".") or type(error).__name__
        if timed_out:
            message = f"{self.place} sent nothing for {self._read_timeout:g} s, so the call was ended."
        elif unsent:
            settings = f"{self.address_setting} and the worker's network"
            message = f"Cannot reach {self.place}: {detail}. Check {settings}."
        elif not answer.is_open:
            message = f"{self.place} broke the connection before it answered: {detail}."
        elif isinstance(error, (httpx2.HTTPError, OSError)):
            message = f"The connection to {self.place} broke in the middle of the answer: {detail}."
        else:
            message = f"{self.place} sent damaged data in the middle of the answer ({type(error).__name__})."
        failure = self._transport(message, answer, type(error).__name__)
        if timed_out:
            failure.usage = answer.usage()
        return failure

    def _early_end(self, answer: Answer) -> LLMError:
        """The stream ended without an error and without a stop reason, which no SDK calls a failure."""
        if answer.events:
            message = f"The answer of {self.place} ended without a stop reason, so it is not complete."
            return self._transport(message, answer, "early_end")
        kind = answer.content_type.partition(";")[0] or "nothing"
        message = (
            f"{self.place} answered with {kind} that holds no events. A proxy may stand between, or "
            f"{self.address_setting} names another server."
        )
        return self._transport(message, answer, "no_events")

    def _transport(self, message: str, answer: Answer, code: str) -> LLMError:
        return LLMError(
            message,
            "transport",
            True,
            partial=answer.text,
            usage=answer.usage() if answer.is_open else None,
            code=code,
            request_id=answer.request_id,
        )

    def _stopped(self, answer: Answer, line: Line, stop: StopSignal) -> Stopped:
        # What a vendor has read and written by now is billed although its totals never arrive.
        return Stopped(
            f"The call to {self.place} was stopped ({stop.cause}).",
            stop.cause,
            partial=answer.text,
            usage=answer.usage() if line.connected or answer.is_open else None,
            request_id=answer.request_id,
        )
