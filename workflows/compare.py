"""Two attempts of a step, or their prompts, compared word by word: ?compare=1,2&of=prompt on the step's address."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from workflows import requests, stepfacts, worddiff
from workflows.models import Step, StepAttempt

OF = {"text": "answers", "prompt": "prompts"}


def show(request: HttpRequest, step: Step) -> HttpResponse:
    """The comparison as a fragment, or as a page without htmx. Attempts are named by their numbers."""
    old, new = _attempts(step, _numbers(request))
    of = request.GET.get("of", "text")
    of = of if of in OF else "text"
    context: dict[str, Any] = {
        "step": step, "workflow": step.workflow, "section": "workflows", "of": of, "what": OF[of],
        "sides": [_side(old), _side(new)], "old": old, "new": new,
        "thinned": [side.number for side in (old, new) if _is_thinned(side, of)],
        "choices": list(step.attempts.filter(branch="").order_by("-number").values_list("number", flat=True)[:50]),
    }  # fmt: skip
    try:
        context["difference"] = worddiff.compare(_text(old, of), _text(new, of))
    except worddiff.TooLong:
        context["too_long"] = True
    name = "_compare" if request.htmx else "compare_page"  # type: ignore[attr-defined]
    return render(request, f"workflows/{name}.html", context)


def _numbers(request: HttpRequest) -> tuple[int, int]:
    """Two attempt numbers, as "1,2" or, as a form sends them, one after the other."""
    words = ",".join(request.GET.getlist("compare")).split(",")
    if len(words) != 2 or not all(word.isascii() and word.isdecimal() and len(word) < 8 for word in words):
        raise Http404("Name two attempts by their numbers.")
    return int(words[0]), int(words[1])


def _attempts(step: Step, numbers: tuple[int, int]) -> tuple[StepAttempt, StepAttempt]:
    found = {row.number: row for row in step.attempts.filter(branch="", number__in=numbers)}
    if not found.keys() >= set(numbers):
        raise Http404("No such attempt.")
    return found[numbers[0]], found[numbers[1]]


def _text(attempt: StepAttempt, of: str) -> str:
    if of == "text":
        return requests.joined(attempt, attempt.output)
    system, prompt = str(attempt.request.get("system") or ""), str(attempt.request.get("prompt") or "")
    return f"{system}\n\n{prompt}" if system else prompt


def _is_thinned(attempt: StepAttempt, of: str) -> bool:
    lengths = attempt.request.get("thinned") or {}
    return bool(lengths.get("output") if of == "text" else lengths.get("prompt") or lengths.get("system"))


def _side(attempt: StepAttempt) -> dict[str, Any]:
    """The facts that explain a difference."""
    asked = attempt.request
    return {
        "attempt": attempt,
        "model": attempt.model or str(asked.get("model", "")),
        "effort": asked.get("effort") or "",
        "bar": stepfacts.cap_bar(attempt.output_tokens, attempt.thinking_tokens, stepfacts.room_of(attempt)),
    }
