"""What looks like a secret, and what only looks a little like one. The examples are put together here, so that this
file itself holds none."""

from __future__ import annotations

import random
import string

import pytest

from analysis.secrets import HITS_KEPT, RULES, entropy, scan

RNG = random.Random(7)
MIXED = string.ascii_letters + string.digits


def made(length: int, letters: str = MIXED) -> str:
    return "".join(RNG.choice(letters) for _ in range(length))


SECRETS = [
    ("private-key", "-----BEGIN RSA " + "PRIVATE KEY-----"),
    ("private-key", "-----BEGIN " + "PRIVATE KEY-----"),
    ("private-key", '"-----BEGIN OPENSSH ' + 'PRIVATE KEY-----\\n"'),
    ("aws-key", "key = AKIA" + made(16, "ABCDEFGHIJKLMNOP234567")),
    ("aws-secret", f'aws_secret_access_key = "{made(40)}"'),
    ("github-token", "ghp_" + made(36)),
    ("github-token", "github_pat_" + made(22) + "_" + made(59)),
    ("gitlab-token", "glpat-" + made(20)),
    ("slack-token", "xoxb-" + made(12, string.digits) + "-" + made(24)),
    ("slack-webhook", "https://hooks.slack.com/services/T" + made(9) + "/B" + made(9) + "/" + made(24)),
    ("google-key", "AIza" + made(35)),
    ("stripe-key", "sk_live_" + made(24)),
    ("llm-key", "sk-ant-api03-" + made(40)),
    ("llm-key", "sk-proj-" + made(40)),
    ("package-token", "npm_" + made(36)),
    ("azure-key", "DefaultEndpointsProtocol=https;AccountKey=" + made(86) + "=="),
    ("jwt", "eyJ" + made(30) + ".eyJ" + made(40) + "." + made(43)),
    ("connection-string", "postgres://app:" + made(14) + "@db7.internal:5432/x"),
    ("connection-string", "amqp://user:" + made(9) + "@10.0.0.3//"),
    ("generic-secret", f'API_TOKEN = "{made(32)}"'),
    ("generic-secret", f"'client_secret': '{made(40)}',"),
    ("generic-secret", f'password: "{made(8)}{"7q"}{made(12)}"'),
    ("env-secret", "SESSION_SECRET=" + made(40)),
]
HARMLESS = [
    'password = "correct horse battery"',
    "password = os.environ['PASSWORD']",
    'PASSWORD = "changeme-please-now1"',
    'SECRET_KEY = "django-insecure-' + made(40) + '"',
    'token = "your-token-goes-here-123"',
    'api_key = "${API_KEY_FROM_VAULT_1}"',
    'AUTH_PASSWORD_VALIDATORS = "django.contrib.auth.password_validation.Min8"',
    'token_url = "https://example.org/oauth2/token/v1"',
    "postgres://user:password@localhost:5432/app",
    "postgres://user:{password}@db/app",
    "postgres://app:${PASSWORD}@prod.internal/app",
    "https://example.org/a:b@c",
    "sha256:" + made(64, "0123456789abcdef"),
    'integrity = "sha512-' + made(86) + '=="',
    'commit = "' + made(40, "0123456789abcdef") + '"',
    'uuid_token = "123e4567-e89b-12d3-a456-426614174000"',
    "ghp_short",
    "AKIAIOSFODNN7" + "EXAMPLE",
    "sk-learn-is-a-library-for-machine-learning-in-python",
    "task-ant-colony-optimisation-of-the-travelling-salesman",
    "-----BEGIN PUBLIC KEY-----",
    "-----BEGIN CERTIFICATE-----",
    "SECRET_NAME=my_secret_in_the_vault_of_ours",
    'csrf_token = "csrfmiddlewaretoken_field_name"',
]


@pytest.mark.parametrize(("rule", "line"), SECRETS)
def test_a_secret_is_found_in_its_line(rule: str, line: str) -> None:
    found = scan("a.py", f"first\n{line}\nlast\n")
    assert (rule, "a.py", 2) in [(one.rule, one.path, one.line) for one in found]


@pytest.mark.parametrize("line", HARMLESS)
def test_what_only_looks_like_one_is_left_alone(line: str) -> None:
    assert scan("a.py", f"first\n{line}\n") == []


def test_every_rule_has_an_example() -> None:
    assert {rule.name for rule in RULES} == {rule for rule, _ in SECRETS}


def test_the_value_is_nowhere_in_the_answer() -> None:
    for _, line in SECRETS:
        value = max(line.replace('"', " ").replace("'", " ").replace("=", " ").split(), key=len)
        assert value not in repr(scan("a.py", line))


def test_lines_are_right_after_letters_that_grow_when_lowered() -> None:
    token = "ghp_" + made(36)
    assert [one.line for one in scan("a.py", f"İİİ\nİ\n{token}\n")] == [3]


def test_places_come_in_order_and_not_without_end() -> None:
    found = scan("a.py", "".join(f"ghp_{made(36)}\n" for _ in range(50)))
    assert [one.line for one in found] == list(range(1, HITS_KEPT + 1))


def test_entropy_tells_words_from_chance() -> None:
    assert entropy("") == entropy("aaaa") == 0
    assert entropy(made(40)) > 4 > entropy("the password of the administrator") > 3
