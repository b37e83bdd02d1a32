"""run_workflow, export_workflow, import_workflow and token_limits, with a worker that works in this thread.

The same commands as a person starts them, with servers and workers of their own: test_commands_real.py.
"""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from dataclasses import dataclass
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from rich.console import Console

from nyxcore import shell as given
from nyxcore import standby
from nyxcore.dbtime import ago
from nyxcore.llm.base import LLMError
from nyxcore.models import AuditEntry, Worker
from tests.factories import attempts_of, make_spec, make_user, make_workflow, step_of
from tests.workflows.engine_helpers import KINDS, claim, finish, run_all
from workflows import catalog, follow, limits, services, shell, specs
from workflows.management.commands import run_workflow
from workflows.models import StepAttempt, Workflow, WorkflowTemplate

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("seasoned_postgres", "admin")]

GATE = {"key": "check", "title": "Check", "kind": "gate", "config": {"instructions": "Read it."}}
SHORT = {"key": "short", "title": "Short", "config": {"prompt": "Write about rivers.", "max_tokens": 5}}


@pytest.fixture
def admin(db):
    return make_user("admin", is_staff=True, is_superuser=True)


@pytest.fixture
def template(tmp_path):
    """A YAML file with those steps; its input is one text."""

    def write(*steps: dict, **fields) -> str:
        inputs = [{"name": "text"}]
        spec = make_spec(
            [dict(step) for step in steps] or None, inputs=inputs, name="Mine", slug="mine", **fields
        )
        path = tmp_path / "mine.yaml"
        path.write_text(specs.dump_yaml(spec))
        return str(path)

    return write


class Inline:
    """Stands in for a worker: at each turn of the waiting it does what is due, in this thread."""

    alive = False  # is there another one?

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return

    def look(self):
        run_all()

    def others(self):
        return self.alive


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


def run(*args: str, worker=Inline, command: str = "run_workflow") -> Ran:
    """Run a command to its end."""
    out, err = StringIO(), StringIO()
    target = run_workflow.Command() if command == "run_workflow" else command
    if command == "run_workflow":
        target.standby = worker
    code = 0
    try:
        call_command(target, *args, stdout=out, stderr=err)
    except SystemExit as ended:
        code = ended.code
    except CommandError as error:
        code = error.returncode
        err.write(str(error))
    return Ran(code, out.getvalue(), err.getvalue())


def last() -> Workflow:
    return Workflow.objects.order_by("-pk")[0]


# --- how it ends ---


def test_completed_is_0():
    ran = run("Improve", "--input", "text=Some text.")
    assert (ran.code, last().status) == (0, "completed")
    assert f"Workflow {last().pk} is completed: 2 steps in" in ran.out


def test_failed_is_1_and_says_what_would_help(monkeypatch):
    def broken(step):
        raise LLMError("The key is wrong.", reason="auth", retryable=False)

    monkeypatch.setattr(KINDS["llm"], "run", broken)
    ran = run("improve", "--input", "text=x")
    assert (ran.code, last().status) == (1, "failed")
    assert "The key is wrong." in ran.out
    assert "What would move it: Check the provider's key" in ran.out


def test_cancelled_by_somebody_is_1():
    class Cancels(Inline):
        def look(self):
            services.cancel_workflow(last(), by=last().owner)

    ran = run("improve", "--input", "text=x", worker=Cancels)
    assert (ran.code, last().status) == (1, "cancelled")


def test_a_cut_answer_is_3(template):
    ran = run(template(SHORT), "--input", "text=x")
    assert (ran.code, last().status) == (3, "paused")
    assert "What would move it: Retry with more room" in ran.out


def test_a_gate_is_3(template):
    ran = run(template({"key": "one"}, GATE), "--input", "text=x")
    assert (ran.code, last().reason) == (3, "waiting")
    assert "Open the step that needs you and decide." in ran.out


def test_a_person_who_pauses_is_3():
    class Pauses(Inline):
        def look(self):
            services.pause_workflow(last(), by=last().owner)

    ran = run("improve", "--input", "text=x", worker=Pauses)
    assert (ran.code, last().reason) == (3, "user")


