"""What an analysis found, what was said of it, and what became of it over runs."""

from __future__ import annotations

from typing import Any

import pgtrigger
from django.conf import settings
from django.db import models

from analysis.models.runs import AnalysisRun
from analysis.models.units import Unit
from analysis.querysets import FindingQuerySet, OfOwnerQuerySet, OwnedQuerySet

User = settings.AUTH_USER_MODEL


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
