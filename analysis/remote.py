"""Fetches one commit of a remote repository, without its history and without a check-out."""

from __future__ import annotations

import re

from analysis import hosts
from analysis.errors import SourceError
from analysis.git import Budget, Git, GitFailed
from analysis.spec import Found

# Prints what git's environment holds, so the token stands in no file and in no list of processes.
ASKPASS = """#!/bin/sh
case "$1" in
Username*) printf '%s\\n' "${NYXCORE_GIT_USER}" ;;
*) printf '%s\\n' "${NYXCORE_GIT_TOKEN}" ;;
esac
"""
USER = "x-access-token"  # what GitHub documents; GitLab and others take any name with a token

# What git says, in its C locale: (pattern, sentence, code, retryable).
SAYINGS = [
    (
        r"could not read (Username|Password)|Authentication failed|error: 40[13]|HTTP Basic: Access denied",
        "{host} asks for a login, or the repository does not exist. Check the address; give a token that may read it.",
        "auth",
        False,
    ),
    (
        r"error: 404|[Rr]epository .*not found|not found: did you run|does not appear to be a git",
        "{host} has no such repository, or shows it only with a token. Check the address.",
        "not_found",
        False,
    ),
    (
        r"error: 30\d|redirect",
        "{host} sends on to another address. Redirects are not followed: enter the address that it leads to.",
        "redirect",
        False,
    ),
    (
        r"couldn't find remote ref HEAD|remote HEAD|empty repository",
        "The repository is empty, or has no default branch. Name a branch.",
        "empty",
        False,
    ),
    (
        r"couldn't find remote ref|not our ref|no such remote ref|unadvertised object|no such commit",
        "The repository has no such branch, tag or commit. A commit is named by all its digits; "
        "after a forced push it may be gone.",
        "ref",
        False,
    ),
    (
        r"SSL certificate|certificate verif|CAfile|server certificate",
        "{host} has a certificate that is not trusted here. Check the address, or add its authority.",
        "certificate",
        False,
    ),
    (
        r"over limit|Out of memory|malloc",
        "The repository holds objects that unpack to more memory than is allowed. It was not read.",
        "too_large",
        False,
    ),
    (
        r"transport .* not allowed|protocol .* not supported",
        "The address uses a way of fetching that is not offered. It must begin with https://.",
        "address",
        False,
    ),
]


def fetch(git: Git, url: str, ref: str, token: str, reach: hosts.Reach, seconds: float, disk: int) -> Found:
    """Fetch one commit of `url` into the store: that of `ref`, or of the default branch."""
    target = hosts.check(url, reach)
    _prepare(git, target, token, reach)
    budget = Budget(seconds, disk=disk)
    try:
        # No remote is written down: neither its address nor anything else of it stays in a file.
        git.run(
            "fetch",
            "--quiet",
            "--depth=1",
            "--no-tags",
            "--no-recurse-submodules",
            "--no-write-commit-graph",
            "--no-auto-maintenance",
            "--end-of-options",
            target.url,
            ref or "HEAD",
            budget=budget,
        )
    except GitFailed as error:
        raise explain(error, target.host, token) from error
    return resolve(git, "FETCH_HEAD")


def resolve(git: Git, name: str) -> Found:
    """Return commit and tree of a name in the store."""
    commit = git.run("rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}").decode().strip()
    tree = git.run("rev-parse", "--verify", "--end-of-options", f"{commit}^{{tree}}").decode().strip()
    return Found(commit, tree)


def _prepare(git: Git, target: hosts.Target, token: str, reach: hosts.Reach) -> None:
    git.protocols = reach.schemes
    if target.pin:
        git.options["http.curloptResolve"] = target.pin
    if reach.ca_file:
        git.env["GIT_SSL_CAINFO"] = reach.ca_file
    if token:
        script = git.folder / "askpass"
        script.write_text(ASKPASS)
        script.chmod(0o700)
        git.env |= {"GIT_ASKPASS": str(script), "NYXCORE_GIT_USER": USER, "NYXCORE_GIT_TOKEN": token}


def explain(error: GitFailed, host: str, token: str = "") -> SourceError:
    """Turn what git says into a sentence for people."""
    for pattern, sentence, code, retryable in SAYINGS:
        if re.search(pattern, error.stderr):
            return SourceError(sentence.format(host=host), code, retryable=retryable)
    said = last_line(error.stderr)
    said = said.replace(token, "***") if token else said
    return SourceError(
        f"The repository could not be fetched from {host}: {said} Try again later.", "network", retryable=True
    )


def last_line(stderr: str) -> str:
    """Return the line that tells most: the first fatal one, else the last."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1] if lines else "")
    text = re.sub(r"^(fatal|error): ", "", told)[:300]
    return re.sub(r"[\x00-\x1f\x7f]", " ", text).rstrip(".") + "."
