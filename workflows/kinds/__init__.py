"""The step kinds by name. To add one see CONTRIBUTING.md; each is described in docs/step-kinds.md."""

from __future__ import annotations

from typing import Any

from workflows.kinds.analysis import AnalysisKind
from workflows.kinds.base import StepKind
from workflows.kinds.gate import GateKind
from workflows.kinds.llm import LLMKind

KINDS: dict[str, StepKind[Any]] = {kind.name: kind for kind in (LLMKind(), GateKind(), AnalysisKind())}
