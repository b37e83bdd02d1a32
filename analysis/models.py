"""An analysis, what it read, asked and found. What must always hold is enforced by the database here.

The composite key from Unit to AnalysisRun (run, run_phase) and storage settings stand in the second migration.
"""

from __future__ import annotations

from typing import Any, ClassVar

import pgtrigger
from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.urls import reverse

from analysis.querysets import (
    AttemptQuerySet,
    FindingQuerySet,
    OfOwnerQuerySet,
    OwnedQuerySet,
    RunQuerySet,
)
from nyxcore.models import (
    Hint,
    PaidAttempt,
    Run,
    StatefulModel,
    answer_constraint,
    history_triggers,
    lease_constraints,
    live_version,
    state_constraints,
)
from nyxcore.states import (
    ANALYSIS_EDGES,
    ANALYSIS_PERSON_EDGES,
    ATTEMPT_EDGES,
    UNIT_EDGES,
    UNIT_PERSON_EDGES,
    Edges,
    Status,
    edge_trigger,
)

S = Status
User = settings.AUTH_USER_MODEL


class SourceKind(models.TextChoices):
    """Where a source comes from."""

    GIT = "git", "Git address"
    UPLOAD = "upload", "Uploaded archive"
    PATH = "path", "Folder on the server"


class Upload(models.Model):
    """An archive that a person handed in; kept until its analysis has been confirmed, then gone."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=255)
    data = models.BinaryField()
    size = models.PositiveIntegerField()
    created_at = models.DateTimeField(db_default=Now())

    objects = OfOwnerQuerySet["Upload"].as_manager()

    def __str__(self) -> str:
        return self.name


class AnalysisRun(Run):
    """One look at one source."""

    edges: ClassVar[Edges] = ANALYSIS_EDGES

    owner = models.ForeignKey(User, on_delete=models.PROTECT, related_name="analyses")
    name = models.CharField(max_length=200)
    source_kind = models.CharField(max_length=6, choices=SourceKind)
    location = models.TextField()  # address, name of the archive, or folder
    ref = models.CharField(max_length=255, blank=True, default="")  # branch or tag; "": the default one
    sub_path = models.CharField(max_length=1000, blank=True, default="")
    source_key = models.CharField(
        max_length=64
    )  # the same for all runs on one source; see services.source_key
    upload = models.ForeignKey(Upload, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    commit = models.CharField(max_length=64, blank=True, default="")
    tree = models.CharField(max_length=64, blank=True, default="")
    options: models.JSONField[Any, Any] = models.JSONField(default=dict)  # plain.Options
    budget = models.DecimalField(max_digits=12, decimal_places=4, null=True, blank=True)  # USD
    confirmed = models.BooleanField(default=False)  # somebody has seen coverage and estimate
    marker = models.CharField(max_length=32, blank=True, default="")  # fences what comes from the source
    coverage: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # files, read, tokens, skipped, languages
    estimate: models.JSONField[Any, Any] = models.JSONField(default=dict)  # plain.Estimate
    overview: models.JSONField[Any, Any] = models.JSONField(default=dict)  # plain.Overview
    overview_key = models.CharField(max_length=64, blank=True, default="")  # changes with a major change only
    gaps: models.JSONField[Any, Any] = models.JSONField(default=list)  # see engine.gaps
    origin = models.CharField(max_length=60, blank=True, default="")  # the step that has begun it
    summary: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # of the report: numbers per rule, ...
    previous = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="followers"
    )  # the last one on this source that was completed before
    created_at = models.DateTimeField(db_default=Now())
    phase = models.GeneratedField(
        expression=models.Case(
            models.When(
                status__in=["pending", "scanning", "analyzing", "generating", "waiting", "paused"],
                then=models.Value("open"),
            ),
            models.When(status="completed", then=models.Value("completed")),
            default=models.Value("closed"),
        ),
        output_field=models.CharField(max_length=9),
        db_persist=True,
    )

    objects = RunQuerySet.as_manager()

    class Meta:
        ordering = ["-id"]
        constraints = [
            *state_constraints(
                "analysis",
                ANALYSIS_EDGES,
                started=[S.SCANNING, S.ANALYZING, S.GENERATING, S.WAITING, S.PAUSED, S.COMPLETED],
            ),
            models.UniqueConstraint(fields=["id", "phase"], name="analysis_id_phase"),
            models.CheckConstraint(
                name="analysis_budget_positive",
                condition=models.Q(budget__isnull=True) | models.Q(budget__gt=0),
            ),
        ]
        indexes = [
            models.Index(fields=["owner", "-id"], name="analysis_by_owner"),
            models.Index(fields=["owner", "source_key", "-id"], name="analysis_by_source"),
            models.Index(
                fields=["id"],
                name="analysis_active",
                condition=models.Q(status__in=["scanning", "analyzing", "generating", "waiting", "paused"]),
            ),
        ]
        triggers = [edge_trigger(ANALYSIS_EDGES, ANALYSIS_PERSON_EDGES)]

    def __str__(self) -> str:
        return self.name

    def get_absolute_url(self) -> str:
        return reverse("analysis:detail", args=[self.pk])

    @property
    def dom_id(self) -> str:
        return f"analysis-{self.pk}"

    @property
    def channel(self) -> str:
        return f"analysis-{self.pk}"

    @classmethod
    def hint(cls, pk: int, owner: int, version: int, status: Status) -> Hint:
        return Hint(f"analysis-{pk}", f"analysis-{pk}", version, status)


class SourceFile(models.Model):
    """One line of the manifest. `content` is there only while it is needed (see engine.forget_contents)."""

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="files", db_index=False)
    path = models.TextField()  # odd bytes are spelled out, see select
    blob = models.CharField(max_length=64)
    size = models.BigIntegerField()
    language = models.CharField(max_length=40, blank=True, default="")
    encoding = models.CharField(max_length=40, blank=True, default="")
    lines = models.PositiveIntegerField(default=0)
    tokens = models.PositiveIntegerField(default=0)
    read = models.BooleanField(default=True)
    reason = models.CharField(max_length=40, blank=True, default="")  # of select.SKIP_REASONS
    detail = models.TextField(blank=True, default="")
    symbols: models.JSONField[Any, Any] = models.JSONField(default=list)
    imports: models.JSONField[Any, Any] = models.JSONField(default=list)
    grammar = models.BooleanField(default=False)
    content = models.TextField(null=True)  # noqa: DJ001 - none is not the same as an empty file

    objects = OwnedQuerySet["SourceFile"].as_manager()

    class Meta:
        ordering = ["run", "path"]
        constraints = [models.UniqueConstraint(fields=["run", "path"], name="file_path")]
        indexes = [
            # The runs whose texts are still there.
            models.Index(fields=["run"], name="file_content", condition=models.Q(content__isnull=False))
        ]

    def __str__(self) -> str:
        return self.path


class UnitKind(models.TextChoices):
    """The kinds of work of a run, in their order."""

    SOURCE = "source", "Source"
    OVERVIEW = "overview", "Overview"
    CHUNK = "chunk", "Chunk"
    MERGE = "merge", "Merge and compare"
    VERIFY = "verify", "Second look"
    DOCUMENT = "document", "Document"
    REPORT = "report", "Report"


PAID = (UnitKind.OVERVIEW, UnitKind.CHUNK, UnitKind.VERIFY, UnitKind.DOCUMENT)


class Unit(StatefulModel):
    """One piece of work: what it looks at, and what came of it."""

    edges: ClassVar[Edges] = UNIT_EDGES
    channel_column: ClassVar[str] = "run_id"

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="units", db_index=False)
    # Owned by the database: follows AnalysisRun.phase by the composite key. Never written by us.
    run_phase = models.CharField(max_length=9, db_default="open", editable=False)
    kind = models.CharField(max_length=10, choices=UnitKind)
    key = models.CharField(max_length=64)  # of what it is asked: the same key has the same answer
    analyzer = models.CharField(max_length=40, blank=True, default="")  # or the slug of a document
    title = models.CharField(max_length=300, blank=True, default="")
    position = models.PositiveIntegerField(default=0)
    chunk: models.JSONField[Any, Any] = models.JSONField(
        default=dict
    )  # plain.Chunk, finding ids, a page's plan
    tokens = models.PositiveIntegerField(default=0)  # estimated, of what it looks at
    parent = models.ForeignKey(
        "self", on_delete=models.CASCADE, null=True, blank=True, related_name="parts"
    )  # the unit that was split, or the plan of a page
    reused_from = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    reused = models.BooleanField(default=False)  # its result came from an earlier run, and cost nothing
    result: models.JSONField[Any, Any] = models.JSONField(default=dict)  # the answer, parsed

    objects = OwnedQuerySet["Unit"].as_manager()

    class Meta:
        ordering = ["run", "position", "id"]
        constraints = [
            *state_constraints("unit", UNIT_EDGES, started=[S.RUNNING, S.COMPLETED]),
            models.UniqueConstraint(fields=["run", "kind", "key"], name="unit_key"),
            # A completed run has no open unit; a failed or cancelled one has none at work.
            models.CheckConstraint(
                name="unit_of_completed_is_ended",
                condition=~models.Q(run_phase="completed")
                | models.Q(status__in=[S.COMPLETED, S.SKIPPED, S.FAILED]),
            ),
            models.CheckConstraint(
                name="unit_of_closed_is_idle",
                condition=~models.Q(run_phase="closed") | ~models.Q(status=S.RUNNING),
            ),
        ]
        indexes = [
            # Looked up for each unit of a new run: was it answered before?
            models.Index(
                fields=["key"], name="unit_answered", condition=models.Q(status__in=["completed", "skipped"])
            ),
            # What the sweep looks at, however many units have ended or wait for their turn.
            models.Index(fields=["run"], name="unit_at_work", condition=models.Q(status=S.RUNNING)),
            # Asked at the end of each unit: do others of its kind wait to be opened?
            models.Index(fields=["run", "kind"], name="unit_in_line", condition=models.Q(status=S.PENDING)),
        ]
        triggers = [edge_trigger(UNIT_EDGES, UNIT_PERSON_EDGES)]

    def __str__(self) -> str:
        return self.title or f"{self.kind} {self.pk}"

    @property
    def dom_id(self) -> str:
        return f"unit-{self.pk}"

    @property
    def channel(self) -> str:
        return f"analysis-{self.run_id}"

    @classmethod
    def hint(cls, pk: int, owner: int, version: int, status: Status) -> Hint:
        return Hint(f"unit-{pk}", f"analysis-{owner}", live_version(version), status)


SERVED_FOR = """
                    NEW.served_for := coalesce((SELECT r.owner_id FROM analysis_analysisrun r
                        JOIN analysis_unit u ON u.run_id = r.id WHERE u.id = NEW.unit_id), 0);"""


class UnitAttempt(PaidAttempt):
    """One try at a unit."""

    edges: ClassVar[Edges] = ATTEMPT_EDGES
    channel_column: ClassVar[str] = "unit_id"

    unit = models.ForeignKey(Unit, on_delete=models.CASCADE, related_name="attempts", db_index=False)

    objects = AttemptQuerySet["UnitAttempt"].as_manager()

    class Meta:
        ordering = ["unit", "number"]
        constraints = [
            *state_constraints(
                "unit_attempt", ATTEMPT_EDGES, started=[S.RUNNING, S.WAITING, S.COMPLETED, S.CUT_OFF]
            ),
            *lease_constraints("unit_attempt", ATTEMPT_EDGES),
            models.UniqueConstraint(fields=["unit", "number"], name="unit_attempt_number"),
            models.UniqueConstraint(
                fields=["unit"],
                name="unit_attempt_one_open",
                condition=models.Q(status__in=[S.PENDING, S.RUNNING, S.WAITING]),
            ),
            answer_constraint(
                "unit_attempt_complete_answer",
                models.Q(kind__in=["overview", "chunk", "verify", "document"], status=S.COMPLETED),
            ),
        ]
        indexes = [
            # One for each status that somebody looks for; not on due_at: every heartbeat would rewrite them all.
            models.Index(
                fields=["served_for", "queued_at", "id"],
                name="unit_attempt_pending",
                condition=models.Q(status=S.PENDING),
            ),
            models.Index(
                fields=["served_for"], name="unit_attempt_running", condition=models.Q(status=S.RUNNING)
            ),
            models.Index(fields=["id"], name="unit_attempt_waiting", condition=models.Q(status=S.WAITING)),
        ]
        triggers = [
            edge_trigger(ATTEMPT_EDGES),
            *history_triggers("analysis_unitattempt", "unit", "unit_id", also=SERVED_FOR),
        ]

    def __str__(self) -> str:
        return f"{self.unit_id} #{self.number}"


class TrackedState(models.TextChoices):
    """How a finding stands against the run before."""

    NEW = "new", "New"
    UNCHANGED = "unchanged", "Unchanged"
    MOVED = "moved", "Moved"
    CHANGED = "changed", "Code changed"
    MISSED = "missed", "Not found this time"
    GONE = "gone", "Gone"
    REOPENED = "reopened", "Reopened"
    NOT_CHECKED = "not_checked", "Not checked"


class Triage(models.TextChoices):
    """What a person said of a tracked finding."""

    OPEN = "", "Open"
    ACCEPTED = "accepted", "Accepted"
    DISMISSED = "dismissed", "Dismissed"


class Dismissal(models.TextChoices):
    """Why it was dismissed."""

    FALSE_POSITIVE = "false_positive", "False positive"
    WONT_FIX = "wont_fix", "Will not be fixed"
    LATER = "later", "Later"


class TrackedFinding(models.Model):
    """One problem of one source over all its runs. What a person said of it belongs here, so it survives runs."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    source_key = models.CharField(max_length=64)
    fingerprint = models.CharField(max_length=64)
    rule_id = models.CharField(max_length=100)
    analyzer = models.CharField(max_length=40)
    title = models.CharField(max_length=300)
    severity = models.CharField(max_length=8)
    path = models.TextField()
    symbol = models.TextField(blank=True, default="")
    excerpt = models.TextField(blank=True, default="")
    start_line = models.PositiveIntegerField(default=0)
    blob = models.CharField(max_length=64, blank=True, default="")
    state = models.CharField(max_length=11, choices=TrackedState, default=TrackedState.NEW)
    misses = models.PositiveIntegerField(default=0)  # runs in a row that looked and did not find it
    first_seen = models.ForeignKey(AnalysisRun, on_delete=models.SET_NULL, null=True, related_name="+")
    last_seen = models.ForeignKey(AnalysisRun, on_delete=models.SET_NULL, null=True, related_name="+")
    triage = models.CharField(max_length=9, choices=Triage, blank=True, default=Triage.OPEN)
    dismissal = models.CharField(max_length=14, choices=Dismissal, blank=True, default="")
    note = models.TextField(blank=True, default="")
    decided_by = models.ForeignKey(User, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    decided_at = models.DateTimeField(null=True, blank=True)

    objects = OfOwnerQuerySet["TrackedFinding"].as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "source_key", "fingerprint"],
                name="tracked_once",
                deferrable=models.Deferrable.DEFERRED,  # two may change places
            ),
            models.CheckConstraint(
                name="tracked_dismissal_has_reason",
                condition=(models.Q(triage="dismissed") & ~models.Q(dismissal=""))
                | (~models.Q(triage="dismissed") & models.Q(dismissal="")),
            ),
        ]

    def __str__(self) -> str:
        return self.title


