"""Figures on analyzers: rejects and refutations from rows, precision and recall over planted faults."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command

from analysis import corpus
from analysis.analyzers import MODEL_ANALYZERS, RULES, STATIC
from analysis.management.commands.analysis_quality import Command
from analysis.quality import Claim, by_analyzer_and_model, by_rule
from tests.analysis.findings import finding

FOLDER = Path(__file__).parents[1] / "corpus"
TRANSCRIPT = FOLDER / "hand-written.jsonl"
MODEL_RULES = {rule for one in MODEL_ANALYZERS.values() for rule in one.rule_ids}


@pytest.fixture(scope="module")
def files():
    return corpus.load(FOLDER)


@pytest.fixture(scope="module")
def replayed(files):
    asked, gaps = corpus.replay(
        corpus.questions(files, MODEL_ANALYZERS.values()), corpus.read_transcript(TRANSCRIPT)
    )
    assert gaps == []
    return corpus.judge(files, asked, "hand-written")


def run(*arguments):
    out = StringIO()
    call_command(Command(), *arguments, stdout=out)
    return out.getvalue()


# --- rates ----------------------------------------------------------------------------------------------------

CLAIMS = [
    Claim("a", "a/x", "m", "exact", verdict="confirmed"),
    Claim("a", "a/x", "m", "approximate", verdict="refuted"),
    Claim("a", "a/x", "m", rejected="not_found"),
    Claim("a", "a/y", "n", "exact", dismissed="false_positive"),
]


def test_rejects_and_refutations_are_counted_for_each_rule():
    worst, other = by_rule(CLAIMS)
    assert (worst.name, worst.claims, worst.approximate, worst.reasons) == ("a/x", 3, 1, {"not_found": 1})
    assert (worst.reject_rate, worst.refute_rate) == (1 / 3, 1 / 2)
    assert (other.name, other.refute_rate, other.false_positives) == ("a/y", None, 1)


def test_models_are_told_apart():
    assert [one.name for one in by_analyzer_and_model(CLAIMS)] == ["a · m", "a · n"]


# --- the corpus -----------------------------------------------------------------------------------------------


def test_the_corpus_holds_thirty_kinds_of_fault_in_four_languages(files):
    kinds = {rule for fault in files.faults for rule in fault.rules[:1]}
    languages = {files.files[fault.path].language for fault in files.faults}
    assert len(kinds) >= 30
    assert languages >= {"python", "typescript", "javascript", "go", "java"}


def test_every_language_has_files_without_a_fault(files):
    assert {path.split("/")[0] for path in files.clean} == {"python", "web", "go", "java"}
    assert not {fault.path for fault in files.faults}.intersection(files.clean)


def test_the_key_names_rules_and_lines_that_exist(files):
    for fault in files.faults:
        lines = files.texts[fault.path].split("\n")[fault.start - 1 : fault.end]
        assert len(lines) == fault.end - fault.start + 1, fault
        assert any(line.strip() for line in lines), fault
        assert set(fault.rules) <= set(RULES), fault


def test_the_key_is_not_shown_to_analyzers(files):
    shown = "".join(one.ask.prompt for one in corpus.questions(files, MODEL_ANALYZERS.values()))
    assert not any(fault.note in shown for fault in files.faults)


def test_a_finding_hits_by_rule_and_line(files):
    path = "python/shop/pricing.py"
    text = files.texts[path]
    right = finding(text, "return [part] * months", rule="correctness/number", path=path)
    elsewhere = finding(text, "part = cents // months", rule="correctness/number", path=path)
    other_rule = finding(text, "return [part] * months", rule="correctness/time", path=path)
    scores = corpus.score(files, [right, elsewhere, other_rule], {"correctness/number", "correctness/time"})
    assert (scores.total.reported, scores.total.right, scores.total.caught) == (3, 1, 1)
    number = next(one for one in scores.rules if one.name == "correctness/number")
    assert number.precision == 1 / 2


def test_faults_of_analyzers_that_did_not_run_do_not_count(files):
    assert corpus.score(files, [], STATIC.rule_ids).total.planted < len(files.faults) / 4


def test_without_findings_there_is_no_precision(files):
    total = corpus.score(files, [], MODEL_RULES).total
    assert (total.precision, total.recall) == (None, 0.0)


def by_name(path, text):
    """Secrets have tests of their own; here the planted one is known by its name."""
    return [
        SimpleNamespace(rule="password", line=number)
        for number, line in enumerate(text.split("\n"), 1)
        if line.startswith("METRICS_PASSWORD")
    ]


def test_without_a_model_all_of_its_planted_faults_are_caught_and_nothing_is_wrong(files):
    made = corpus.scan(files, secrets=by_name)
    scores = corpus.score(files, made.findings, STATIC.rule_ids)
    assert (scores.total.precision, scores.total.recall, made.gaps) == (1.0, 1.0, [])
    assert scores.total.planted == 10


# --- the recorded answers -------------------------------------------------------------------------------------


def test_the_transcript_says_that_no_model_wrote_it():
    recorded = corpus.read_transcript(TRANSCRIPT)
    assert recorded.model == "hand-written"
    assert "not the output of a language model" in recorded.note


def test_what_is_invented_in_the_recorded_answers_is_rejected(replayed):
    rejected = sorted(claim.rejected for claim in replayed.claims if claim.rejected)
    assert rejected == ["not_found", "not_in_manifest", "trivial"]


def test_a_misspelled_quote_is_found_approximately(replayed):
    assert [claim.rule_id for claim in replayed.claims if claim.match == "approximate"] == [
        "performance/query-in-loop"
    ]


def test_wrong_lines_in_the_recorded_answers_are_corrected(replayed):
    (one,) = [one for one in replayed.findings if one.raw.rule_id == "security/command-injection"]
    assert one.place.start_line == 45


def test_the_recorded_answers_give_the_figures_that_the_documents_tell(files, replayed):
    total = corpus.score(files, replayed.findings, MODEL_RULES).total
    assert (total.reported, total.right, total.planted, total.caught) == (55, 49, 53, 49)


def test_an_answer_that_cannot_be_read_is_a_gap_and_not_health(files):
    question = corpus.questions(files, [MODEL_ANALYZERS["security"]])[0]
    made = corpus.judge(files, [(question, "I found nothing, trust me.")])
    assert made.findings == []
    assert "does not fit its schema" in made.gaps[0]


def test_a_changed_file_has_no_recorded_answer(files):
    texts = {path: text + "\n" for path, text in files.texts.items()}
    changed = corpus.Corpus(texts, files.faults, files.clean)
    made = corpus.questions(changed, [MODEL_ANALYZERS["security"]])
    asked, gaps = corpus.replay(made, corpus.read_transcript(TRANSCRIPT))
    assert (asked, len(gaps)) == ([], len(made))


# --- the command ----------------------------------------------------------------------------------------------


def test_the_command_replays_and_prints_a_row_for_each_rule():
    names = ",".join(MODEL_ANALYZERS)
    text = run("--transcript", str(TRANSCRIPT), "--analyzers", names)
    assert "Answers: recorded: hand-written." in text
    assert "errors/half-done" in text
    assert "Findings in files without a known fault: 1" in text
    assert "correctness · hand-written: 17 claims, 1 rejected (1 not_found)" in text


def test_the_command_can_record_what_it_replays(tmp_path):
    again = tmp_path / "again.jsonl"
    run("--transcript", str(TRANSCRIPT), "--analyzers", "errors", "--record", str(again))
    told = json.loads(run("--transcript", str(again), "--analyzers", "errors", "--json"))
    assert (told["total"]["planted"], told["gaps"]) == (told["total"]["planted"], [])
    assert told["claims"] == 7


def test_the_command_asks_the_model_that_is_set_up(settings):
    settings.NYXCORE_LLM = "practice"
    settings.LLM_PROVIDERS = {
        "practice": {
            "BACKEND": "nyxcore.llm.practice.PracticeProvider",
            "OPTIONS": {"tokens_per_second": 1_000_000},
        }
    }
    from nyxcore import llm

    llm.reset_providers()
    told = json.loads(run("--analyzers", "testing", "--model", "practice", "--json"))
    llm.reset_providers()
    assert told["answers"] == "asked now: practice"
    assert (told["gaps"], told["rejected"]) == ([], 0)
    assert told["claims"] >= 10


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--analyzers", "nonsense"], "There is no analyzer nonsense"),
        (["--corpus", "docs"], r"There is no key\.yaml"),
        (["--transcript", "/no/such/file", "--analyzers", "errors"], "cannot be read"),
    ],
)
def test_a_wrong_argument_is_told(arguments, said):
    with pytest.raises(CommandError, match=said):
        run(*arguments)
