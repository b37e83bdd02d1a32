"""A page with live.js and a server whose every answer a test decides."""

import json
import queue
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django_htmx
from playwright.sync_api import Page

SCRIPTS = Path(__file__).resolve().parents[2] / "static" / "js"
HTMX = Path(django_htmx.__file__).parent / "static" / "django_htmx" / "htmx-2.min.js"
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self'"
PAGE = """<!doctype html><html lang="en"><head><title>Live</title>
<meta name="htmx-config" content='{{"allowEval":false,"includeIndicatorStyles":false}}'>
<script src="/static/htmx.js" defer></script><script type="module" src="/static/live.js"></script>
</head><body><p id="live-state"></p>
<main id="live" data-channel="workflow-7" data-token="first" data-events-url="/events/"
 data-token-url="/events/token/?channel=workflow-7" data-state-url="/state/">{body}</main></body></html>"""


def hide(page: Page, hidden: bool) -> None:
    """Let the page think that its tab is hidden, or seen again; no frame is drawn meanwhile."""
    page.evaluate(
        """(hidden) => {
            Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
            window.seenFrames ??= window.requestAnimationFrame;
            const waiting = [];
            window.requestAnimationFrame = hidden ? (draw) => waiting.push(draw) : window.seenFrames;
            for (const draw of window.hiddenFrames ?? []) window.requestAnimationFrame(draw);
            window.hiddenFrames = waiting;
            document.dispatchEvent(new Event("visibilitychange"));
        }""",
        hidden,
    )


class Connection:
    """One open event stream: tests put bytes into it; None closes it."""

    def __init__(self, token: str) -> None:
        self.token = token
        self.chunks: queue.Queue[bytes | None] = queue.Queue()
        self.closed = threading.Event()

    def send(self, event: str, data: Any) -> None:
        self.chunks.put(f"event: {event}\ndata: {json.dumps(data)}\n\n".encode())

    def close(self) -> None:
        self.chunks.put(None)


class Site(ThreadingHTTPServer):
    """Rows, texts and streams that a test changes while the page is open."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.rows: dict[str, list[Any]] = {"workflow-7": [1, "running"], "step-42": [1, "running"]}
        self.open = True
        self.text, self.saved, self.ended = "", 0, False  # an attempt's text, and how much of it the row has
        self.streams: list[Connection] = []
        self.requests: list[str] = []
        self.greeting: dict[str, Any] | None = {"live": True, "expires_in": 600}
        self.refusals: dict[str, int] = {}  # path -> status
        self.gate = threading.Event()  # closed: the fragment waits
        self.gate.set()
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def count(self, path: str) -> int:
        return sum(request.startswith(path) for request in self.requests)

    @property
    def stream(self) -> Connection:
        return self.streams[-1]

    def step(self, pk: int = 42) -> str:
        version, status = self.rows[f"step-{pk}"]
        source = f'data-live-id="step-{pk}" data-version="{version}" data-src="/steps/{pk}/"'
        text = self.pre() if pk == 42 else ""
        return f'<section id="step-{pk}" {source}><b>{version} {status}</b>{text}</section>'

    def pre(self) -> str:
        return (
            f'<pre class="stream" data-attempt="77" data-offset="{self.saved}" '
            f'data-text-url="/text/?attempt=77">{self.text[: self.saved]}</pre>'
        )

    def pipeline(self) -> str:
        steps = "".join(self.step(int(row[5:])) for row in self.rows if row.startswith("step-"))
        return (
            f'<div id="pipeline" data-live-id="workflow-7" data-version="{self.rows["workflow-7"][0]}" '
            f'data-src="/pipeline/">{steps}</div>'
        )

    def close(self) -> None:
        for stream in self.streams:
            stream.close()
        self.gate.set()
        self.shutdown()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self.server.requests.append(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        status = self.server.refusals.get(parts.path)
        if status == 302:
            self.reply(302, "", location="/accounts/login/")
        elif status:
            self.reply(status, "no")
        elif parts.path == "/events/":
            self.stream(query.get("token", ""))
        else:
            self.page(parts.path, query)

    def page(self, path: str, query: dict[str, str]) -> None:
        site = self.server
        if path == "/":
            self.reply(200, PAGE.format(body=site.pipeline()), csp=POLICY)
        elif path == "/static/htmx.js":
            self.reply(200, HTMX.read_text(), kind="text/javascript")
        elif path.startswith("/static/"):
            self.reply(200, (SCRIPTS / path[8:]).read_text(), kind="text/javascript")
        elif path == "/state/":
            self.reply_json({"rows": site.rows, "open": site.open})
        elif path == "/events/token/":
            self.reply_json({"token": f"token-{site.count('/events/token/')}", "expires_in": 600})
        elif path == "/text/":
            offset = int(query["offset"])
            text = site.text[offset : site.saved]
            self.reply_json({"attempt": 77, "offset": offset, "text": text, "ended": site.ended})
        elif path == "/pipeline/":
            self.reply(200, site.pipeline())
        elif path.startswith("/steps/"):
            made = site.step(int(path.split("/")[2]))
            site.gate.wait(10)
            self.reply(200, made)
        elif path == "/accounts/login/":
            self.reply(200, "<form id=login>Sign in</form>")
        else:
            self.reply(404, "")

    def stream(self, token: str) -> None:
        connection = Connection(token)
        self.server.streams.append(connection)
        if self.server.greeting is not None:
            connection.send("hello", self.server.greeting)
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        with suppress(OSError):
            while (chunk := connection.chunks.get()) is not None:
                self.wfile.write(chunk)
                self.wfile.flush()
        connection.closed.set()
        self.close_connection = True

    def reply_json(self, data: Any) -> None:
        self.reply(200, json.dumps(data), kind="application/json")

    def reply(
        self, status: int, text: str, *, kind: str = "text/html", csp: str = "", location: str = ""
    ) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("content-type", f"{kind}; charset=utf-8")
        self.send_header("content-length", str(len(body)))
        if csp:
            self.send_header("content-security-policy", csp)
        if location:
            self.send_header("location", location)
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""