class Finding(models.Model):
    """A claim whose quote was found in the file. Never changed once written (a trigger sees to it), but for the two
    links that the merge sets once."""

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="findings", db_index=False)
    unit = models.ForeignKey(Unit, on_delete=models.CASCADE, related_name="findings")
    analyzer = models.CharField(max_length=40)
    rule_id = models.CharField(max_length=100)
    title = models.CharField(max_length=300)
    message = models.TextField()
    severity = models.CharField(max_length=8)
    level = models.CharField(max_length=7)
    confidence = models.FloatField(default=0.5)
    suggestion = models.TextField(blank=True, default="")
    path = models.TextField()
    blob = models.CharField(max_length=64, blank=True, default="")
    language = models.CharField(max_length=40, blank=True, default="")
    start_line = models.PositiveIntegerField()
    end_line = models.PositiveIntegerField()
    match = models.CharField(max_length=11)  # exact, approximate
    score = models.FloatField(default=1.0)
    excerpt = models.TextField()  # as quoted
    context = models.TextField(blank=True, default="")  # the lines around it, as they stand in the file
    context_line = models.PositiveIntegerField(default=1)  # number of the first of them
    symbol = models.TextField(blank=True, default="")
    fingerprint = models.CharField(max_length=64)
    evidence: models.JSONField[Any, Any] = models.JSONField(default=list)  # [{path, excerpt, start_line}]
    locations: models.JSONField[Any, Any] = models.JSONField(
        default=list
    )  # [[path, start, end]] of the same cause
    tracked = models.ForeignKey(
        TrackedFinding, on_delete=models.SET_NULL, null=True, blank=True, related_name="findings"
    )
    kept_as = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="merged"
    )  # the finding of this run that stands for it too

    objects = FindingQuerySet.as_manager()

    class Meta:
        ordering = ["run", "path", "start_line", "id"]
        indexes = [models.Index(fields=["run", "path", "start_line"], name="finding_place")]
        triggers = [
            pgtrigger.Trigger(
                name="fixed",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    IF (to_jsonb(NEW) - 'tracked_id' - 'kept_as_id') IS DISTINCT FROM
                       (to_jsonb(OLD) - 'tracked_id' - 'kept_as_id') THEN
                        RAISE EXCEPTION 'finding % is history: it does not change', OLD.id
                            USING ERRCODE = 'check_violation';
                    END IF;
                    RETURN NEW;
                """,
            )
        ]

    def __str__(self) -> str:
        return self.title


class RejectedFinding(models.Model):
    """A claim that was not taken over: its quote stands nowhere, or its rule is none of the analyzer's."""

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="rejected")
    unit = models.ForeignKey(Unit, on_delete=models.CASCADE, related_name="rejected")
    analyzer = models.CharField(max_length=40)
    rule_id = models.CharField(max_length=100)
    reason = models.CharField(max_length=20)  # of plain.Located.rejected
    title = models.CharField(max_length=300)
    path = models.TextField()
    excerpt = models.TextField(blank=True, default="")

    objects = OwnedQuerySet["RejectedFinding"].as_manager()

    def __str__(self) -> str:
        return f"{self.rule_id}: {self.reason}"


class Verdict(models.Model):
    """What the second look says of one finding."""

    finding = models.OneToOneField(Finding, on_delete=models.CASCADE, related_name="verdict")
    unit = models.ForeignKey(Unit, on_delete=models.CASCADE, related_name="verdicts")
    verdict = models.CharField(max_length=9)  # confirmed, unsure, refuted
    reason = models.TextField()

    objects = OwnedQuerySet["Verdict"].as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                name="verdict_known",
                condition=models.Q(verdict__in=["confirmed", "unsure", "refuted"]),
            )
        ]

    def __str__(self) -> str:
        return self.verdict


