"""`make pictures`: takes the pictures in docs/pictures/ from a nyxcore of its own, filled with made-up example runs.

The runs go through the real engine; only the answers and their times are written here. Needs Chromium.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from docs import pictures_analysis

HERE = Path(__file__).parent
FOLDER = HERE / "pictures"
EXAMPLES = FOLDER / "examples.yaml"
PASSWORD = "for the pictures only"
LIMIT = 200_000  # bytes of one picture
WORKER = "pictures:1"
MODEL = "claude-sonnet-5-5"


@dataclass(frozen=True)
class Said:
    """The answer of one step, the seconds it took, and how it ended; with the stop "none" it is still written."""

    text: str = "An answer that no picture shows."
    seconds: int = 1
    stop: str = "end_turn"
    tokens: Sequence[int] = (2_400, 1_100)  # in, out
    reason: str = ""  # the call fails with it


@dataclass
class Scripted:
    """A provider that gives the answer it was told to give next."""

    api_key: str = ""
    base_url: str = ""
    name: str = "anthropic"
    next: Said = Said()

    def complete(self, request: Any, *, on_text: Callable[[str], None], stop: Any) -> Any:
        from nyxcore.llm import Completion, LLMError, Usage

        if request.schema is not None or request.system.startswith("You describe a repository"):
            return self._of_analysis(request, on_text)
        if self.next.reason:
            raise LLMError("The credit balance of this account is too low.", self.next.reason)
        on_text(self.next.text)
        usage = Usage(input_tokens=self.next.tokens[0], output_tokens=self.next.tokens[1])
        return Completion(self.next.text, self.next.stop, request.model, usage, "req_example")

    def _of_analysis(self, request: Any, on_text: Callable[[str], None]) -> Any:
        from nyxcore.llm import Completion, Usage

        text = pictures_analysis.Told().answer(request)
        on_text(text)
        usage = Usage(
            input_tokens=sum(len(one.content) for one in request.messages) // 4, output_tokens=len(text)
        )
        return Completion(text, "end_turn", request.model, usage, "req_example")

    def list_models(self) -> Sequence[Any]:
        return []


# --- the servers ----------------------------------------------------------------------------------------------


def main() -> None:
    from nyxcore import embedded

    with (
        tempfile.TemporaryDirectory(prefix="nyxcore-pictures-") as folder,
        embedded.services(folder) as servers,
    ):
        os.environ.update(
            {
                "DATABASE_URL": servers.database_url,
                "REDIS_URL": servers.redis_url,
                "SECRET_KEY": "for the pictures only",
                "ALLOWED_HOSTS": "127.0.0.1",
                "DJANGO_SETTINGS_MODULE": "nyxcore.settings",
                "NYXCORE_LLM": "anthropic",
                "ANTHROPIC_API_KEY": "none",
                "NYXCORE_DEFAULT_MODEL": MODEL,
                "NYXCORE_LEASE": "3600",  # nobody renews the leases of the running steps
                "LOG_LEVEL": "WARNING",
            }
        )
        run, waiting, done = make_rows()
        with web_server() as address:
            take_pictures(address, shots(run, waiting, done))


@contextlib.contextmanager
def web_server() -> Iterator[str]:
    """The web server's address, for the time of the block."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "uvicorn", "nyxcore.asgi:application", "--port", str(port)]
    process = subprocess.Popen([*command, "--log-level", "warning", "--timeout-graceful-shutdown", "1"])
    address = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(f"{address}/healthz", timeout=2).close()
                break
            except OSError:
                if process.poll() is not None or time.monotonic() > until:
                    raise
                time.sleep(0.2)
        yield address
    finally:
        process.terminate()
        process.wait(20)


# --- the rows -------------------------------------------------------------------------------------------------