def test_a_pause_is_waited_for_while_a_step_streams():
    workflow = make_workflow(start=True)
    attempt = claim()
    services.pause_workflow(workflow, by=workflow.owner)
    assert not follow.look(workflow.pk).stands
    finish(attempt)
    assert follow.look(workflow.pk).stands


def test_the_budget_is_3(settings):
    settings.NYXCORE_LLM = "anthropic"
    ran = run("improve", "--input", "text=x", "--model", "claude-opus-5-5", "--budget", "0.001")
    assert (ran.code, last().reason) == (3, "budget")


def test_on_cut_off_is_passed_on(template):
    ran = run(template(SHORT), "--input", "text=x", "--on-cut-off", "raise")
    assert (ran.code, last().on_cut_off) == (0, "raise")
    assert len(attempts_of(last(), "short")) > 1


# --- who goes before the end ---


class Impatient(Inline):
    def look(self):
        raise KeyboardInterrupt


class ImpatientAmongOthers(Impatient):
    alive = True


def test_ctrl_c_without_another_worker_cancels_and_says_so():
    ran = run("improve", "--input", "text=x", worker=Impatient)
    assert (ran.code, last().status) == (130, "cancelled")
    assert f"Interrupted. Workflow {last().pk} is cancelled, since no other worker lives" in ran.out


def test_ctrl_c_while_another_worker_lives_leaves_the_run():
    ran = run("improve", "--input", "text=x", worker=ImpatientAmongOthers)
    assert (ran.code, last().status) == (130, "running")
    assert f"Workflow {last().pk} goes on" in ran.out


def test_ctrl_c_still_ends_with_the_json_object():
    ran = run("improve", "--input", "text=x", "--json", worker=Impatient)
    assert (ran.code, ran.json["status"]) == (130, "cancelled")


def test_a_timeout_is_124_and_cancels():
    class Idle(Inline):
        def look(self):
            return

    ran = run("improve", "--input", "text=x", "--timeout", "0.1", worker=Idle)
    assert (ran.code, last().status) == (124, "cancelled")
    assert "Not done after 0.1 s" in ran.out


def test_a_worker_that_does_not_start_is_1_and_leaves_nothing_running():
    class Broken(Inline):
        def look(self):
            raise standby.StartError("The worker does not start: no memory")

    ran = run("improve", "--input", "text=x", worker=Broken)
    assert (ran.code, last().status) == (1, "cancelled")
    assert "The worker does not start: no memory. Workflow" in ran.out


# --- bad input ---


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["Improv", "--input", "text=x"], "There is no template “Improv”. Did you mean “Improve”?"),
        (["deep-buld"], "Did you mean “deep-build”?"),
        (["nothing like it"], "There are “Improve”,"),
        ([""], "There is no template “”."),
        (["nope.yaml"], "There is no file nope.yaml."),
        (["a/b"], "There is no file a/b."),
        (["x" * 300], "There is no template"),
        (["improve"], "text: Text to improve is required.\nIts inputs: text (required), goal, keep."),
        (["improve", "--input", "txt=x"], "There is no input field txt. Did you mean text?"),
        (["improve", "--input", "text"], "--input takes key=value or key=@file, not “text”."),
        (["improve", "--input", "=x"], "--input takes key=value"),
        (["improve", "--input", "text=a", "--input", "text=b"], "The input text is given twice."),
        (["improve", "--input", "text=@"], "Input text: @ must be followed by the name of a file."),
        (["improve", "--input", "text=@/no/such/file"], "Input text: There is no file /no/such/file."),
        (["improve", "--input", "text=@/tmp"], "Input text: /tmp is a folder, not a file."),
        (["improve", "--input", "text=@/dev/zero"], "has more than 1,000,000 bytes"),
        (["improve", "--input", "text=@nul\0name"], "cannot be read"),
        (["improve", "--input", "text=x", "--owner", "admn"], "There is no user admn. Did you mean admin?"),
        (["improve", "--input", "text=x", "--model", "gpt-0"], "The model gpt-0 is not known"),
        (
            ["improve", "--input", "text=x", "--output", "/no/such/folder/f"],
            "The folder of /no/such/folder/f",
        ),
        (["improve", "--input", "text=x", "--json", "--output", "-"], "both want standard output"),
    ],
)
def test_bad_input_is_2_with_a_sentence_and_no_row(args, says):
    ran = run(*args)
    assert ran.code == 2
    assert says in ran.err
    assert ran.out == ""
    assert not Workflow.objects.exists()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x7fELF\xff\xfe", "is not text in UTF-8 (byte 4 is not)"),
        (b"some\x00thing", "is a binary file, not text"),
        (b"", "Text to improve is required"),
        (b"x" * 1_000_001, "has more than 1,000,000 bytes"),
    ],
)
def test_a_file_that_is_no_text_is_2(tmp_path, data, says):
    file = tmp_path / "data.bin"
    file.write_bytes(data)
    ran = run("improve", "--input", f"text=@{file}")
    assert ran.code == 2
    assert says in ran.err


