"""Why a row is where it is, and what would move it: sentences for a person, each backed by a row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q

from nyxcore import telling
from nyxcore.states import Status
from workflows import sentences
from workflows.decide import DONE
from workflows.models import Step, StepAttempt, Workflow

S = Status


def explain(workflow: Workflow) -> list[str]:
    """The story of one workflow, from the run down to its open attempts."""
    moment = telling.moment()
    steps = list(Step.objects.filter(workflow=workflow).order_by("position"))
    undone = [step for step in steps if step.status not in DONE]
    newest = _newest([step.pk for step in undone if step.status != S.PENDING])
    lines = [sentences.run(workflow, moment)]
    for step in undone:
        lines.append(sentences.step(step, newest.get(step.pk), _unmet(step, steps), workflow, moment))
    queued = any(attempt.status == S.PENDING for attempt in newest.values())
    waits = any(step.status in (S.WAITING, S.CUT_OFF) for step in undone)
    lines.append(sentences.run_moves(workflow, moment, queued=queued, waits=waits))
    return lines + telling.acts(Q(model="workflow", row=workflow.pk))


def explain_step(step: Step) -> list[str]:
    """One step, its newest attempt and its workflow."""
    moment, workflow = telling.moment(), step.workflow
    siblings = list(Step.objects.filter(workflow=workflow, key__in=step.needs).order_by("position"))
    attempts = StepAttempt.objects.filter(step=step).defer("output", "request").order_by("-number")
    newest, unmet = attempts.first(), _unmet(step, siblings)
    about = Q(model="step", row=step.pk) | Q(model="stepattempt", row__in=attempts.values("pk"))
    return [
        sentences.step(step, newest, unmet, workflow, moment),
        sentences.step_moves(step, newest, unmet, workflow, moment),
        sentences.run(workflow, moment),
        *telling.acts(about),
    ]


def explain_attempt(attempt: StepAttempt) -> list[str]:
    """One attempt, where its step stands, and its workflow."""
    moment, step = telling.moment(), attempt.step
    workflow = step.workflow
    about = telling.tried(attempt, moment)
    return [
        f"Step {step.position} “{step.title}”, which is {telling.word(step.status)}: {about}",
        sentences.moves(attempt, workflow, moment),
        sentences.run(workflow, moment),
        *telling.acts(Q(model="stepattempt", row=attempt.pk)),
    ]


def _unmet(step: Step, steps: Sequence[Step]) -> list[Step]:
    return [other for other in steps if other.key in step.needs and other.status not in DONE]


def _newest(pks: list[int]) -> dict[int, Any]:
    """The newest attempt of each step."""
    rows = StepAttempt.objects.filter(step__in=pks).defer("output", "request")
    return {attempt.step_id: attempt for attempt in rows.order_by("step_id", "-number").distinct("step_id")}
