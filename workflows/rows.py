"""The HTML that a page repeats: for each step its pill and closed line, for each run its line in the list.

Written as text, not as templates: a page of 1,000 steps builds 2,000 of these, and a template took ten times as long.
Whatever comes from people or models goes through `escape`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape
from typing import Any

from django.utils import timezone
from django.utils.safestring import SafeString, mark_safe

from nyxcore import ui
from nyxcore.states import Reason, Status
from workflows import stepfacts
from workflows.lines import SHARED, StepLine


def pills(lines: Iterable[StepLine], current: int = 0) -> SafeString:
    """The strip of step pills; the page moves `aria-current` on as one scrolls."""
    return mark_safe("".join([_pill(line, line.pk == current) for line in lines]))


def _pill(line: StepLine, current: bool) -> str:
    if line.pill and not current:
        return line.pill
    title = line.shown
    here = ' aria-current="true"' if current else ""
    made = (
        f'<a class="step-pill" href="#step-{line.pk}" data-status="{line.status}" title="{title}"{here}>'
        f"{ui.status_icon(line.status)}<span>{title}</span>"
        f'<span class="vh"> {escape(line.status_word)}</span></a>'
    )
    if line.status in SHARED and not current:
        line.pill = made
    return made


def summary(line: StepLine) -> SafeString:
    """The one line of a closed step: all that decides whether to open it. What it does not know takes no place."""
    told = (
        ("remark", _remark(line)),
        ("model", escape(short_model(line.model))),
        ("tokens", _tokens(line)),
        ("time", _time(line)),
        ("cost", _cost(line)),
    )
    facts = "".join([f'<span class="step-{name}">{said}</span>' for name, said in told if said])
    return mark_safe(
        f'<span class="step-no">{line.position}</span><h2 class="step-title">{line.shown}</h2>'
        f"{ui.status_badge(line.status, line.status_word)}{facts}"
    )


def article(line: StepLine, *, body: str = "", remedies: str = "", opened: bool = False) -> SafeString:
    """A step of the page: its line, its body once that is there, what helps it, and the link to its own page."""
    dom_id, url = line.dom_id, line.url
    no_body = f'<div class="step-body" data-load><a href="{url}">Show this step</a></div>'
    return mark_safe(
        f'<article class="step-row{" has-remedies" if remedies else ""}" data-live-id="{dom_id}"'
        f' data-version="{line.live_version}" data-src="{url}"'
        f' data-status="{line.status}" data-word="{line.status_word}">'
        f'<details class="step" id="{dom_id}" data-status="{line.status}"{" open" if opened else ""}>'
        f"<summary>{summary(line)}</summary>{body or no_body}</details>{remedies}"
        f'<a class="own-page" href="{url}" aria-label="Step {line.position} on its own page"></a></article>'
    )


def closed(line: StepLine) -> str:
    """A closed step without remedies. Lines that several requests share keep theirs."""
    made = article(line)
    if line.status in SHARED:
        line.html = str(made)
    return made


def remedies(line: StepLine, csrf: str, *, opened: bool = False, parts_left: int = 1) -> SafeString:
    """The buttons that help a step at once. Beside a closed line only where it needs a person."""
    found: list[str] = []
    post = _Poster(line, csrf)
    if line.status == Status.WAITING:
        found.append(post("approve", "Approve", primary=True) if opened else _open_link(line, "Decide"))
    elif line.status == Status.CUT_OFF:
        if line.reason == Reason.CUT_MAX_TOKENS and line.more_room:
            room = line.more_room
            price = stepfacts.price(line.model, line.sent, line.output_tokens or 0, room).short
            label = f"Retry with {room:,}{' tokens' if opened else ''}"  # a closed line has less room
            found.append(post("retry", label, small=price, primary=True, max_tokens=str(room)))
        if line.reason == Reason.CUT_MAX_TOKENS and parts_left:
            found.append(post("continue", "Continue"))
        if line.reason == Reason.CUT_THINKING:
            found += [] if opened else [_open_link(line, "Change")]
        else:
            found.append(post("accept", "Accept", confirm=_ACCEPTING))
    elif line.status == Status.FAILED or (line.status == Status.CANCELLED and opened):
        found.append(post("retry", "Retry", primary=line.status == Status.FAILED))
    return mark_safe(f'<div class="remedies">{"".join(found)}</div>' if found else "")


_ACCEPTING = "Accept the answer as it is? Later steps will use the text although it was cut off."


class _Poster:
    """Makes one-button forms; they work without a script, and change only their own row with one."""

    def __init__(self, line: StepLine, csrf: str) -> None:
        self.line = line
        self.token = f'<input type="hidden" name="csrfmiddlewaretoken" value="{escape(csrf)}">'

    def __call__(
        self,
        verb: str,
        label: str,
        *,
        small: str = "",
        primary: bool = False,
        confirm: str = "",
        **values: str,
    ) -> str:
        url = f"{self.line.url}{verb}/"
        hidden = "".join(
            f'<input type="hidden" name="{name}" value="{escape(value)}">' for name, value in values.items()
        )
        aside = f" <small>{escape(small)}</small>" if small else ""
        asked = f' hx-confirm="{escape(confirm)}"' if confirm else ""
        return (
            f'<form method="post" action="{url}" hx-post="{url}" hx-target="closest .step-row" hx-swap="outerHTML"'
            f' hx-disabled-elt="find button"{asked}>{self.token}{hidden}'
            f'<button class="button small{" primary" if primary else ""}" type="submit">{escape(label)}{aside}'
            f'<span class="vh"> step {self.line.position}</span></button></form>'
        )


def _open_link(line: StepLine, label: str) -> str:
    about = f'<span class="vh"> on step {line.position}</span>'
    return f'<a class="button small primary" href="#{line.dom_id}">{label}{about}</a>'


def short_model(model: str) -> str:
    """claude-opus-5-5 as opus-5-5: the family is what one looks for in a line."""
    return model.removeprefix("claude-")


def _remark(line: StepLine) -> str:
    if line.backs_off:
        return f"{escape(line.remark)}, {ui.when(line.since)}"
    return escape(line.remark)


def _tokens(line: StepLine) -> str:
    if line.status == Status.CUT_OFF or not line.attempts:
        return ""
    if line.output_tokens is not None and line.cap:
        return f"{line.output_tokens:,} of {line.cap:,}"
    return f"up to {line.cap:,}" if line.status == Status.RUNNING and line.cap else ""


def _time(line: StepLine) -> str:
    if line.backs_off:
        return ""
    return str(ui.elapsed(line.since, None, line.now)) if line.since else ui.duration(line.took)


def _cost(line: StepLine) -> str:
    mark = "~" if line.estimated and line.cost else ""
    return f"{mark}{ui.money(line.cost)}" if line.cost is not None else ""


def runs(found: Iterable[Any]) -> SafeString:
    """The rows of the list of workflows."""
    now = timezone.now()
    return mark_safe("".join([_run(run, now) for run in found]))


def _run(run: Any, now: datetime) -> str:
    done, total = run.steps_done, run.steps_total
    slug = f' <span class="run-from">{escape(run.template_slug)}</span>' if run.template_slug else ""
    started = ui.when(run.started_at) or '<span class="muted">not started</span>'
    return (
        f'<tr data-status="{run.status}"><td>{ui.status_badge(run.status)}</td>'
        f'<td class="name"><a class="run-name" href="{run.get_absolute_url()}">'
        f"{escape(ui.printable(run.name))}</a>{slug}</td>"
        f'<td><span class="progress"><progress value="{done}" max="{total or 1}"'
        f' aria-label="{done} of {total} steps done"></progress><span>{done} of {total}</span></span></td>'
        f'<td class="owner">{escape(run.owner.username)}</td><td>{started}</td>'
        f'<td class="num took">{ui.elapsed(run.started_at, run.finished_at, now)}</td>'
        f'<td class="num">{ui.money(run.cost_total)}</td></tr>'
    )