class FindingChange(models.Model):
    """How one tracked finding stood in one run; what the page of the run lists."""

    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="changes", db_index=False)
    tracked = models.ForeignKey(TrackedFinding, on_delete=models.CASCADE, related_name="changes")
    finding = models.ForeignKey(
        Finding, on_delete=models.CASCADE, null=True, blank=True, related_name="changes"
    )  # none where it is gone or not checked
    state = models.CharField(max_length=11, choices=TrackedState)

    objects = OwnedQuerySet["FindingChange"].as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["run", "tracked"], name="change_once")]

    def __str__(self) -> str:
        return f"{self.tracked_id}: {self.state}"


class Document(models.Model):
    """One version of a document. The newest complete one is the current one; a failed generation replaces nothing."""

    owner = models.ForeignKey(User, on_delete=models.CASCADE, related_name="+", db_index=False)
    source_key = models.CharField(max_length=64)
    run = models.ForeignKey(AnalysisRun, on_delete=models.CASCADE, related_name="documents")
    slug = models.SlugField(max_length=60, db_index=False)
    title = models.CharField(max_length=200)
    version = models.PositiveIntegerField()
    complete = models.BooleanField(default=False)  # all its pages are written
    created_at = models.DateTimeField(db_default=Now())

    objects = OfOwnerQuerySet["Document"].as_manager()

    class Meta:
        ordering = ["slug", "-version"]
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "source_key", "slug", "version"], name="document_version"
            )
        ]

    def __str__(self) -> str:
        return f"{self.title} (version {self.version})"


class DocumentPage(models.Model):
    """One page: its plan, and its text once it is written."""

    document = models.ForeignKey(Document, on_delete=models.CASCADE, related_name="pages", db_index=False)
    position = models.PositiveIntegerField()
    slug = models.SlugField(max_length=100, db_index=False)
    title = models.CharField(max_length=200)
    purpose = models.TextField(blank=True, default="")
    paths: models.JSONField[Any, Any] = models.JSONField(default=list)
    unit = models.ForeignKey(Unit, on_delete=models.SET_NULL, null=True, related_name="+")
    text = models.TextField(blank=True, default="")  # Markdown; "" until it is written
    citations: models.JSONField[Any, Any] = models.JSONField(default=list)  # of plain.Citation
    blobs: models.JSONField[Any, Any] = models.JSONField(default=dict)  # path: blob that it rests on

    objects = OwnedQuerySet["DocumentPage"].as_manager()

    class Meta:
        ordering = ["document", "position"]
        constraints = [models.UniqueConstraint(fields=["document", "slug"], name="page_slug")]

    def __str__(self) -> str:
        return self.title
