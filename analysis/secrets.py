"""Looks for secrets before anything is sent. Says which rule, where, in which line; never the value."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

HITS_KEPT = 20  # of one file
LINE_LIMIT = 5_000
ASCII_LOWER = {code: code + 32 for code in range(ord("A"), ord("Z") + 1)}


@dataclass(frozen=True)
class Secret:
    """A place that looks like a secret."""

    rule: str
    path: str
    line: int
    label: str = ""


@dataclass(frozen=True)
class Rule:
    name: str
    label: str
    pattern: re.Pattern[str]
    hint: str  # lower case; a file without it is not searched. Several are parted by "|"
    accept: Callable[[str], bool] = lambda value: True  # the value is the last group of the pattern


PLACEHOLDER = re.compile(
    r"example|sample|dummy|changeme|change_me|placeholder|your|xxxx|\*\*\*|\.\.\.|<[^>]*>|\$\{|\{\{|%\(|%s"
    r"|12345678|abcdefg|deadbeef|redacted|not[-_]?a[-_]?secret|insecure|for[-_]tests|testing|fake|todo|null|none"
    r"|^(pass(word)?|secret|token|test|admin|root|user|guest|postgres|mysql|localhost|env|pw|pwd|key)\d*$",
    re.I,
)


def entropy(value: str) -> float:
    """Bits a character: 0 for one repeated letter, about 4 for random hex, near 6 for random base64."""
    counts = Counter(value)
    return -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values()) if value else 0.0


def _real(value: str) -> bool:
    return not PLACEHOLDER.search(value) and len(set(value)) > 3


def _random(value: str) -> bool:
    """A generated value: no words, no path, no name. Letters and digits are mixed and spread evenly."""
    if not _real(value) or not re.search(r"\d", value) or not re.search(r"[A-Za-z]", value):
        return False
    if re.fullmatch(r"[A-Fa-f0-9-]+", value):
        return len(value) >= 32 and "-" not in value and entropy(value) > 3.0
    if value.count("/") > 3 or re.search(r"[./_-][a-z]{3,}[./_-]", value):
        return False
    return _jumps(value) and entropy(value) > 3.7


def _jumps(value: str) -> bool:
    """Chance goes from letters to digits and from small to large all the time, words hardly ever."""
    kinds = ["d" if c.isdigit() else "u" if c.isupper() else "l" for c in value if c.isalnum()]
    jumps = sum(a != b for a, b in pairwise(kinds))
    return jumps > (0.4 if len(set(kinds)) == 3 else 0.25) * len(kinds)


def _rule(
    name: str, label: str, hint: str, pattern: str, accept: Callable[[str], bool] = _real, flags: int = 0
) -> Rule:
    return Rule(name, label, re.compile(pattern, flags), hint, accept)


# Every repetition has an upper bound, and what cannot end earlier is possessive: a line costs about its length.
RULES = (
    _rule(
        "private-key",
        "a private key",
        "private key",
        r"-----BEGIN (?:[A-Z0-9]{1,20} ){0,2}PRIVATE KEY(?: BLOCK)?-----",
        lambda value: True,
    ),
    _rule(
        "aws-key",
        "an AWS access key",
        "akia|asia",
        r"(?<![A-Za-z0-9/+])((?:AKIA|ASIA)[A-Z2-7]{16})(?![A-Za-z0-9/+=])",
    ),
    _rule(
        "aws-secret",
        "an AWS secret key",
        "aws",
        r"(?i)aws.{0,20}(?:secret|sk).{0,20}?[=:]\s{0,4}[\"']?([A-Za-z0-9/+]{40})(?![A-Za-z0-9/+=])",
        lambda value: _real(value) and entropy(value) > 4.0,
    ),
    _rule(
        "github-token",
        "a GitHub token",
        "ghp_|gho_|ghu_|ghs_|ghr_|github_pat_",
        r"(?<!\w)(gh[pousr]_[A-Za-z0-9]{36,251}+|github_pat_[A-Za-z0-9_]{60,255}+)(?!\w)",
    ),
    _rule(
        "gitlab-token",
        "a GitLab token",
        "glpat-|gldt-|glrt-|glptt-",
        r"(?<!\w)(gl(?:pat|dt|rt|ptt)-[A-Za-z0-9_-]{20,64}+)(?![\w-])",
    ),
    _rule(
        "slack-token",
        "a Slack token",
        "xox|hooks.slack.com",
        r"(?<!\w)(xox[abeoprs]-[A-Za-z0-9-]{16,250}+)(?![\w-])",
    ),
    _rule(
        "slack-webhook",
        "a Slack webhook",
        "hooks.slack.com",
        r"(hooks\.slack\.com/(?:services|workflows)/T[A-Za-z0-9_]{6,40}/[A-Za-z0-9_]{6,40}/[A-Za-z0-9_]{16,99})",
    ),
    _rule("google-key", "a Google API key", "aiza", r"(?<![\w-])(AIza[A-Za-z0-9_-]{35})(?![\w-])"),
    _rule(
        "stripe-key",
        "a Stripe key",
        "sk_live_|rk_live_|whsec_",
        r"(?<!\w)((?:sk|rk)_live_[A-Za-z0-9]{16,247}+|whsec_[A-Za-z0-9+/=]{32,250})(?!\w)",
    ),
    _rule(
        "llm-key",
        "a key of a language model",
        "sk-",
        r"(?<![\w-])(sk-(?:ant-|proj-|svcacct-|or-v1-)[A-Za-z0-9_-]{24,250}+)(?![\w-])",
    ),
    _rule(
        "package-token",
        "a token of a package index",
        "npm_|pypi-|dckr_pat_|hf_|sg.",
        r"(?<!\w)(npm_[A-Za-z0-9]{36}|pypi-AgEI[A-Za-z0-9_-]{50,500}+|dckr_pat_[A-Za-z0-9_-]{27,99}+|hf_[A-Za-z]{34}"
        r"|SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})(?![\w-])",
    ),
    _rule("azure-key", "an Azure storage key", "accountkey=", r"(?i)AccountKey=([A-Za-z0-9+/]{86}==)"),
    _rule(
        "jwt",
        "a signed web token",
        "eyj",
        r"(?<![\w-])(eyJ[A-Za-z0-9_-]{15,2000}\.eyJ[A-Za-z0-9_-]{15,4000}\.[A-Za-z0-9_-]{20,2000})(?![\w-])",
        lambda value: True,
    ),
    _rule(
        "connection-string",
        "an address with a password",
        "://",
        r"(?<![\w+])[a-z][a-z0-9+.-]{2,20}://[^\s:@/\"'`<>$\\{}()]{0,80}:([^\s:@/\"'`<>$\\{}()%]{6,100})"
        r"@(?!localhost|127\.0\.0\.1|\[::1\]|example|host\b|db\b|server\b)[\w.\[-]",
    ),
    _rule(
        "generic-secret",
        "a value that looks generated, assigned to a secret's name",
        "secret|token|passw|passwd|pwd|api_key|apikey|api-key|access_key|accesskey|auth|credential|private_key|client_key",
        r"(?i)(?:secret|token|passw(?:or)?d|passwd|pwd|api[_-]?key|access[_-]?key|auth[_-]?key"
        r"|credential|private[_-]?key|client[_-]?key)"
        r"[\w-]{0,30}+[\"']?\s{0,4}+(?::=|=>|=|:)\s{0,4}[\"'`]([A-Za-z0-9+/_=.~!@#%^&*-]{16,200})[\"'`]",
        _random,
    ),
    _rule(
        "env-secret",
        "a value that looks generated, assigned to a secret's name",
        "secret|token|passw|api_key|apikey|access_key|private_key",
        r"^(?:export )?[A-Z][A-Z0-9_]{0,60}(?:SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY)"
        r"[A-Z0-9_]{0,30}=([A-Za-z0-9+/_=.~-]{20,200})\s{0,9}$",
        _random,
    ),
)


def scan(path: str, text: str) -> list[Secret]:
    """Return the places of a file that look like secrets, at most 20, in the order of their lines."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a few letters grow when lowered, which would shift every place after them
        lowered = text.translate(ASCII_LOWER)
    found = {
        (start, rule.name): rule
        for rule in RULES
        for start in _line_starts(lowered, rule.hint)
        if _hits(rule, text, start)
    }
    hits = sorted(found.items(), key=lambda item: item[0])[:HITS_KEPT]
    return [Secret(rule.name, path, text.count("\n", 0, start) + 1, rule.label) for (start, _), rule in hits]


def _line_starts(lowered: str, hints: str) -> set[int]:
    """Return where the lines begin that hold one of the hints."""
    starts = set()
    for hint in hints.split("|"):
        at = lowered.find(hint)
        while at >= 0:
            starts.add(lowered.rfind("\n", 0, at) + 1)
            end = lowered.find("\n", at)
            at = lowered.find(hint, end) if end >= 0 else -1
    return starts


def _hits(rule: Rule, text: str, start: int) -> bool:
    end = text.find("\n", start)
    line = text[start : end if end >= 0 else None]
    if len(line) > LINE_LIMIT:
        return False
    return any(rule.accept(_value(match)) for match in rule.pattern.finditer(line))


def _value(match: re.Match[str]) -> str:
    groups = [group for group in match.groups() if group]
    return groups[-1] if groups else match[0]
