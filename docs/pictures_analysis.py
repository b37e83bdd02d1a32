"""The analyses of the pictures: a made-up repository goes through the real engine, answers come from a file."""

from __future__ import annotations

import io
import json
import zipfile
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

EXAMPLE = Path(__file__).parent / "pictures" / "analysis.yaml"
WORKER = "pictures:1"
TOOK = timedelta(minutes=6, seconds=42)
FUNCTION = '''
def part_{n}(trip, day):
    """Return what part {n} of the plan says of this trip on that day."""
    found = [one for one in trip.parts.all() if one.day == day and one.number > {n}]
    return sorted(found, key=lambda one: (one.number, one.name))
'''


class Told:
    """Answers to the questions of an analysis, as the example has them."""

    def __init__(self) -> None:
        self.example: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))

    def answer(self, request: Any) -> str:
        asked = "\n".join(message.content for message in request.messages)
        if request.system.startswith("You describe a repository"):
            return json.dumps(self.example["overview"])
        if request.system.startswith("You review source code"):
            rules = request.schema["properties"]["findings"]["items"]["properties"]["rule_id"]["enum"]
            shown = [one for one in self.example["findings"] if one["rule"] in rules and one["path"] in asked]
            return json.dumps({"findings": [finding(one) for one in shown]})
        (one,) = [one for one in self.example["findings"] if one["title"] in asked]
        return json.dumps({"reason": one["reason"], "verdict": one.get("verdict", "confirmed")})


def finding(told: dict[str, Any]) -> dict[str, Any]:
    return {
        "rule_id": told["rule"], "title": told["title"], "message": told["message"], "severity": told["severity"],
        "confidence": told["confidence"], "path": told["path"], "excerpt": told["excerpt"], "start_line": 0,
        "suggestion": told.get("suggestion", ""), "evidence": [],
    }  # fmt: skip


def play(owner: Any) -> tuple[int, int]:
    """Two runs on the example: one that waits for its confirmation, and one that is completed."""
    from analysis import services

    told = Told()
    waiting = begin(owner, told.example, model="claude-opus-5-5")
    done = begin(owner, told.example, model=told.example["model"])
    services.confirm_analysis(done, by=owner)
    work()
    spread(done)
    return int(waiting.pk), int(done.pk)


def begin(owner: Any, example: dict[str, Any], model: str) -> Any:
    """A run whose source has been read."""
    from analysis import services

    upload = services.store_upload(owner=owner, name=example["name"], data=packed(example))
    options = services.Options(model=model)
    run = services.create_analysis(
        owner=owner, source_kind="upload", upload=upload, options=options, name="Quiet boats"
    )
    services.start_analysis(run, by=owner)
    work()
    run.refresh_from_db()
    return run


def packed(example: dict[str, Any]) -> bytes:
    """The example as a zip."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        for path, text in example["files"].items():
            archive.writestr(path, text)
        # Put together here, so that nobody who looks for secrets finds one in this repository.
        archive.writestr("config/deploy.env", "TOKEN=ghp_" + "0a1B2c3D4e5F6g7H8i" * 2)
        for path, count in example["fillers"].items():
            archive.writestr(path, "".join(FUNCTION.format(n=n) for n in range(count)))
    return data.getvalue()


def work() -> None:
    from analysis import runner

    while (attempt := runner.next_attempt(WORKER)) is not None:
        runner.run_attempt(attempt, WORKER)


def spread(run: Any) -> None:
    """It took some minutes, not the moment in which it was made."""
    from analysis.models import AnalysisRun

    run.refresh_from_db()
    AnalysisRun.objects.filter(pk=run.pk).update(
        created_at=run.created_at - TOOK, started_at=run.started_at - TOOK
    )
