"""A repository of 5,000 files, made here, to a complete manifest with symbols: time, and memory at its highest."""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FILES = 5_000
WORDS = [
    a + b
    for a in ("load", "save", "find", "make", "send", "open")
    for b in ("_order", "_user", "_page", "_row")
]


def python(rng: random.Random, n: int) -> str:
    """One module that imports others and calls into them."""
    lines = ["from __future__ import annotations", ""]
    lines += [
        f"from area{k % 50}.part{k % 10}.module{k} import {rng.choice(WORDS)}_{k}"
        for k in rng.sample(range(n + 1), min(n, 4))
    ]
    lines += ["", f"class Thing{n}:", '    """What it is."""', ""]
    for word in rng.sample(WORDS, 8):
        lines += [
            f"    def {word}(self, value: int, other: str = '') -> int:",
            f'        """Return what {word} returns."""',
            "        total = 0",
            "        for number in range(value):",
            f"            total += self.{rng.choice(WORDS)}(number, other)",
            "        if total > 100:",
            "            raise ValueError(other)",
            "        return total",
            "",
        ]
    lines += [f"def {rng.choice(WORDS)}_{n}(value: int) -> Thing{n}:", f"    return Thing{n}()", ""]
    return "\n".join(lines)


def script(rng: random.Random, n: int) -> str:
    """One module in JavaScript."""
    lines = [
        f'import {{ {word} }} from "./script{rng.randrange(n + 1)}.js";' for word in rng.sample(WORDS, 3)
    ]
    for word in rng.sample(WORDS, 10):
        lines += [
            f"export function {word}(value) {{",
            f"  const found = {rng.choice(WORDS)}(value + 1);",
            "  return found ? found.name : null;",
            "}",
            "",
        ]
    return "\n".join(lines)


def make(folder: Path) -> int:
    """Write the repository and commit it; return its bytes."""
    rng = random.Random(1)
    total = 0
    for n in range(FILES):
        inside = folder / f"area{n % 50}" / f"part{n % 10}"
        inside.mkdir(parents=True, exist_ok=True)
        name, text = (f"module{n}.py", python(rng, n)) if n % 4 else (f"script{n}.js", script(rng, n))
        (inside / name).write_text(text)
        total += len(text)
    run = ["git", "-c", "user.name=bench", "-c", "user.email=bench@localhost", "-C", str(folder)]
    subprocess.run([*run, "init", "-q"], check=True)
    subprocess.run([*run, "add", "-A"], check=True)
    subprocess.run([*run, "commit", "-q", "-m", "all"], check=True)
    return total


def child(root: str) -> None:
    """What is measured, in a process of its own so that its memory is its own."""
    from analysis.plain import Options
    from analysis.select import build_manifest
    from analysis.source import SourceSpec, open_source

    began = time.perf_counter()
    with open_source(SourceSpec("path", path="repo", root=root)) as source:
        manifest = build_manifest(source, Options(max_tokens_read=50_000_000))
    seconds = time.perf_counter() - began
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    read = manifest.read
    print(seconds, (ours + largest) / 1024, len(read), sum(len(facts.symbols) for facts in read))


def line() -> str:
    """Measure once; return the line that is printed."""
    with tempfile.TemporaryDirectory(prefix="nyxcore-bench-") as folder:
        repo = Path(folder) / "repo"
        repo.mkdir()
        size = make(repo)
        command = [sys.executable, "-c", f"from bench.manifest import child; child({folder!r})"]
        said = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    seconds, memory, read, symbols = float(said[0]), float(said[1]), int(said[2]), int(said[3])
    return (
        f"manifest of {FILES:,} files, {size / 1e6:.0f} MB: {seconds:.1f} s (goal <= 10), peak {memory:.0f} MB of "
        f"ours and its largest child (goal <= 300); {read:,} read, {symbols:,} symbols"
    )
