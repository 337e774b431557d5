"""What the shell hears, as docs/cli.md lists it."""

from pathlib import Path

import click
import pytest

from inference_autotuner.optimizer.errors import StorageUnavailableError, StudyError
from inference_autotuner.ui import cli

WRONG = "metadata: {name: x}\n"


@pytest.fixture(autouse=True)
def _state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("AUTOTUNER_STORAGE", raising=False)


def ends_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> int:
    """The code of a command that raises."""

    @click.command("list")
    def command() -> None:
        raise error

    monkeypatch.setattr(cli.CommandGroup, "get_command", lambda *_: command)
    return cli.run(["list"])


def test_a_command_that_did_its_work_ends_with_zero(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    assert cli.run(["schema"]) == 0


@pytest.mark.parametrize("line", [["no-such-command"], ["validate"], ["validate", "--nope", "x"]])
def test_a_wrong_command_line_ends_with_two(line: list[str]) -> None:
    assert cli.run(line) == 2


@pytest.mark.parametrize("output", ["table", "json", "yaml"])
def test_a_wrong_task_ends_with_64_however_it_is_printed(output: str, tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text(WRONG)
    assert cli.run(["validate", str(tmp_path / "task.yaml"), "--output", output]) == 64


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (click.exceptions.Exit(1), 1),
        (click.exceptions.Exit(130), 130),
        (KeyboardInterrupt(), 130),
        (StudyError("it cannot go on"), 70),
        (StorageUnavailableError("not now"), 75),
        (ZeroDivisionError(), 70),
    ],
)
def test_a_command_ends_with_the_code_of_its_error(
    error: BaseException, code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ends_with(error, monkeypatch) == code
