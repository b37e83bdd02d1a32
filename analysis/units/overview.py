"""One call that looks at the repository as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from analysis import overview, plan
from analysis.models import AnalysisRun, Unit, UnitKind
from analysis.plain import Ask, FileFacts, Overview
from analysis.plan import Spec
from analysis.rows import as_json, manifest, read_files
from analysis.units.base import Digest, Work
from analysis.units.chunk import plan_chunks
from analysis.units.document import plan_documents

MAP_TOKENS = 10_000
# Files that say what a repository is, the most telling first.
TELLING = (
    "readme",
    "agents.md",
    "claude.md",
    "contributing",
    "architecture",
    "pyproject.toml",
    "package.json",
    "go.mod",
    "cargo.toml",
    "pom.xml",
    "build.gradle",
    "setup.cfg",
    "compose.y",
    "docker-compose.y",
    "dockerfile",
    "makefile",
)


class OverviewWork(Work):
    paid = True
    room = overview.MAX_TOKENS

    def ask(self, run: AnalysisRun, unit: Unit) -> Ask:
        files = manifest(run)
        chosen = [file.path for file in telling(files)]
        texts = {path: text for path, (_facts, text) in read_files(run, chosen).items()}
        return overview.ask(
            source_map(run),
            {path: texts[path] for path in chosen if path in texts},
            run.marker,
        )

    def read(self, run: AnalysisRun, unit: Unit, text: str) -> Digest:
        return Digest(as_json(overview.parse(text)))

    def apply(self, run: AnalysisRun, unit: Unit, digest: Digest) -> None:
        use(run, digest.result)

    def failed(self, run: AnalysisRun, unit: Unit) -> None:
        use(run, as_json(Overview()))


def source_map(run: AnalysisRun) -> str:
    """The tree of the source with the names that matter most, as the source unit has drawn it."""
    return str(Unit.objects.get(run=run, kind=UnitKind.SOURCE).result["map"])


def use(run: AnalysisRun, found: dict[str, object]) -> None:
    """Keep the overview with the run, and plan what depends on it: chunks and documents."""
    run.overview = found
    run.save(update_fields=["overview"])
    if Unit.objects.filter(run=run, kind=UnitKind.CHUNK).exists():
        return  # it was a gap that has been retried: the chunks have been looked at without it
    plan_chunks(run)
    plan_documents(run)


def telling(files: Iterable[FileFacts]) -> list[FileFacts]:
    """The files that say what the repository is: README, guides, manifests; those at the top come first."""
    ranked = []
    for file in files:
        name = PurePosixPath(file.path).name.lower()
        rank = next((at for at, begin in enumerate(TELLING) if name.startswith(begin)), None)
        if file.read and rank is not None and file.path.count("/") <= 1:
            ranked.append((file.path.count("/"), rank, file.path, file))
    return [file for *_rank, file in sorted(ranked, key=lambda one: one[:3])[: overview.MOST_FILES]]


def spec(run: AnalysisRun, files: Sequence[FileFacts]) -> Spec:
    """The unit. Its key changes with what tells about the repository and with its folders, not with each file."""
    told = [(file.path, file.blob) for file in telling(files)]
    folders = sorted({file.path.split("/")[0] for file in files if "/" in file.path})
    languages = sorted({file.language for file in files if file.read})
    tokens = sum(file.tokens for file in telling(files)) + MAP_TOKENS
    return Spec(
        kind=UnitKind.OVERVIEW,
        key=plan.key(run, UnitKind.OVERVIEW, overview.VERSION, told, folders, languages),
        title="What the repository is",
        tokens=tokens + plan.AROUND[UnitKind.OVERVIEW],
    )