def test_a_broken_definition_names_the_line(tmp_path):
    file = tmp_path / "broken.yaml"
    step = "  - key: a\n    title: A\n    config: {prompt: '{{ nope }}'}\n"
    file.write_text(f"name: Broken\nslug: broken\nsteps:\n{step}")
    ran = run(str(file))
    assert ran.code == 2
    assert f"{file} is not a workflow that can run:\n  line 6" in ran.err


def test_a_budget_that_cannot_be_kept_is_2(monkeypatch):
    monkeypatch.setattr("nyxcore.llm.models.worst_case", lambda *args: None)
    ran = run("improve", "--input", "text=x", "--budget", "1")
    assert ran.code == 2
    assert "The price of practice is unknown" in ran.err


@pytest.mark.parametrize("word", ["0", "-1", "x", "nan", "inf", "0.00001", "1e12"])
def test_money_is_an_amount_above_0(word):
    with pytest.raises(ArgumentTypeError, match="an amount above 0"):
        given.money(word)


@pytest.mark.parametrize("word", ["0", "-1", "x", "nan", "inf"])
def test_seconds_are_above_0(word):
    with pytest.raises(ArgumentTypeError, match="a number of seconds above 0"):
        given.seconds(word)


# --- input, owner, template ---


def test_a_file_is_read_as_it_is(tmp_path):
    file = tmp_path / "text.md"
    file.write_text("\ufeffÄpfel = 1\n\tzwei\n", encoding="utf-8")
    assert shell.read_inputs([f"text=@{file}"]) == {"text": "Äpfel = 1\n\tzwei\n"}


def test_a_value_keeps_its_equals_signs_and_a_doubled_at_is_one():
    assert shell.read_inputs(["a=b=c", "d=@@home", "e="]) == {"a": "b=c", "d": "@home", "e": ""}


@pytest.mark.parametrize("word", ["Extend & Improve", "extend & improve", "extend-improve", "EXTEND-IMPROVE"])
def test_a_template_is_found_by_name_and_slug(word):
    assert shell.find_spec(word).slug == "extend-improve"


def test_a_template_of_the_owner_is_found_and_a_built_in_one_comes_first(admin):
    mine = make_spec(name="My way", slug="my-way").model_dump(mode="json")
    kept = WorkflowTemplate.objects.create(owner=admin, name="My way", slug="my-way", spec=mine)
    same = mine | {"name": "Improve", "slug": "improve"}
    shadow = WorkflowTemplate.objects.create(owner=admin, name="Improve", slug="improve", spec=same)
    assert shell.find_spec("MY WAY", admin).slug == "my-way"
    assert shell.find_spec(kept.chosen_as, admin).slug == "my-way"
    assert len(shell.find_spec("improve", admin).steps) == 2
    assert len(shell.find_spec(shadow.chosen_as, admin).steps) == 3
    with pytest.raises(shell.BadInput, match="There is no template"):
        shell.find_spec("my way", make_user("eve"))


def test_a_kept_template_that_is_broken_says_so(admin):
    WorkflowTemplate.objects.create(owner=admin, name="Old", slug="old", spec={"name": "Old"})
    with pytest.raises(shell.BadInput, match="The template “Old” cannot run"):
        shell.find_spec("old", admin)


