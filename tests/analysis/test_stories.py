"""What an analysis does from its start to its end, with a model that answers by script."""

from __future__ import annotations

import io
import json
import zipfile
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps

from analysis import engine, recovery, runner, services
from analysis.models import (
    AnalysisRun,
    Document,
    Finding,
    FindingChange,
    SourceFile,
    TrackedFinding,
    Unit,
    UnitAttempt,
    Upload,
)
from analysis.plain import Options
from nyxcore import channels, llm, sweep
from nyxcore.calls import CALLS
from nyxcore.dbtime import ago
from nyxcore.llm.base import Completion, LLMError, Request, Usage
from nyxcore.places import PLACES
from nyxcore.states import Reason, Status
from tests.analysis.engine_helpers import (
    WORKER,
    Scripted,
    begin,
    cut,
    done,
    due_now,
    finding,
    found,
    module,
    paths_in,
    run_all,
    silence,
    take,
    units,
    write,
)
from tests.factories import make_user

pytestmark = pytest.mark.django_db(transaction=True)
SHOP = {"app.py": module("app", bug=True), "cart/cart.py": module("cart"), "README.md": "# A shop\n"}
PARTS = {f"part{n}/code.py": module(f"part{n}", bug=n == 1, lines=40) for n in range(4)}


@pytest.fixture
def small(settings: Any) -> None:
    """Chunks so small that each of PARTS is one."""
    settings.NYXCORE_ANALYSIS_CHUNK = 700


@pytest.fixture
def parts(root: Path, small: None) -> Path:
    """A source of four chunks."""
    return write(root / "parts", PARTS)


# --- the whole way ---


def test_a_run_goes_from_its_source_to_its_report(root: Path, model: Scripted) -> None:
    run = done(write(root / "shop", SHOP))
    assert (run.status, run.reason, run.gaps) == ("completed", "", [])
    assert found(run) == ["app.py:17"]
    assert model.kinds() == ["overview", "chunk", "verify"]
    assert (run.coverage["files"], run.coverage["read"]) == (3, 3)
    assert run.summary["severities"] == {"high": 1}
    assert FindingChange.objects.get(run=run, finding__analyzer="correctness").state == "new"


def test_texts_go_with_a_run_without_gaps(root: Path, model: Scripted) -> None:
    run = done(write(root / "shop", SHOP))
    assert not SourceFile.objects.filter(run=run).exclude(content=None).exists()
    assert "BUG" in Finding.objects.get(run=run, analyzer="correctness").context


def test_a_second_run_on_the_same_tree_makes_no_calls(parts: Path, model: Scripted) -> None:
    model.page_path = "part0/code.py"
    first = done(parts, documents=("architecture",))
    model.calls.clear()
    second = done(parts, documents=("architecture",))
    assert model.kinds() == []
    assert (second.status, found(second)) == ("completed", found(first))
    assert Unit.objects.filter(run=second, reused=True).count() == 8  # overview, 4 chunks, verify, plan, page
    assert FindingChange.objects.get(run=second).state == "unchanged"
    assert Finding.objects.get(run=second).verdict.verdict == "confirmed"


def test_one_changed_file_makes_one_call(parts: Path, model: Scripted) -> None:
    done(parts)
    model.calls.clear()
    write(parts, {"part3/code.py": module("part3", lines=41)})
    run = done(parts)
    assert [paths_in(request) for request in model.asked("chunk")] == [["part3/code.py"]]
    assert model.kinds() == ["chunk"]
    assert found(run) == ["part1/code.py:45"]


def test_the_first_chunk_of_an_analyzer_goes_alone(parts: Path, model: Scripted) -> None:
    run = begin(parts)
    for _ in range(2):  # source, overview
        attempt = take()
        runner.run_attempt(attempt, WORKER)
    assert [unit.status for unit in units(run, "chunk")] == ["running", "pending", "pending", "pending"]
    run_all()
    run.refresh_from_db()
    assert run.status == "completed"


