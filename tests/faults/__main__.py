"""`make faults`: the whole matrix once, or random rounds. Prints one line for each cell and a summary."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("-n", type=int, default=0, help="run so many random rounds in place of the matrix")
    parser.add_argument("--seed", type=int, help="of the random rounds; the same seed makes the same choices")
    parser.add_argument(
        "--only", action="append", default=[], help='a cell: "C13", "in mid-stream x disk full"'
    )
    parser.add_argument("--serve", action="store_true", help="read names of cells, answer with JSON lines")
    parser.add_argument(
        "--together", action="store_true", help="of a fault only the moments that share a round"
    )
    parser.add_argument("--list", action="store_true", help="print the cells and their expected ends")
    parser.add_argument("--keep", action="store_true", help="keep the folder with the logs")
    return parser.parse_args()


def in_own_namespace() -> None:
    """Where the machine allows it, go on in a mount namespace of our own, so that a small disk can be mounted."""
    if "NYXCORE_LAB_NAMESPACE" in os.environ:
        return
    unshare = shutil.which("unshare")
    allowed = os.geteuid() == 0 and unshare
    if allowed and subprocess.run([str(unshare), "-m", "true"], capture_output=True).returncode == 0:
        os.environ["NYXCORE_LAB_NAMESPACE"] = "1"
        argv = [
            str(unshare),
            "-m",
            "--propagation",
            "private",
            sys.executable,
            "-m",
            "tests.faults",
            *sys.argv[1:],
        ]
        os.execv(str(unshare), argv)
    os.environ["NYXCORE_LAB_NAMESPACE"] = "0"


def main() -> int:
    options = arguments()
    if options.list:
        return tell()
    in_own_namespace()
    folder = Path(tempfile.mkdtemp(prefix="nyxlab-"))
    from tests.faults import system as systems

    system = None
    try:
        system = systems.booted(folder)
        laboratory = set_up(system, quiet=options.serve)
        return run(laboratory, options)
    finally:
        if system is not None:
            system.close()
            subprocess.run(["umount", "-l", str(folder / "data")], capture_output=True)
        if options.keep:
            sys.stderr.write(f"The logs are in {folder}\n")
        else:
            shutil.rmtree(folder, ignore_errors=True)


def set_up(system: Any, *, quiet: bool) -> Any:
    """Django on the laboratory's database, counting time as the workers do; then the application."""
    from tests.faults.system import KEY, TIMES

    os.environ.update(TIMES)
    os.environ.update(
        DJANGO_SETTINGS_MODULE="tests.settings", DATABASE_URL=system.database.url, REDIS_URL=system.bus.url,
        SECRET_KEY="for-the-laboratory-only", NYXCORE_LLM="anthropic", ANTHROPIC_API_KEY=KEY,
        LOG_LEVEL="ERROR", PGAPPNAME="laboratory", NYXCORE_ANALYSIS_ROOT=str(system.sources),
    )  # fmt: skip
    import django

    django.setup()
    from tests.faults.laboratory import Laboratory

    laboratory = Laboratory(system, say=_mute if quiet else _say)
    laboratory.set_up()
    return laboratory


def _say(words: str) -> None:
    print(words, flush=True)


def _mute(words: str) -> None:
    """The answers are JSON lines."""


def run(laboratory: Any, options: argparse.Namespace) -> int:
    began = time.monotonic()
    if options.serve:
        serve(laboratory, options)
        return 0
    if options.n:
        seed = options.seed if options.seed is not None else random.randrange(1_000_000)
        print(f"{options.n} random rounds, seed {seed}", flush=True)
        laboratory.hammer(seed, options.n)
        print(f"the same again: make faults N={options.n} SEED={seed}")
    else:
        laboratory.matrix(options.only, together=options.together)
    report = laboratory.report
    for outcome in report.violated:
        print(f"VIOLATED  {outcome.cell}: {'; '.join(outcome.problems)}")
    print(f"{report.summary()}; {len(report.violated)} violations; {time.monotonic() - began:.0f} s")
    return 1 if report.violated else 0


def tell() -> int:
    """Every cell with its expected end, and what is left out."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    from tests.faults import cells, matrix

    for cell in cells.load():
        print(f"{cell.title} -> {cell.expected}")
    for moment, fault in matrix.pairs():
        print(f"{moment.name} x {fault.name} -> {matrix.expected(fault, moment.name)}")
    for fault, moments in matrix.analysis_rounds():
        for moment in moments:
            print(f"analysis: {moment.name} x {fault.name} -> {matrix.expected(fault, moment.name)}")
    for (moment_name, fault_name), reason in matrix.LEFT_OUT.items():
        print(f"left out: {moment_name} x {fault_name}: {reason}")
    return 0


def serve(laboratory: Any, options: argparse.Namespace) -> None:
    """One name of a cell a line in, one JSON object a line out."""
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        before = len(laboratory.report.outcomes)
        laboratory.matrix([line.strip()], together=options.together)
        outcomes = laboratory.report.outcomes[before:]
        print(json.dumps([vars(outcome) | {"verdict": outcome.verdict} for outcome in outcomes]), flush=True)


if __name__ == "__main__":
    sys.exit(main())