def test_the_owner_is_admin_unless_named():
    run("improve", "--input", "text=x")
    assert last().owner.username == "admin"
    make_user("ada")
    run("improve", "--input", "text=x", "--owner", "ada", "--name", "Hers")
    assert (last().owner.username, last().name) == ("ada", "Hers")


def test_the_owner_is_the_first_superuser_where_there_is_no_admin(admin):
    admin.delete()
    make_user("ada")
    make_user("boss", is_superuser=True)
    assert shell.find_owner("").username == "boss"


def test_without_a_superuser_an_owner_has_to_be_named(admin):
    admin.delete()
    make_user("ada")
    with pytest.raises(shell.BadInput, match="--owner"):
        shell.find_owner("")


def test_without_any_user_the_admin_is_made(admin, monkeypatch):
    admin.delete()
    monkeypatch.setenv("NYXCORE_ADMIN_PASSWORD", "correct horse")
    assert shell.find_owner("").check_password("correct horse")


def test_it_is_audited_as_an_operator():
    run("improve", "--input", "text=x")
    assert AuditEntry.objects.get(model="workflow", row=last().pk, action="start").actor == "operator"


# --- what is printed ---


def test_json_is_one_object_on_standard_output_and_nothing_else(template):
    ran = run(template({"key": "one"}, SHORT), "--input", "text=x", "--json", "--follow")
    workflow = last()
    first, second = ran.json.pop("steps")
    assert {name: ran.json[name] for name in ("workflow", "status", "url", "cost")} == {
        "workflow": workflow.pk, "status": "paused", "url": f"/workflows/{workflow.pk}/", "cost": 0.0,
    }  # fmt: skip
    assert (first["key"], first["status"], first["reason"]) == ("one", "completed", "")
    assert first["output"] == step_of(workflow, "one").output
    used = attempts_of(workflow, "one")[0]
    assert first["tokens"] == used.input_tokens + used.output_tokens
    assert set(first) == {"key", "status", "reason", "output", "tokens"}
    assert (second["status"], second["reason"]) == ("cut_off", "cut_off:max_tokens")
    assert second["output"] == attempts_of(workflow, "short")[0].output
    assert "step 1/2 One: completed" in ran.err


def test_follow_prints_a_line_for_each_change_and_no_text(template):
    ran = run(template({"key": "one"}, {"key": "two"}), "--input", "text=x", "--follow")
    lines = [line for line in ran.out.splitlines() if line.startswith("step ")]
    assert lines[0] == "step 1/2 One: queued"
    assert [line.split(",")[0] for line in lines[1:]] == [
        "step 1/2 One: completed",
        "step 2/2 Two: completed",
    ]
    assert "Practice answer" not in ran.out


def test_without_follow_the_steps_are_not_printed():
    assert "step 1/2" not in run("improve", "--input", "text=x").out


def test_the_practice_model_is_named_as_such():
    assert "made-up text, no language model" in run("improve", "--input", "text=x").out


def test_the_last_text_goes_to_a_file_or_to_standard_output(tmp_path):
    file = tmp_path / "result.md"
    run("improve", "--input", "text=x", "--output", str(file))
    assert file.read_text() == step_of(last(), "improve").output != ""
    printed = run("improve", "--input", "text=x", "--output", "-").out
    assert printed.strip() == step_of(last(), "improve").output.strip()


def test_a_line_shows_the_attempt_and_its_cause():
    step = follow.StepNow(3, "One", "running", "", 1.0, 2, "backoff", "running", 1.0)
    assert follow._line(step, 9) == "step 3/9 One: running, attempt 2 (again, after a passing failure)"


def test_a_line_stays_one_line_and_carries_no_escapes():
    out = StringIO()
    follow.Teller(out).say("step 1/9 Odd\x1b[2J\nname: running")
    assert out.getvalue() == "step 1/9 Odd\ufffd[2J name: running\n"


def test_a_back_off_says_when_it_is_tried_again():
    step = follow.StepNow(1, "One", "running", "", 1.0, 2, "backoff", "pending", -65.0)
    assert step.remark == "tried again in 1 min 05 s"