def make_rows() -> tuple[int, int, int]:
    """Fill the database; the primary keys of the workflow and of the two analyses whose pages are shown."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    django.setup()
    settings.LLM_PROVIDERS["anthropic"]["BACKEND"] = "docs.pictures.Scripted"
    call_command("migrate", verbosity=0)
    from django.contrib.auth import get_user_model

    from nyxcore.models import Worker

    Worker.objects.create(name=WORKER, host="pictures", threads=16)
    users = get_user_model().objects
    people = {name: users.create_user(name) for name in ("mara", "jonas")}
    people["admin"] = users.create_superuser("admin", password=PASSWORD)
    examples = yaml.safe_load(EXAMPLES.read_text(encoding="utf-8"))
    analyses = pictures_analysis.play(people["admin"])
    return [play(example, people[example["owner"]]) for example in examples][-1], *analyses


def play(example: dict[str, Any], owner: Any) -> int:
    """Create a run and take it through the engine as a worker would; its primary key."""
    from nyxcore.llm import get_provider
    from workflows import catalog, runner, services, specs

    provider: Any = get_provider()
    said = {key: Said(**answer) for key, answer in example["answers"].items()}
    spec = catalog.get(example["template"]) if "template" in example else specs.load(example["definition"])
    assert spec is not None
    workflow = services.create_workflow(owner=owner, spec=spec, data=example["data"], name=example["name"])
    if said:
        services.start_workflow(workflow, by=owner)
    at_work = claim_all()
    while at_work:  # all that can run beside each other is claimed before anything of it ends
        job = at_work.pop(0)
        provider.next = said[job.key]
        if said[job.key].stop == "none":
            leave_running(job, said[job.key])
        else:
            following = runner.run_job(job, WORKER)
            at_work += [following] if following else []
        at_work += claim_all()
    if example.get("act") == "cancel":
        services.cancel_workflow(workflow, by=owner)
    set_times(workflow, said, example["ago"])
    return int(workflow.pk)


def claim_all() -> list[Any]:
    from workflows import runner

    return list(iter(lambda: runner.next_job(WORKER), None))


def leave_running(job: Any, said: Said) -> None:
    """Stand still in the middle of a call."""
    from workflows import requests
    from workflows.models import StepAttempt

    StepAttempt.objects.filter(pk=job.attempt).update(request=requests.build_for(job), output=said.text)


def set_times(workflow: Any, said: dict[str, Said], ago: float) -> None:
    """Spread the run over the time that its answers took; it began `ago` seconds before now."""
    from datetime import timedelta

    from django.utils import timezone

    from workflows.models import Step, StepAttempt, Workflow

    begin = timezone.now() - timedelta(seconds=ago)
    ends: dict[str, Any] = {}
    for step in Step.objects.filter(workflow=workflow).order_by("position"):
        start = max([begin, *(ends[key] for key in step.needs if key in ends)])
        end = start + timedelta(seconds=said.get(step.key, Said()).seconds)
        ends[step.key] = end
        for rows in (Step.objects.filter(pk=step.pk), StepAttempt.objects.filter(step=step)):
            rows.filter(started_at__isnull=False).update(started_at=start)
            rows.filter(finished_at__isnull=False).update(finished_at=end)
            rows.update(status_changed_at=end)
    last = max(ends.values())
    run = Workflow.objects.filter(pk=workflow.pk)
    run.update(created_at=begin, status_changed_at=last)
    run.filter(started_at__isnull=False).update(started_at=begin)
    run.filter(finished_at__isnull=False).update(finished_at=last)


# --- the pictures ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shot:
    """A page as it is shown."""

    name: str
    path: str
    size: tuple[int, int]
    colours: str = "light"
    opened: Sequence[str] = ()  # folds to click, and what has to be there then
    awaited: str = ""


def shots(run: int, waiting: int, done: int) -> list[Shot]:
    found = []
    for colours in ("light", "dark"):
        found += [
            Shot(f"workflow-{colours}", f"/workflows/{run}/", (1180, 940), colours),
            Shot(f"list-{colours}", "/workflows/", (1180, 620), colours),
            Shot(f"coverage-{colours}", f"/analysis/{waiting}/?tab=coverage", (1180, 760), colours,
                 (".tree summary:has-text('booking/')",), ".tree .tree .file"),
            Shot(f"findings-{colours}", f"/analysis/{done}/?tab=findings", (1180, 1000), colours,
                 ("summary.finding-line >> nth=0",), ".finding-body .facts"),
        ]  # fmt: skip
    return [*found, Shot("workflow-phone", f"/workflows/{run}/", (390, 844))]


def take_pictures(address: str, shots: Sequence[Shot]) -> None:
    from playwright.sync_api import sync_playwright

    system = Path("/usr/bin/chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(system) if system.exists() else None, args=["--no-sandbox"]
        )
        for shot in shots:
            context = browser.new_context(
                viewport={"width": shot.size[0], "height": shot.size[1]},
                color_scheme=shot.colours,  # type: ignore[arg-type]
                timezone_id="UTC",
                reduced_motion="reduce",
                bypass_csp=True,  # for the style below
            )
            page = context.new_page()
            page.goto(f"{address}/accounts/login/?next={quote(shot.path)}")
            page.get_by_label("Username").fill("admin")
            page.get_by_label("Password").fill(PASSWORD)
            page.get_by_role("button", name="Sign in").click()
            page.wait_for_url(f"{address}{shot.path}")
            if page.locator("#live-state").count():
                page.locator("#live-state[data-state=live]").wait_for()
            for fold in shot.opened:
                page.locator(fold).first.click()
                page.locator(shot.awaited).first.wait_for()
            page.add_style_tag(content="html { scrollbar-gutter: auto; scrollbar-width: none }")
            page.evaluate("scrollTo(0, 0)")  # it begins at the step that runs
            keep(page, shot.name)
            context.close()
        browser.close()


def keep(page: Any, name: str) -> None:
    """Write one picture; it must stay small enough for the repository."""
    picture = page.screenshot(animations="disabled")
    if len(picture) > LIMIT:
        raise SystemExit(f"{name}.png has {len(picture):,} bytes, more than {LIMIT:,}.")
    (FOLDER / f"{name}.png").write_bytes(picture)
    sys.stdout.write(f"docs/pictures/{name}.png  {len(picture) / 1000:.0f} KB\n")


if __name__ == "__main__":
    main()
