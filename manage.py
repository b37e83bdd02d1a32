#!/usr/bin/env python3
"""Every command of nyxcore. `up` is handled before Django is loaded, so that the supervisor stays small."""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    sys.path.insert(0, str(ROOT))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "nyxcore.settings")
    from nyxcore import attach
    from nyxcore.processes import StartError

    try:
        argv = attach.take_data_dir(argv)
        if argv[1:2] == ["up"]:
            from nyxcore import up

            return up.main(argv[2:])
        with attach.servers_for(argv):
            return run(argv)
    except StartError as error:
        return refuse(str(error))
    except KeyboardInterrupt:
        return 130  # whatever was started has been ended on the way here


def run(argv: list[str]) -> int:
    """One management command of Django."""
    from django.conf import settings
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        _ = settings.INSTALLED_APPS  # Django would hide what is wrong with them from some commands
        execute_from_command_line(argv)
    except ImproperlyConfigured as error:
        return refuse(str(error))
    return 0


def refuse(sentence: str) -> int:
    sys.stderr.write(f"nyxcore: {sentence}\n")
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv))