def shown(*steps: follow.StepNow, width: int = 80, height: int = 24) -> str:
    out = StringIO()
    screen = follow.Screen(
        Console(file=out, force_terminal=True, width=width, height=height, color_system=None)
    )
    screen.show(follow.RunNow(7, "A run", "running", "", 12.0, steps))
    screen.close()
    return out.getvalue()


def test_the_screen_shows_steps_progress_and_the_end_of_the_streaming_text():
    done = follow.StepNow(1, "One", "completed", "", 3.0, 1, "start", "completed", 3.0, tokens=1234)
    text = "\n".join(f"line {number}" for number in range(50))
    streams = follow.StepNow(
        2, "Two", "running", "", 9.0, 1, "start", "running", 9.0, written=9000, tail=text
    )
    picture = shown(done, streams)
    assert "1 of 2  A run: running" in picture
    assert "1,234 tokens" in picture
    assert "9,000 characters" in picture
    assert "│ line 49" in picture
    assert "line 30" not in picture


def test_the_screen_keeps_escapes_of_a_text_away_from_the_terminal():
    evil = "\x1b]0;owned\x07\x1b[2Jtext"
    picture = shown(
        follow.StepNow(1, evil, "running", "", 1.0, 1, "start", "running", 1.0, written=9, tail=evil)
    )
    assert "\x1b]0;" not in picture
    assert "\x1b[2J" not in picture


def test_the_screen_fits_a_thousand_steps_into_its_height():
    steps = [
        follow.StepNow(n, f"Step {n}", "completed" if n < 500 else "pending", "", None)
        for n in range(1, 1001)
    ]
    picture = shown(*steps, height=20)
    assert "497 above" in picture
    assert "Step 500" in picture
    assert max(len(frame.splitlines()) for frame in picture.split("\x1b[2K")) <= 20


# --- whose worker ---


def test_a_worker_that_lives_is_used():
    Worker.objects.create(name="elsewhere:1:a", host="elsewhere", threads=4)
    with standby.Standby() as worker:
        worker.look()
        assert worker.others()
        assert worker.hired is None


@pytest.mark.parametrize("change", [{"seen_at": ago(600)}, {"stopping": True}])
def test_a_worker_that_is_gone_or_going_is_not_counted_on(change):
    Worker.objects.create(name="elsewhere:1:a", host="elsewhere", threads=4)
    Worker.objects.update(**change)
    with standby.Standby() as worker:
        assert not worker.others()


def test_one_is_started_at_once_when_there_is_none(monkeypatch):
    started = []
    monkeypatch.setattr(standby.Standby, "_hire", lambda self: started.append(self))
    with standby.Standby() as worker:
        worker.look()
    assert started == [worker]


def test_a_worker_that_vanishes_is_given_some_time(monkeypatch):
    started = []
    monkeypatch.setattr(standby.Standby, "_hire", lambda self: started.append(self))
    Worker.objects.create(name="elsewhere:1:a", host="elsewhere", threads=4)
    with standby.Standby() as worker:
        worker.look()
        Worker.objects.all().delete()
        worker.look()
        assert started == []
        worker._last_seen -= standby.PATIENCE
        worker.look()
        assert started == [worker]


# --- export and import ---


@pytest.mark.parametrize("slug", sorted(catalog.load_all()))
def test_a_round_trip_changes_nothing(slug, admin, tmp_path):
    template = catalog.get(slug)
    data = {
        field.name: field.choices[0] if field.choices else "1" for field in template.inputs if field.required
    }
    words = [word for name, value in data.items() for word in ("--input", f"{name}={value}")]
    first = services.create_workflow(owner=admin, spec=template, data=data)
    exported = run(str(first.pk), command="export_workflow").out
    assert specs.parse_yaml(exported) == specs.validate(template)
    file = tmp_path / "out.yaml"
    file.write_text(exported)
    assert run(str(file), *words, command="import_workflow").code == 0
    assert run(str(last().pk), command="export_workflow").out == exported
    unlike = {"id", "workflow_id", "_state", "status_changed_at"}
    for one, other in zip(first.steps.order_by("position"), last().steps.order_by("position"), strict=True):
        assert {k: v for k, v in vars(one).items() if k not in unlike} == {
            k: v for k, v in vars(other).items() if k not in unlike
        }


