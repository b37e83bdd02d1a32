"""Repositories, archives and a git server, made by the tests themselves."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from analysis.plain import FileFacts, Options
from analysis.select import Manifest, build_manifest
from analysis.source import Reach, SourceSpec, open_source

Files = Mapping[str | bytes, str | bytes]
LOOSE = Reach(schemes=("http",), private=True)


def git(folder: Path, *arguments: str, stdin: bytes = b"") -> str:
    """Run git as its user would, without the machine's settings."""
    env = os.environ | {
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "ann",
        "GIT_AUTHOR_EMAIL": "ann@localhost",
        "GIT_COMMITTER_NAME": "ann",
        "GIT_COMMITTER_EMAIL": "ann@localhost",
    }
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, env=env, input=stdin, check=True, capture_output=True).stdout.decode()


def write(folder: Path, files: Files) -> None:
    for name, content in files.items():
        path = os.path.join(os.fsencode(folder), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)


def repo(folder: Path, files: Files, *, branch: str = "main") -> Path:
    """A repository with one commit that holds `files`."""
    folder.mkdir(parents=True, exist_ok=True)
    git(folder, "init", "-q", "-b", branch)
    commit(folder, files)
    return folder


def commit(folder: Path, files: Files) -> str:
    write(folder, files)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-q", "--allow-empty", "-m", "a change")
    return git(folder, "rev-parse", "HEAD").strip()


def manifest(folder: Path, options: Options = Options(), **spec: Any) -> Manifest:  # noqa: B008
    """The manifest of a folder of this machine."""
    with open_source(SourceSpec("path", path=str(folder), root=str(folder.parent), **spec)) as source:
        return build_manifest(source, options)


def facts_of(made: Manifest, path: str) -> FileFacts:
    return next(facts for facts in made.files if facts.path == path)


def zipped(files: Files) -> bytes:
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(os.fsdecode(name), content)
        return file.getvalue()


def tarred(files: Files, *others: tarfile.TarInfo) -> bytes:
    with io.BytesIO() as file:
        with tarfile.open(fileobj=file, mode="w:gz") as archive:
            for name, content in files.items():
                data = content.encode() if isinstance(content, str) else content
                info = tarfile.TarInfo(os.fsdecode(name))
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
            for info in others:
                archive.addfile(info)
        return file.getvalue()


# --- a server ------------------------------------------------------------------------------------


class Handler(BaseHTTPRequestHandler):
    """Serves the repositories below `root` by git's own program; some paths behave badly on purpose."""

    root: Path
    token = ""
    seen: list[str]
    release: threading.Event

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved/", "/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif self.path.startswith("/slow/"):
            self.release.wait(60)
            self.close_connection = True
        elif self.token and not self._allowed():
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="test"')
            self.end_headers()
        else:
            self._serve()

    do_POST = do_GET

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Basic ")
        return base64.b64decode(given).decode().endswith(f":{self.token}")

    def _serve(self) -> None:
        path, _, query = self.path.partition("?")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = self._chunks()
        env = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }
        said = subprocess.run(["git", "http-backend"], env=env, input=body, capture_output=True, check=False)
        head, _, content = said.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _chunks(self) -> bytes:
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body


class Server:
    """A running git server; `url` is its address, `seen` the logins that were sent to it."""

    def __init__(self, root: Path, token: str = "", certificate: Path | None = None) -> None:
        self.seen: list[str] = []
        self.release = threading.Event()
        made = {"root": root, "token": token, "seen": self.seen, "release": self.release}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Handler,), made))
        self.server.daemon_threads = True
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, certificate.with_suffix(".key"))
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server.server_address[1]}"


@contextlib.contextmanager
def serving(root: Path, token: str = "", certificate: Path | None = None) -> Iterator[Server]:
    """A git server for the time of the block."""
    running = Server(root, token, certificate)
    thread = threading.Thread(
        target=running.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield running
    finally:
        running.release.set()
        running.server.shutdown()
        running.server.server_close()
        thread.join(10)