# --- before money is spent ---


def test_a_run_waits_until_coverage_and_estimate_are_confirmed(parts: Path, model: Scripted) -> None:
    run = done(parts, confirm=True)
    assert (run.status, run.reason, model.calls) == ("waiting", "confirm", [])
    assert run.estimate["calls"]["chunks"] == 4
    services.confirm_analysis(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert run.status == "completed"


def test_confirming_with_a_folder_excluded_plans_anew(parts: Path, model: Scripted) -> None:
    run = done(parts, confirm=True)
    options = Options(analyzers=("correctness",), exclude=("part1/",), confirm=True)
    services.confirm_analysis(run, by=run.owner, options=options)
    run_all()
    run.refresh_from_db()
    assert (run.status, run.coverage["skipped"]) == ("completed", {"excluded": 1})
    assert len(model.asked("chunk")) == 3


def test_options_changed_while_waiting_make_a_new_manifest_and_wait_again(
    parts: Path, model: Scripted
) -> None:
    run = done(parts, confirm=True)
    options = Options(analyzers=("correctness", "security"), confirm=True)
    services.set_options(run, by=run.owner, options=options)
    run_all()
    run.refresh_from_db()
    assert (run.status, run.estimate["calls"]["chunks"], model.calls) == ("waiting", 8, [])


def test_a_file_with_a_secret_is_sent_only_when_somebody_allows_it(root: Path, model: Scripted) -> None:
    key = "AKIA" + "Q3EGZX7LPMNB4TRW"
    folder = write(root / "s", {"app.py": module("app"), "keys.py": f'AWS = "{key}"\n' + module("keys")})
    run = done(folder, confirm=True)
    assert run.coverage["skipped"] == {"secret": 1}
    row = Finding.objects.get(run=run, rule_id="static/secret")
    assert (row.path, row.start_line, key in row.context + row.excerpt) == ("keys.py", 1, False)
    services.allow_secret(run, by=run.owner, path="keys.py")
    run_all()
    run.refresh_from_db()
    services.confirm_analysis(run, by=run.owner)
    run_all()
    assert "keys.py" in paths_in(model.asked("chunk")[0])


def test_a_source_that_cannot_be_read_fails_the_run_with_a_sentence(root: Path, model: Scripted) -> None:
    run = done(root / "nowhere")
    assert (run.status, run.reason) == ("failed", "source")
    assert "nowhere" in UnitAttempt.objects.get(unit__run=run).error


def test_a_failed_source_is_read_again_by_resume(root: Path, model: Scripted) -> None:
    run = done(root / "shop")
    write(root / "shop", SHOP)
    services.resume_analysis(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert run.status == "completed"


# --- faults ---


def only(path: str, said: Any) -> Any:
    """That answer for the chunks that show `path`."""
    return lambda request: said if path in paths_in(request) else None


def test_a_429_of_one_chunk_does_not_stop_the_others(parts: Path, model: Scripted) -> None:
    slow_down = LLMError("Slow down.", Reason.RATE_LIMITED, retryable=True, retry_after=30.0)
    model.replies["chunk"] = only("part2/code.py", slow_down)
    run = done(parts)
    assert PLACES.paused  # a claim now would only be refused as well
    assert [unit.status for unit in units(run, "chunk")] == ["completed", "completed", "running", "running"]
    PLACES.reset()
    run_all()
    assert [unit.status for unit in units(run, "chunk")] == ["completed", "completed", "running", "completed"]
    assert UnitAttempt.objects.filter(unit__run=run, status="pending", queued_at__gt=ago(-25)).count() == 1
    model.replies.clear()
    due_now(run)
    run_all()
    run.refresh_from_db()
    assert (run.status, run.gaps) == ("completed", [])


@pytest.mark.parametrize("reason", [Reason.BILLING, Reason.AUTH])
def test_a_spend_limit_stops_all_at_once_and_resume_asks_only_what_is_missing(
    parts: Path, model: Scripted, reason: Reason
) -> None:
    model.replies["chunk"] = only("part1/code.py", LLMError("No money left.", reason))
    run = done(parts)
    assert (run.status, run.reason) == ("paused", reason)
    assert model.kinds() == ["overview", "chunk", "chunk"]
    assert not UnitAttempt.objects.filter(unit__run=run).open().exists()
    assert recovery.RECOVERY.idle_runs(sweep.Scope()).count() == 0
    model.replies.clear()
    services.resume_analysis(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert (run.status, len(model.asked("chunk"))) == ("completed", 5)


def test_after_a_killed_worker_finished_units_are_not_asked_again(
    parts: Path, model: Scripted, seasoned_postgres: None
) -> None:
    run = begin(parts)
    for _ in range(4):  # source, overview, two chunks
        runner.run_attempt(take(), WORKER)
    held = take("dead:1")
    silence(held, 60)
    sweep.run_pass(force=True)
    run_all()
    run.refresh_from_db()
    assert (run.status, len(model.asked("chunk"))) == ("completed", 4)
    assert [a.reason for a in held.unit.attempts.order_by("number")] == ["lost", ""]


def test_an_answer_that_was_stored_is_not_asked_for_again(
    parts: Path, model: Scripted, seasoned_postgres: None
) -> None:
    run = begin(parts)
    for _ in range(2):
        runner.run_attempt(take(), WORKER)
    held = take("dead:1")
    engine.write_facts(held.pk, "dead:1", {"output": '{"findings": []}', "stop_reason": "end_turn"})
    silence(held, 60)
    sweep.run_pass(force=True)
    held.refresh_from_db()
    assert (held.status, held.unit.attempts.count()) == ("completed", 1)
    run_all()
    assert len(model.asked("chunk")) == 3
    assert AnalysisRun.objects.get(pk=run.pk).status == "completed"


def test_a_cut_answer_splits_its_chunk(parts: Path, model: Scripted) -> None:
    whole = len(PARTS["part1/code.py"].splitlines())

    def reply(request: Request) -> Any:
        shown = request.messages[0].content
        return cut() if f"lines=1-{whole} " in shown and "part1/" in shown else None

    model.replies["chunk"] = reply
    run = done(parts)
    split = Unit.objects.get(run=run, status="skipped")
    halves = list(Unit.objects.filter(parent=split).order_by("pk"))
    assert (split.reason, [unit.status for unit in halves]) == ("split", ["completed", "completed"])
    assert halves[0].chunk["pieces"][0][3] + 1 == halves[1].chunk["pieces"][0][2]
    assert (run.status, run.gaps, found(run)) == ("completed", [], ["part1/code.py:45"])
    model.calls.clear()
    done(parts)
    assert model.kinds() == []  # what was split once is not asked whole again


def test_one_line_that_is_cut_is_a_gap(root: Path, model: Scripted) -> None:
    model.replies["chunk"] = lambda request: cut()
    run = done(write(root / "tiny", {"app.py": "print(1)\n"}))
    assert (run.status, run.reason) == ("completed", "gaps")
    assert [(gap["kind"], gap["reason"], gap["paths"]) for gap in run.gaps] == [
        ("chunk", "cut_off:max_tokens", ["app.py"])
    ]


def test_an_answer_without_its_form_is_asked_for_once_more_and_then_a_gap(
    root: Path, model: Scripted
) -> None:
    model.replies["chunk"] = lambda request: "I found nothing."
    run = done(write(root / "shop", SHOP))
    assert (run.status, run.gaps[0]["reason"], len(model.asked("chunk"))) == ("completed", "bad_answer", 2)


def test_a_gap_is_retried_alone_and_its_findings_join_the_others(parts: Path, model: Scripted) -> None:
    model.replies["chunk"] = only("part1/code.py", LLMError("No.", Reason.REFUSED))
    run = done(parts)
    assert (run.status, run.reason, found(run)) == ("completed", "gaps", [])
    assert SourceFile.objects.filter(run=run, content__isnull=False).exists()
    model.replies.clear()
    model.calls.clear()
    services.retry_gaps(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert (run.status, run.reason, run.gaps, found(run)) == ("completed", "", [], ["part1/code.py:45"])
    assert model.kinds() == ["chunk", "verify"]
    assert FindingChange.objects.get(run=run).state == "new"


def test_a_retry_after_the_texts_are_gone_reads_the_source_again(
    parts: Path, model: Scripted, settings: Any
) -> None:
    model.replies["chunk"] = only("part1/code.py", LLMError("No.", Reason.REFUSED))
    run = done(parts)
    settings.NYXCORE_ANALYSIS_KEEP = 0
    recovery.tidy()
    assert not SourceFile.objects.filter(run=run, content__isnull=False).exists()
    model.replies.clear()
    services.retry_gaps(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert (run.status, run.gaps, len(model.asked("chunk"))) == ("completed", [], 5)


def test_a_source_that_changed_meanwhile_refuses_the_retry(parts: Path, model: Scripted) -> None:
    model.replies["chunk"] = only("part1/code.py", LLMError("No.", Reason.REFUSED))
    run = done(parts)
    engine.forget_contents([run.pk])
    write(parts, {"part0/code.py": "x = 1\n"})
    services.retry_gaps(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert (run.status, run.reason) == ("failed", "source")


def test_an_overview_that_fails_leaves_a_gap_and_the_chunks_go_on(parts: Path, model: Scripted) -> None:
    model.replies["overview"] = lambda request: LLMError("No.", Reason.REFUSED)
    run = done(parts)
    assert (run.status, [gap["kind"] for gap in run.gaps]) == ("completed", ["overview"])
    assert len(found(run)) == 1


# --- people ---


def test_cancel_is_immediate_and_keeps_what_is_there(parts: Path, model: Scripted) -> None:
    run = begin(parts)
    for _ in range(5):
        runner.run_attempt(take(), WORKER)
    services.cancel_analysis(run, by=run.owner)
    run.refresh_from_db()
    assert (run.status, run.reason) == ("cancelled", "user")
    assert not Unit.objects.filter(run=run, status__in=("pending", "running")).exists()
    assert found(run) == ["part1/code.py:45"]
    services.resume_analysis(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert (run.status, len(model.asked("chunk"))) == ("completed", 4)


def test_a_pause_lets_what_streams_end_and_opens_nothing(parts: Path, model: Scripted) -> None:
    run = begin(parts)
    for _ in range(2):
        runner.run_attempt(take(), WORKER)
    held = take()
    services.pause_analysis(run, by=run.owner)
    runner.run_attempt(held, WORKER)
    run.refresh_from_db()
    assert (run.status, run.reason, held.unit.attempts.get().status) == ("paused", "user", "completed")
    assert not UnitAttempt.objects.filter(unit__run=run).open().exists()
    services.resume_analysis(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert run.status == "completed"


def test_a_run_stays_paused_when_the_account_of_who_paused_it_is_deleted(
    parts: Path, model: Scripted, seasoned_postgres: None, client: Any
) -> None:
    run = begin(parts)
    for _ in range(2):
        runner.run_attempt(take(), WORKER)
    root = make_user("root", is_staff=True)
    services.pause_analysis(run, by=root)
    root.delete()
    assert sweep.run_pass(scope=sweep.Scope(run=run.pk)) == []
    assert recovery.RECOVERY.idle_runs(sweep.Scope()).count() == 0
    run.refresh_from_db()
    assert (run.status, run.reason, run.held_by) == ("paused", "user", None)
    client.force_login(run.owner)
    assert "Resume" in client.get(f"/analysis/{run.pk}/").content.decode()
    services.resume_analysis(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert run.status == "completed"


def test_what_was_dismissed_stays_dismissed_when_the_code_moves(parts: Path, model: Scripted) -> None:
    done(parts)
    tracked = TrackedFinding.objects.get()
    owner = tracked.owner
    services.dismiss_finding(tracked, by=owner, why="false_positive", note="It is meant so.")
    model.calls.clear()
    write(parts, {"part1/code.py": "# moved\n" * 40 + PARTS["part1/code.py"]})
    run = done(parts)
    change = FindingChange.objects.get(run=run)
    assert (change.state, change.tracked.triage, found(run)) == ("moved", "dismissed", ["part1/code.py:85"])
    assert "It is meant so." in model.asked("chunk")[0].messages[0].content
    assert "verify" not in model.kinds()


def test_what_is_mended_is_gone_and_what_was_not_looked_at_is_not_checked(
    parts: Path, model: Scripted
) -> None:
    write(parts, {"part2/code.py": module("part2", bug=True, lines=40)})
    done(parts)
    write(parts, {"part1/code.py": module("part1", lines=40)})
    model.replies["chunk"] = only("part2/code.py", LLMError("No.", Reason.REFUSED))
    write(parts, {"part2/code.py": module("part2", bug=True, lines=41)})
    run = done(parts)
    states = dict(FindingChange.objects.filter(run=run).values_list("tracked__path", "state"))
    assert states == {"part1/code.py": "gone", "part2/code.py": "not_checked"}


def test_a_quote_that_stands_nowhere_is_rejected_and_counted(root: Path, model: Scripted) -> None:
    def reply(request: Request) -> str:
        assert request.schema is not None
        rules = request.schema["properties"]["findings"]["items"]["properties"]["rule_id"]["enum"]
        return json.dumps({"findings": [finding(rules[0], "app.py", 2, "launch_missiles(target, now=True)")]})

    model.replies["chunk"] = reply
    run = done(write(root / "shop", SHOP))
    assert (found(run), run.summary["rejected"]) == ([], {"not_found": 1})


def test_a_refuted_finding_is_kept_and_not_counted(root: Path, model: Scripted) -> None:
    model.replies["verify"] = lambda request: json.dumps({"reason": "It is guarded.", "verdict": "refuted"})
    run = done(write(root / "shop", SHOP))
    assert Finding.objects.get(run=run, analyzer="correctness").verdict.reason == "It is guarded."
    assert run.summary["severities"] == {}


@pytest.mark.parametrize("at_once", [1, engine.AT_ONCE])
def test_a_budget_pauses_and_goes_on_when_it_is_raised(
    parts: Path, model: Scripted, settings: Any, monkeypatch: pytest.MonkeyPatch, at_once: int
) -> None:
    monkeypatch.setattr(engine, "AT_ONCE", at_once)
    settings.NYXCORE_LLM, settings.NYXCORE_DEFAULT_MODEL = "anthropic", "claude-sonnet-5-5"
    llm._providers["anthropic"] = model
    dear = Completion('{"findings": []}', "end_turn", "claude-sonnet-5-5", Usage(output_tokens=8_000))
    model.replies["chunk"] = lambda request: dear
    run = done(parts, budget=Decimal("0.30"))
    assert (run.status, run.reason, 1 < len(model.calls) < 5) == ("paused", "budget", True)
    services.set_budget(run, by=run.owner, budget=Decimal(20))
    services.resume_analysis(run, by=run.owner)
    run_all()
    run.refresh_from_db()
    assert (run.status, len(model.calls)) == ("completed", 5)


# --- documents ---


def test_a_failed_page_replaces_no_document(root: Path, model: Scripted) -> None:
    folder = write(root / "shop", SHOP)
    done(folder, documents=("architecture",))
    write(folder, {"app.py": module("app", bug=True, lines=13)})
    model.replies["page"] = lambda request: LLMError("No.", Reason.REFUSED)
    run = done(folder, documents=("architecture",))
    kept, failed = Document.objects.order_by("version")
    assert (kept.complete, failed.complete, run.reason) == (True, False, "gaps")
    page = kept.pages.get()
    assert [cited["found"] for cited in page.citations] == [True]
    model.replies.clear()
    services.retry_gaps(run, by=run.owner)
    run_all()
    failed.refresh_from_db()
    assert failed.complete


# --- others ---


def test_nobody_else_sees_a_run(root: Path, model: Scripted, stranger: Any, staff: Any) -> None:
    run = begin(write(root / "shop", SHOP))
    for rows in (AnalysisRun, Unit, UnitAttempt):
        assert rows.objects.visible_to(run.owner).exists()
        assert rows.objects.visible_to(staff).exists()
        assert not rows.objects.visible_to(stranger).exists()
    assert channels.readable(run.owner, run.channel)
    assert not channels.readable(stranger, run.channel)


def test_people_may_not_name_folders_of_the_server(root: Path, user: Any) -> None:
    with pytest.raises(services.Refused, match="by command only"):
        services.create_analysis(owner=user, source_kind="path", location=str(root))


def test_deleting_takes_everything_but_what_people_said_while_another_run_is_there(
    parts: Path, model: Scripted
) -> None:
    first, second = done(parts), done(parts)
    services.delete_analysis(first, by=first.owner)
    assert TrackedFinding.objects.count() == 1
    services.delete_analysis(second, by=second.owner)
    assert not any(rows.objects.exists() for rows in (TrackedFinding, Finding, Unit, SourceFile))


def test_a_run_with_nothing_to_read_completes(root: Path, model: Scripted) -> None:
    (root / "empty").mkdir()
    run = done(root / "empty")
    assert (run.status, model.calls) == ("completed", [])


def test_a_worker_that_stops_hands_its_unit_over(parts: Path, model: Scripted) -> None:
    run = begin(parts)
    for _ in range(2):
        runner.run_attempt(take(), WORKER)
    held = take()
    runner.hand_over(held.pk, WORKER)
    assert [a.cause for a in held.unit.attempts.order_by("number")] == ["start", "handover"]
    run_all()
    run.refresh_from_db()
    assert run.status == Status.COMPLETED
    assert not CALLS.all()


def test_the_same_source_is_the_same_however_it_is_spelled() -> None:
    key = services.source_key("git", "https://Host.example/owner/name.git")
    assert key == services.source_key("git", "https://host.example/owner/name/")
    assert key == services.source_key("git", "https://host.example:443/owner/name")
    assert key != services.source_key("git", "https://host.example/owner/name", "docs")
    assert key != services.source_key("git", "https://host.example:8443/owner/name")


def test_two_servers_on_one_host_get_histories_of_their_own(user: Any) -> None:
    """What the migration does with rows from before the port counted."""
    made = {}
    for port, last in ((":8443", True), ("", False)):
        run = services.create_analysis(
            owner=user, source_kind="git", location=f"https://host.example{port}/owner/name.git"
        )
        key = services.source_key("git", "https://host.example/owner/name")
        AnalysisRun.objects.filter(pk=run.pk).update(source_key=key)
        Document.objects.create(
            owner=user, source_key=key, run=run, slug="modules", title="Modules", version=1 + last
        )
        TrackedFinding.objects.create(
            owner=user,
            source_key=key,
            fingerprint=port or "none",
            title="A fault",
            path="a.py",
            last_seen=run,
        )
        made[port] = run
    import_module("analysis.migrations.0005_source_port").with_port(apps, None)
    for port, run in made.items():
        key = services.source_key("git", f"https://host.example{port}/owner/name")
        run.refresh_from_db()
        assert (run.source_key, run.documents.get().source_key) == (key, key)
        assert TrackedFinding.objects.get(source_key=key).last_seen_id == run.pk


def test_what_no_run_has_seen_last_goes_with_the_only_source(user: Any) -> None:
    run = services.create_analysis(
        owner=user, source_kind="git", location="https://host.example:8443/owner/name.git"
    )
    old, key = services.source_key("git", "https://host.example/owner/name"), run.source_key
    AnalysisRun.objects.filter(pk=run.pk).update(source_key=old)
    TrackedFinding.objects.create(owner=user, source_key=old, fingerprint="f", title="A fault", path="a.py")
    import_module("analysis.migrations.0005_source_port").with_port(apps, None)
    assert TrackedFinding.objects.get().source_key == key


def test_an_archive_of_somebody_else_is_not_found(user: Any, stranger: Any) -> None:
    upload = services.store_upload(owner=stranger, name="shop.zip", data=archive(SHOP))
    with pytest.raises(services.Refused, match="no such archive"):
        services.create_analysis(owner=user, source_kind="upload", upload=upload)
    assert not AnalysisRun.objects.exists()


def test_staff_may_upload_the_new_state_of_a_source_for_its_owner(
    user: Any, staff: Any, stranger: Any, model: Scripted
) -> None:
    first = services.store_upload(owner=user, name="shop.zip", data=archive(SHOP))
    run = services.create_analysis(owner=user, source_kind="upload", upload=first)
    theirs = services.store_upload(owner=staff, name="new.zip", data=archive(SHOP))
    again = services.rescan_analysis(run, by=staff, upload=theirs)
    assert (again.owner, again.upload_id) == (user, theirs.pk)
    foreign = services.store_upload(owner=stranger, name="new.zip", data=archive(SHOP))
    with pytest.raises(services.Refused, match="no such archive"):
        services.rescan_analysis(run, by=user, upload=foreign)


def test_the_sweep_settles_a_run_that_nothing_moves(
    parts: Path, model: Scripted, seasoned_postgres: None
) -> None:
    run = begin(parts)
    UnitAttempt.objects.filter(unit__run=run).delete()
    lines = sweep.run_pass(force=True)
    assert [line.done for line in lines if line.target == "analysis"] == ["settled: scanning > scanning"]
    assert UnitAttempt.objects.filter(unit__run=run, status="pending").count() == 1


def archive(files: dict[str, str]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as written:
        for name, text in files.items():
            written.writestr(name, text)
    return packed.getvalue()


def test_an_uploaded_archive_goes_once_its_plan_stands(model: Scripted, user: Any) -> None:
    upload = services.store_upload(owner=user, name="shop.zip", data=archive(SHOP))
    options = Options(analyzers=("correctness",))
    run = services.create_analysis(owner=user, source_kind="upload", upload=upload, options=options)
    services.start_analysis(run, by=user)
    run_all()
    run.refresh_from_db()
    assert (run.status, Upload.objects.count()) == ("waiting", 1)
    services.confirm_analysis(run, by=user)
    assert Upload.objects.count() == 0
    run_all()
    run.refresh_from_db()
    assert (run.status, found(run)) == ("completed", ["app.py:17"])
    with pytest.raises(services.Refused, match="Upload the new state"):
        services.rescan_analysis(run, by=user)


def test_a_rescan_is_a_new_run_that_knows_the_one_before(parts: Path, model: Scripted) -> None:
    first = done(parts)
    model.calls.clear()
    second = services.rescan_analysis(first, by=first.owner, kind="operator")
    run_all()
    second.refresh_from_db()
    assert (second.status, second.previous_id, model.calls) == ("completed", first.pk, [])


def test_an_archive_that_nobody_reads_is_tidied_away(user: Any, settings: Any) -> None:
    services.store_upload(owner=user, name="old.zip", data=b"x")
    settings.NYXCORE_ANALYSIS_KEEP = 0
    recovery.tidy()
    assert not Upload.objects.exists()