def test_settings_and_edits_of_a_workflow_are_exported(admin):
    workflow = make_workflow(owner=admin)
    services.update_settings(
        workflow, by=admin, on_cut_off="continue", budget=None, steps={"two": {"max_tokens": 4096}}
    )
    exported = specs.parse_yaml(run(str(workflow.pk), command="export_workflow").out)
    assert exported.on_cut_off == "continue"
    assert exported.steps[1].config["max_tokens"] == 4096


def test_export_writes_a_new_file_only(tmp_path):
    workflow = make_workflow()
    file = tmp_path / "out.yaml"
    assert run(str(workflow.pk), "--output", str(file), command="export_workflow").code == 0
    assert specs.parse_yaml(file.read_text()).slug == "test"
    again = run(str(workflow.pk), "--output", str(file), command="export_workflow")
    assert (again.code, again.err) == (2, f"{file} exists already. Name a new file.")


def test_export_of_no_workflow_is_2():
    assert run("12345", command="export_workflow").err == "There is no workflow 12345."


def test_import_makes_a_pending_workflow_of_the_owner(template):
    make_user("ada")
    ran = run(template(), "--input", "text=x", "--owner", "ada", "--json", command="import_workflow")
    assert ran.json == {"workflow": last().pk, "status": "pending", "url": f"/workflows/{last().pk}/"}
    assert (last().owner.username, last().input, last().name) == ("ada", {"text": "x"}, "Mine")
    assert not StepAttempt.objects.exists()


def test_import_with_a_missing_input_is_2(template):
    ran = run(template(), command="import_workflow")
    assert ran.code == 2
    assert "text: Text is required." in ran.err
    assert not Workflow.objects.exists()


# --- token limits ---


def answered(used: int, *, cap: int = 1000, cut: bool = False, times: int = 1) -> None:
    for _ in range(times):
        workflow = make_workflow([{"key": "one", "config": {"max_tokens": cap}}], start=True)
        attempt = claim()
        StepAttempt.objects.filter(pk=attempt.pk).update(request={"max_tokens": cap, "model": "practice"})
        finish(attempt, stop_reason="max_tokens" if cut else "end_turn")
        StepAttempt.objects.filter(step__workflow=workflow).update(output_tokens=used)


def test_limits_are_judged_by_what_answers_used():
    answered(400, times=9)
    assert [fit.suggested for fit in limits.measure()] == [None]
    answered(2000, cap=4000)
    (fit,) = limits.measure()
    assert (fit.answers, fit.cut, fit.p50, fit.p95, fit.most, fit.cap) == (10, 0, 400, 2000, 2000, 4000)
    assert fit.suggested == 3072


def test_a_cut_answer_suggests_twice_its_limit():
    answered(1000, cut=True)
    (fit,) = limits.measure("test")
    assert (fit.cut, fit.cut_at, fit.suggested) == (1, 1000, 2048)
    assert limits.measure("another") == []


def test_the_table_names_each_step():
    answered(1000, cut=True)
    out = run(command="token_limits").out
    assert "test / one" in out
    assert out.split()[-1] == "2,048"
    assert run("--template", "nope", command="token_limits").out == "No template step has answered yet.\n"


def test_apply_raises_pending_steps_and_nothing_else():
    answered(1000, cut=True)
    ended = last()
    waits = make_workflow([{"key": "one", "config": {"max_tokens": 1000}}])
    roomy = make_workflow([{"key": "one", "config": {"max_tokens": 9000}}])
    ran = run("--apply", command="token_limits")
    assert f"workflow {waits.pk}, one: 1,000 > 2,048\n1 pending step raised." in ran.out
    assert [step_of(w, "one").config["max_tokens"] for w in (ended, waits, roomy)] == [1000, 2048, 9000]
    assert AuditEntry.objects.get(row=waits.pk, action="settings").actor == "operator"


def test_json_of_the_limits_is_one_object_per_line():
    answered(1000, cut=True)
    (line,) = run("--json", "--apply", command="token_limits").out.splitlines()
    assert json.loads(line)["suggested"] == 2048
