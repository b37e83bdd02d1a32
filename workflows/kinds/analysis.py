"""An analysis of a repository as a step: begun here, run by its own workers, its result handed to later steps."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from nyxcore.states import Reason
from workflows.fields import Line, ModelId
from workflows.kinds.base import Fill, KindConfig, Outcome, StepError, StepInput, StepKind, sizes

LOOK_EVERY = 10.0  # s
DOCUMENTS = "\n\n<!-- documents -->\n\n"  # parts findings and documents in the output


class AnalysisConfig(KindConfig):
    source: Annotated[Line, Field(min_length=1, max_length=2_000)] = Field(
        description="Git address that begins with https://; may name inputs."
    )
    ref: Annotated[Line, Field(max_length=255)] = Field(
        default="", description="Branch, tag or commit; may name inputs. Empty: the default branch."
    )
    sub_path: Annotated[Line, Field(max_length=1_000)] = Field(
        default="", description="Read only what lies below this folder; may name inputs."
    )
    analyzers: list[str] = Field(default_factory=list, description="Names of analyzers. Empty: all.")
    documents: list[str] = Field(
        default_factory=list, description="Slugs of documents to write. Empty: none."
    )
    exclude: list[str] = Field(default_factory=list, description="Patterns as in .gitignore.")
    model: ModelId = Field(default="", description="Model id. Empty: the installation's default model.")
    budget: Annotated[float, Field(gt=0, le=100_000)] | None = Field(
        default=None, description="US dollars that the analysis may cost. Empty: no limit."
    )
    confirm: bool = Field(
        default=False, description="Whether somebody confirms coverage and estimate before money is spent."
    )


class AnalysisKind(StepKind[AnalysisConfig]):
    name = "analysis"
    label = "Code analysis"
    description = "Analyses a repository and hands findings and documents to later steps."
    paid = False  # its calls are the analysis's, which has what is left of the run's budget
    for_owner = True
    Config = AnalysisConfig

    def problems(self, config: AnalysisConfig) -> list[tuple[str, str]]:
        from analysis.services import Refused, check_options

        try:
            check_options(_options(config))
        except Refused as error:
            return [("documents" if "document" in str(error) else "analyzers", str(error))]
        return []

    def templates(self, config: AnalysisConfig) -> dict[str, str]:
        return {"source": config.source, "ref": config.ref, "sub_path": config.sub_path}

    def prepare(
        self,
        config: AnalysisConfig,
        fill: Fill,
        *,
        default_model: str = "",
        max_tokens: int | None = None,
        earlier_text: str = "",
    ) -> dict[str, Any]:
        filled = {place: fill(place, template).strip() for place, template in self.templates(config).items()}
        return {**filled, "sizes": sizes(fill, **filled)}

    def run(self, step: StepInput[AnalysisConfig]) -> Outcome:
        from analysis import services

        asked, config = step.request, step.config
        try:
            pk = services.begin_for(
                step.dom_id,
                owner=step.owner,
                location=asked["source"],
                ref=asked["ref"],
                sub_path=asked["sub_path"],
                options=_options(config),
                budget=_budget(config) if step.budget is None else step.budget,
            )
        except services.Refused as error:
            raise StepError(str(error), Reason.BAD_REQUEST) from None
        return Outcome("waiting", Reason.ANALYSIS, look_again=LOOK_EVERY, keep={"analysis": pk})

    def look(self, request: dict[str, Any], waited: float) -> float | Outcome | None:
        from analysis import services

        found = services.look_at(request["analysis"])
        if found.failed:
            raise StepError(found.failed, Reason.SOURCE)
        if not found.done:
            return LOOK_EVERY
        parts = [part.replace(DOCUMENTS.strip(), "") for part in (found.findings, found.documents) if part]
        return Outcome("completed", text=DOCUMENTS.join(parts))  # a quote from the source may hold the mark

    def abandon(self, request: dict[str, Any]) -> None:
        from analysis import services

        if "analysis" in request:
            services.abandon(request["analysis"])

    def spent(self, request: Mapping[str, Any]) -> tuple[Decimal, bool] | None:
        from analysis import services

        return services.spent(request["analysis"]) if "analysis" in request else None

    def offers(self, output: str, request: Mapping[str, Any]) -> dict[str, str]:
        from analysis import services

        findings, _, documents = output.partition(DOCUMENTS)
        tree, guide = services.repository(int(request.get("analysis") or 0))
        return {"findings": findings, "documents": documents, "tree": tree, "guide": guide}


def _budget(config: AnalysisConfig) -> Decimal | None:
    return Decimal(str(config.budget)) if config.budget else None


def _options(config: AnalysisConfig) -> Any:
    from analysis.plain import Options

    return Options(
        exclude=tuple(config.exclude),
        analyzers=tuple(config.analyzers),
        documents=tuple(config.documents),
        model=config.model,
        confirm=config.confirm,
    )
