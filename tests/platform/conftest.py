from collections.abc import Iterator

import pytest

from tests.platform.helpers import Command


@pytest.fixture(autouse=True)
def no_command_outlives_its_test() -> Iterator[None]:
    yield
    for command in Command.running():
        command.process.kill()
        command.process.wait()
