"""How far an analyzer, a rule or a model can be trusted: rejects and refutations, counted from plain rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

FEW = 5  # claims, below which a rate says little


@dataclass(frozen=True)
class Claim:
    """One claim of an analyzer and what became of it."""

    analyzer: str
    rule_id: str
    model: str = ""
    match: str = ""  # exact, approximate; "" where it was rejected
    rejected: str = ""  # of plain.Located
    verdict: str = ""  # confirmed, unsure, refuted; "" where there was no second look
    dismissed: str = ""  # false_positive, wont_fix, later


@dataclass(frozen=True)
class Quality:
    """The counts of one group of claims."""

    name: str
    claims: int = 0
    approximate: int = 0
    rejected: int = 0
    reasons: Counter[str] = field(default_factory=Counter)  # of rejects
    verdicts: Counter[str] = field(default_factory=Counter)
    false_positives: int = 0  # by people

    @property
    def reject_rate(self) -> float | None:
        """The share of claims that quote nothing real; None where there are none."""
        return self.rejected / self.claims if self.claims else None

    @property
    def refute_rate(self) -> float | None:
        """The share of verified claims that did not survive the second look."""
        looked = sum(self.verdicts.values())
        return self.verdicts["refuted"] / looked if looked else None

    @property
    def is_sparse(self) -> bool:
        return self.claims < FEW


def by_rule(claims: Iterable[Claim]) -> list[Quality]:
    """The counts of each rule, the worst first."""
    return grouped(claims, lambda claim: claim.rule_id)


def by_analyzer_and_model(claims: Iterable[Claim]) -> list[Quality]:
    return grouped(
        claims, lambda claim: f"{claim.analyzer} · {claim.model}" if claim.model else claim.analyzer
    )


def grouped(claims: Iterable[Claim], key: Callable[[Claim], str]) -> list[Quality]:
    """The counts of each group: those with the most rejected and refuted claims first."""
    groups: dict[str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(key(claim), []).append(claim)
    counted = [_counted(name, group) for name, group in groups.items()]
    return sorted(counted, key=lambda one: (-(one.rejected + one.verdicts["refuted"]), -one.claims, one.name))


def _counted(name: str, claims: list[Claim]) -> Quality:
    reasons = Counter(claim.rejected for claim in claims if claim.rejected)
    return Quality(
        name=name,
        claims=len(claims),
        approximate=sum(claim.match == "approximate" for claim in claims),
        rejected=sum(reasons.values()),
        reasons=reasons,
        verdicts=Counter(claim.verdict for claim in claims if claim.verdict),
        false_positives=sum(claim.dismissed == "false_positive" for claim in claims),
    )
