"""Task files on this machine."""

import io
from pathlib import Path

import pytest

from inference_autotuner.optimizer.errors import TaskError
from inference_autotuner.workflows.taskfiles import base_of, read_task

TASK = """\
metadata: {name: chat}
spec:
  model: {name: m.gguf}
  engine: {name: llamacpp}
  deployment: {mode: process}
  parameters: {threads: [1, 2]}
  workload: {scenarios: ["D(100,50)"]}
"""


class Stdin:
    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def refusal(path: str | Path) -> str:
    with pytest.raises(TaskError) as caught:
        read_task(path)
    assert caught.value.exit_code == 64
    return str(caught.value)


def test_a_task_is_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(TASK)
    (tmp_path / "m.gguf").touch()
    task, warnings = read_task(path)
    assert (task.metadata.name, warnings) == ("chat", ())


def test_a_dash_reads_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(TASK.encode()))
    assert read_task("-").task.metadata.name == "chat"


def test_a_mistake_on_standard_input_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Stdin(b""))
    assert refusal("-").startswith("standard input: the file is empty")


def test_relative_paths_start_at_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert base_of("tasks/chat.yaml") == str(tmp_path.resolve() / "tasks")
    assert base_of("-") == str(tmp_path.resolve())


def test_a_file_that_is_not_there_is_a_mistake(tmp_path: Path) -> None:
    assert refusal(tmp_path / "chat.yaml").endswith("chat.yaml: there is no such file")


def test_a_folder_is_no_task(tmp_path: Path) -> None:
    assert "this is a folder" in refusal(tmp_path)


def test_a_file_that_cannot_be_opened_is_a_mistake(tmp_path: Path) -> None:
    loop = tmp_path / "loop.yaml"
    loop.symlink_to(loop)
    assert "cannot be read" in refusal(loop)


def test_a_name_that_no_file_can_have_is_a_mistake() -> None:
    assert "cannot be read" in refusal("a\0b")


def test_a_file_of_5_megabytes_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "large.yaml"
    path.write_bytes(b"a: 1\n" * 1_000_000)
    assert "at most 256 KiB" in refusal(path)


def test_a_file_in_another_encoding_is_told_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_bytes(TASK.encode() + "# für\n".encode("latin-1"))
    assert "chat.yaml:8: the byte 0xfc is no UTF-8" in refusal(path)


def test_a_mistake_in_the_task_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "chat.yaml"
    path.write_text(TASK.replace("threads", "threds"))
    assert f"{path}:6: spec.parameters.threds" in refusal(path)
