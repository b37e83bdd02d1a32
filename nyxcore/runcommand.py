"""Commands that create a run, start it, wait for its end and tell how it ended: what those of every app have alike."""

from __future__ import annotations

import logging
import os
import sys
import time
from argparse import ArgumentParser
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from django.core.management.base import BaseCommand, CommandError
from django.db import InterfaceError, OperationalError

from nyxcore import pulse, standby
from nyxcore.llm import is_practice
from nyxcore.processes import StartError
from nyxcore.shell import (
    INTERRUPTED,
    LOOK_EVERY,
    TIMED_OUT,
    BadInput,
    GaveUp,
    Teller,
    find_owner,
    money,
    seconds,
    told_to_end,
    with_patience,
)
from nyxcore.states import Status
from nyxcore.verbs import Refused


class Now(Protocol):
    """A run at one moment."""

    @property
    def status(self) -> str: ...
    @property
    def stands(self) -> bool: ...  # nothing happens any more until somebody does something


class View(Protocol):
    """Something that shows a run while it goes on."""

    def show(self, now: Any) -> None: ...
    def close(self) -> None: ...


class Silent:
    """Shows nothing until the end."""

    def show(self, now: Any) -> None:
        return

    def close(self) -> None:
        return


class RunCommand(BaseCommand):
    """An app's command says what its run is, how it is looked at, and what its end is."""

    noun: ClassVar[str]
    kept: ClassVar[str]  # what is kept of a run that is cancelled
    ends: ClassVar[Mapping[Status, int]]  # exit codes; any other end is 1
    requires_system_checks: list[str] = []
    standby: Callable[[], Any] = standby.Standby

    def add_arguments(self, parser: ArgumentParser) -> None:
        noun = self.noun
        parser.add_argument("--follow", action="store_true", help=f"show the {noun} while it goes on")
        parser.add_argument("--json", action="store_true", help="end with one JSON object on standard output")
        parser.add_argument("--name", default="", help=f"name of the {noun}")
        parser.add_argument("--owner", default="", help="user name of the owner (default: admin)")
        parser.add_argument("--model", default="", help="the model that is asked where nothing names another")
        parser.add_argument("--budget", type=money, metavar="USD", help="pause before it is exceeded")
        parser.add_argument(
            "--timeout",
            type=seconds,
            metavar="SECONDS",
            help=f"give up waiting after so long (exit code {TIMED_OUT})",
        )

    # --- what an app says ---

    def check_given(self, options: dict[str, Any]) -> None:
        """Refuse what cannot be meant, before anything is created."""

    def to_stdout(self, options: dict[str, Any]) -> bool:
        """Whether standard output is for the result alone."""
        return bool(options["json"])

    def create(self, owner: Any, options: dict[str, Any]) -> Any:
        raise NotImplementedError

    def start(self, run: Any, owner: Any) -> None:
        raise NotImplementedError

    def cancel(self, run: Any, owner: Any) -> None:
        raise NotImplementedError

    def look(self, run: Any) -> Now:
        raise NotImplementedError

    def view(self) -> View:
        """What --follow shows."""
        raise NotImplementedError

    def about(self, run: Any) -> str:
        """What is told of the run beside its number."""
        raise NotImplementedError

    def conclude(self, run: Any, code: int, options: dict[str, Any]) -> int:
        """The last words and files, in the forms that were asked for; the exit code."""
        raise NotImplementedError

    # --- what is always done ---

    def handle(self, **options: Any) -> None:
        if getattr(self, "_called_from_command_line", False) and not os.environ.get("LOG_LEVEL"):
            logging.getLogger().setLevel(logging.WARNING)  # the engine's own lines are for servers
        self.check_given(options)
        self.teller = Teller(self.stderr if self.to_stdout(options) else self.stdout)
        try:
            owner = find_owner(options["owner"])
            code = self._run(self.create(owner, options), owner, options)
        except (OperationalError, InterfaceError) as error:
            raise CommandError(f"PostgreSQL cannot be reached: {str(error).strip()}") from None
        if code:
            sys.exit(code)

    def _run(self, run: Any, owner: Any, options: dict[str, Any]) -> int:
        """Start it and wait; the exit code."""
        self._say(f"{self._named(run)} {self.about(run)}: {address(run)}")
        if is_practice():
            self._say("The practice model answers: made-up text, no language model.")
        with self.standby() as worker, told_to_end():
            try:
                self.start(run, owner)
                pulse.drain()
                code = self._wait(run, worker, options)
            except KeyboardInterrupt:
                code = self._leave(run, owner, worker, "Interrupted", INTERRUPTED)
            except GaveUp as reason:
                code = self._leave(run, owner, worker, reason.why, reason.code)
            except (Refused, StartError) as error:
                code = self._leave(run, owner, worker, str(error).rstrip("."), 1)
            return self.conclude(run, code, options)

    def _wait(self, run: Any, worker: Any, options: dict[str, Any]) -> int:
        until = time.monotonic() + options["timeout"] if options["timeout"] else None
        view = self.view() if options["follow"] else Silent()
        try:
            while True:
                now = with_patience(lambda: self.look(run))
                view.show(now)
                if now.stands:
                    return self.ends.get(Status(now.status), 1)
                if until and time.monotonic() > until:
                    raise GaveUp(f"Not done after {options['timeout']:g} s", TIMED_OUT)
                with_patience(worker.look)
                time.sleep(LOOK_EVERY)
        finally:
            view.close()

    def _leave(self, run: Any, owner: Any, worker: Any, why: str, code: int) -> int:
        """We go before the run has ended: it goes on if somebody else's worker lives, else it is cancelled."""
        named = self._named(run)
        if worker.others():
            self._say(f"{why}. {named} goes on: a worker lives.")
            return code
        try:
            self.cancel(run, owner)
            pulse.drain()
        except Refused:
            self._say(f"{why}. {named} had ended already.")
        else:
            self._say(f"{why}. {named} is cancelled, since no other worker lives; {self.kept}.")
        return code

    def _named(self, run: Any) -> str:
        return f"{self.noun.capitalize()} {run.pk}"

    def _say(self, line: str) -> None:
        self.teller.say(line)


def address(run: Any) -> str:
    return f"{standby.address()}{run.get_absolute_url()}"


def check_folder(file: str | None) -> None:
    """Refuse a file that could not be written at the end, before anything is paid."""
    if file and not Path(file).absolute().parent.is_dir():
        raise BadInput(f"The folder of {file} does not exist.")


def write(file: str, text: str) -> None:
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(f"{file} cannot be written: {error.strerror}.") from None
