"""`make bench`: starts its own servers and workers, measures, prints one line per figure."""

from __future__ import annotations

import argparse
import os
import tempfile


def main() -> None:
    from bench import parts

    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", choices=[*parts.PARTS, *parts.ASKED_FOR])
    parser.add_argument("--rounds", type=int, default=30, help="how often the quick figures are taken")
    parser.add_argument("--seconds", type=int, default=60, help="browser: of streaming")
    parser.add_argument("--runs", type=int, default=10_000, help="load: workflows in the queue")
    parser.add_argument("--workers", type=int, default=4, help="load: worker processes")
    parser.add_argument("--attempts", type=int, default=1_000_000, help="many: ended attempts in the table")
    parser.add_argument("--queued", type=int, default=100_000, help="many: queued attempts")
    options = parser.parse_args()
    from nyxcore import embedded

    with tempfile.TemporaryDirectory(prefix="nyxcore-bench-") as folder, embedded.services(folder) as servers:
        env = os.environ | {
            "DATABASE_URL": servers.database_url,
            "REDIS_URL": servers.redis_url,
            "SECRET_KEY": "bench",
            "ALLOWED_HOSTS": "127.0.0.1",
            "DJANGO_SETTINGS_MODULE": "bench.settings",
            "NYXCORE_LLM": "practice",
            "LOG_LEVEL": "WARNING",
        }
        os.environ.update(env)
        parts.run(options, env)


if __name__ == "__main__":
    main()
