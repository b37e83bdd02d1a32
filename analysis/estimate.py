"""What a run will take, told before any money is spent: calls for each phase, and a range of what they cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis.plain import Chunk, Estimate, FileFacts
from nyxcore.llm import models
from nyxcore.llm.base import Usage
from nyxcore.words import counted

SHARED_TOKENS = 6_000  # overview and map, which all calls of a phase have alike
RULES_TOKENS = 1_500  # system prompt, rules, schema
OVERVIEW_TOKENS = 14_000  # map, guidance, manifests
VERIFY_TOKENS = 3_500  # the excerpt with 60 lines around it, and what it calls
PAGE_TOKENS = 24_000  # the files that one page of a document rests on
PAGES = 6  # of one document, with the plan
ANSWER_LIMIT = 8_000


@dataclass(frozen=True)
class Case:
    """One end of the range, or its middle."""

    output: float  # of a chunk call, as a share of its input
    findings: float  # of one chunk call: each is verified
    thinking: float  # times the output
    cached: bool  # whether the shared part is read from the vendor's cache
    page: int  # tokens of one page


LOW = Case(output=0.05, findings=0.3, thinking=1.0, cached=True, page=1_500)
EXPECTED = Case(output=0.10, findings=1.0, thinking=1.5, cached=True, page=2_500)
HIGH = Case(output=0.15, findings=4.0, thinking=3.0, cached=False, page=4_000)


def estimate(
    files: Sequence[FileFacts],
    chunks: Sequence[Chunk],
    *,
    model: str,
    analyzers: int,
    verify: bool = True,
    verify_model: str = "",
    documents: int = 0,
    reused: int = 0,
    overview: bool = True,
) -> Estimate:
    """Return calls and costs of a run. `reused` chunk calls have their answers already; None is an unknown price."""
    read = [facts for facts in files if facts.read]
    calls = max(len(chunks) * analyzers - reused, 0)
    plan = Plan(model, verify_model or model, chunks, calls, verify, documents, overview and bool(chunks))
    costs = [plan.cost(case) for case in (LOW, EXPECTED, HIGH)]
    return Estimate(
        files=len(read),
        tokens=sum(facts.tokens for facts in read),
        calls=plan.calls(EXPECTED),
        reused=reused,
        low=costs[0],
        expected=costs[1],
        high=costs[2],
        basis=_basis(model, plan, costs[1]),
    )


@dataclass(frozen=True)
class Plan:
    """What will be asked of which model."""

    model: str
    verify_model: str
    chunks: Sequence[Chunk]
    chunk_calls: int
    verify: bool
    documents: int
    overview: bool

    def calls(self, case: Case) -> dict[str, int]:
        """Return the calls of each phase; phases without any are left out."""
        counts = {
            "overview": int(self.overview),
            "chunks": self.chunk_calls,
            "verify": round(self.chunk_calls * case.findings) if self.verify else 0,
            "documents": self.documents * (PAGES + 1),
        }
        return {phase: count for phase, count in counts.items() if count}

    def cost(self, case: Case) -> float | None:
        """Return the sum over all calls, or None where a price is unknown."""
        calls = self.calls(case)
        parts = [
            self._call(self.model, calls.get("overview", 0), OVERVIEW_TOKENS, 0, 1_500, case),
            self._chunk_calls(case),
            self._call(self.verify_model, calls.get("verify", 0), VERIFY_TOKENS, RULES_TOKENS, 300, case),
            self._call(self.model, calls.get("documents", 0), PAGE_TOKENS, SHARED_TOKENS, case.page, case),
        ]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None

    def _chunk_calls(self, case: Case) -> float | None:
        """Chunks differ in size, and prices may have steps, so each is counted by itself."""
        if not self.chunks or not self.chunk_calls:
            return 0.0
        share = self.chunk_calls / len(self.chunks)
        total = 0.0
        for chunk in self.chunks:
            answer = min(int(chunk.tokens * case.output), ANSWER_LIMIT)
            one = self._call(self.model, 1, chunk.tokens + RULES_TOKENS, SHARED_TOKENS, answer, case)
            if one is None:
                return None
            total += one * share
        return total

    def _call(self, model: str, count: int, own: int, shared: int, answer: int, case: Case) -> float | None:
        """Return the price of `count` such calls."""
        if not count:
            return 0.0
        usage = Usage(
            input_tokens=own if case.cached else own + shared,
            cache_read_tokens=shared if case.cached else 0,
            output_tokens=int(answer * (1 + case.thinking)),
        )
        price = models.cost(model, usage)
        return None if price is None else float(price) * count


def _basis(model: str, plan: Plan, cost: float | None) -> str:
    if cost is None:
        return f"The price of {model} is not known, so only tokens and calls are told."
    tokens = sum(chunk.tokens for chunk in plan.chunks)
    chunks = f"{counted(len(plan.chunks), 'chunk')} of together {counted(tokens, 'token')}"
    return (
        f"{chunks}, answers of {LOW.output:.0%} to {HIGH.output:.0%} of that with thinking on top, "
        f"findings to verify: {EXPECTED.findings:g} per call, at list prices of {model}."
    )
