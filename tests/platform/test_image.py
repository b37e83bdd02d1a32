"""The files of the image: what the Dockerfile copies has to get through .dockerignore."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_dockerignore_lets_through_what_the_dockerfile_copies():
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    copies = [re.fullmatch(r"COPY (?!--from)(.+) \S+", line) for line in lines]
    copied = {name for match in copies if match for name in match[1].split()}
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    assert {"nyxcore", "workflows", "analysis", "manage.py"} <= copied
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)
