"""The docs name everything that there is, and nothing that there is not."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from enum import StrEnum
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import Any

import click
import pytest

from inference_autotuner.optimizer.errors import AutotunerError, Reason
from inference_autotuner.optimizer.legacy import is_legacy
from inference_autotuner.optimizer.metrics import Metric, Statistic
from inference_autotuner.optimizer.plan import StopReason
from inference_autotuner.optimizer.spec import Slo
from inference_autotuner.optimizer.taskfile import load_task
from inference_autotuner.optimizer.verdict import VerdictKind
from inference_autotuner.optimizer.yaml_reader import read_document
from inference_autotuner.ui.cli import COMMANDS, EXIT_BUG, EXIT_STOPPED, cli
from inference_autotuner.workflows.taskfiles import read_task

ROOT = Path(__file__).parents[1]
ROOMS = ("optimizer", "manifests", "workflows", "ui")
PAGES = sorted(
    page
    for page in ROOT.rglob("*.md")
    if not any(part.startswith(".") or part == "build" for part in page.relative_to(ROOT).parts)
)
EXAMPLES = sorted(
    file for file in (ROOT / "examples").glob("*/*") if file.suffix in (".yaml", ".json")
)
# What `kubectl apply -k` reads: no program of ours does.
INSTALLED_FROM_A_CHECKOUT = ("base/", "overlays/", "storage_token")
EXIT_USAGE = 2  # click's own
EXIT_DOCTOR = 1

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.M | re.S)
_SPAN = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\[[^\]\n]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#+ (.+)$", re.M)
_CALL = re.compile(r"(?:^|[\s/])autotuner (.+)$")


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@lru_cache
def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def page(name: str) -> str:
    return text_of(ROOT / "docs" / name)


def rows(text: str) -> set[str]:
    """What stands as code in the first cells of a page's tables."""
    cells = [line.split("|")[1] for line in text.splitlines() if line.startswith("|")]
    return {span for cell in cells for span in _SPAN.findall(cell)}


def blocks(text: str, *languages: str) -> Iterator[str]:
    yield from (body for language, body in _BLOCK.findall(text) if language in languages)


def sources() -> Iterator[Path]:
    for room in ROOMS:
        yield from sorted((ROOT / room).rglob("*.py"))


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found, name
    return found


def options(of: click.Command) -> set[str]:
    """Every spelling of a command's options."""
    found = {
        spelling
        for parameter in of.params
        if isinstance(parameter, click.Option)
        for spelling in (*parameter.opts, *parameter.secondary_opts)
    }
    return {*found, "--help", "-h"}


def section(text: str, heading: str) -> str:
    """What stands below a heading, to the next one of its level."""
    parts = re.split(r"^## ", text, flags=re.M)
    found = [part for part in parts if part.partition("\n")[0].strip() == heading]
    assert found, f"no section '{heading}'"
    return found[0]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_a_section_that_names_its_options(name: str) -> None:
    text = page("cli.md")
    common = rows(section(text, "Options that several commands have"))
    assert name in rows(text)
    assert options(command(name)) <= rows(section(text, name)) | common


def test_the_options_before_a_command_are_named() -> None:
    assert options(cli) <= rows(section(page("cli.md"), "Options that several commands have"))


@pytest.mark.parametrize("option", ["--output", "--storage"])
def test_a_common_option_names_the_commands_that_have_it(option: str) -> None:
    line = next(line for line in page("cli.md").splitlines() if line.startswith(f"| `{option}`"))
    named = {word.strip() for word in line.split("|")[2].split(",")}
    assert named == {name for name in COMMANDS if option in options(command(name))}


@pytest.mark.parametrize(
    ("words", "where"),
    [
        (Reason, "troubleshooting.md"),
        (StopReason, "troubleshooting.md"),
        (Metric, "metrics.md"),
        (Statistic, "metrics.md"),
    ],
)
def test_every_word_of_a_closed_list_has_a_row(words: type[StrEnum], where: str) -> None:
    assert {str(word) for word in words} <= rows(page(where))


@pytest.mark.parametrize("name", ["verdict.md", "quickstart.md"])
def test_every_kind_of_verdict_is_named(name: str) -> None:
    assert {str(kind) for kind in VerdictKind} <= set(_SPAN.findall(page(name)))


def test_every_field_of_an_slo_has_a_row() -> None:
    assert set(Slo.model_fields) <= rows(page("metrics.md"))


def exit_codes(of: type[AutotunerError]) -> Iterator[int]:
    yield of.exit_code
    for below in of.__subclasses__():
        yield from exit_codes(below)


def test_every_exit_code_has_a_row() -> None:
    codes = {*exit_codes(AutotunerError), EXIT_BUG, EXIT_STOPPED, EXIT_USAGE, EXIT_DOCTOR}
    table = section(page("cli.md"), "Exit codes")
    assert codes == {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.M)}


def test_every_environment_variable_that_the_code_reads_is_named() -> None:
    used = {name for path in sources() for name in re.findall(r"AUTOTUNER_[A-Z_]+", text_of(path))}
    named = set(re.findall(r"AUTOTUNER_[A-Z_]+", section(page("cli.md"), "Environment variables")))
    assert used == named


def test_everything_that_the_doctor_looks_at_is_named() -> None:
    found = {
        name
        for file in ("doctor.py", "installed.py", "machine.py")
        for name in re.findall(r'Finding\(\s*"([^"]+)"', text_of(ROOT / "workflows" / file))
    }
    assert len(found) > 8
    table = section(page("troubleshooting.md"), "doctor")
    assert found <= {line.split("|")[1].strip() for line in table.splitlines() if "|" in line}


def test_the_readme_fits_two_screens() -> None:
    assert len(text_of(ROOT / "README.md").splitlines()) <= 80


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_link_inside_the_repository_leads_somewhere(path: Path) -> None:
    for link in _LINK.findall(_BLOCK.sub("", text_of(path))):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def anchors(path: Path) -> set[str]:
    """As Git hosts make them from headings."""
    plain = [_BLOCK.sub("", text_of(path))]
    headings = [heading.replace("`", "") for text in plain for heading in _HEADING.findall(text)]
    return {re.sub(r"[^\w\- ]", "", h.lower()).strip().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_block_of_yaml_or_json_can_be_read_and_whole_tasks_are_valid(path: Path) -> None:
    for body in blocks(text_of(path), "yaml", "json"):
        document = read_document(body)
        assert document.mistakes == (), body
        if is_task(document.value):
            load_task(body, name_of(path))


def is_task(value: Any) -> bool:
    return is_legacy(value) or (isinstance(value, dict) and value.get("kind") == "TuningTask")


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_every_command_that_is_shown_exists_with_its_options(path: Path) -> None:
    for words in calls(text_of(path)):
        while words and words[0].startswith("-"):
            assert words.pop(0) in options(cli), words
        if not words or words[0] == "COMMAND":
            continue
        assert words[0] in COMMANDS, f"autotuner {' '.join(words)}"
        known = options(command(words[0]))
        given = {word.partition("=")[0] for word in words if word.startswith("-") and word != "-"}
        assert given <= known, f"autotuner {' '.join(words)}"


def calls(text: str) -> Iterator[list[str]]:
    """The words behind `autotuner` in every line of a shell block and in every span of code."""
    lines = [line for body in blocks(text, "sh") for line in body.splitlines()]
    spans = _SPAN.findall(_BLOCK.sub("", text))
    for code in (*lines, *spans):
        if match := _CALL.search(code.partition(" #")[0]):
            yield shlex.split(re.split(r"[|>;&…]", match[1])[0])


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_every_example_is_valid(path: Path) -> None:
    assert read_task(path).task.metadata.name


def test_every_example_has_a_page_and_is_listed() -> None:
    folders = {file.parent for file in EXAMPLES}
    assert len(folders) >= 4
    listed = text_of(ROOT / "examples" / "README.md")
    for folder in folders:
        assert (folder / "README.md").exists(), folder
        assert f"]({folder.name}/README.md)" in listed


@lru_cache
def setuptools() -> dict[str, Any]:
    found = tomllib.loads(text_of(ROOT / "pyproject.toml"))["tool"]["setuptools"]
    assert isinstance(found, dict)
    return found


def test_every_package_is_in_the_wheel() -> None:
    folders = {path.parent.relative_to(ROOT) for path in sources() if path.name == "__init__.py"}
    wanted = {".".join(("inference_autotuner", *folder.parts)) for folder in folders}
    assert set(setuptools()["packages"]) == wanted


def test_every_other_file_of_a_room_is_in_the_wheel() -> None:
    data = setuptools()["package-data"]
    for room in ROOMS:
        patterns = [*data["*"], *data.get(f"inference_autotuner.{room}", [])]
        for file in (ROOT / room).rglob("*"):
            if file.is_file() and file.suffix not in (".py", ".pyc"):
                inside = str(file.relative_to(ROOT / room))
                if room == "manifests" and inside.startswith(INSTALLED_FROM_A_CHECKOUT):
                    continue
                assert any(fnmatch(inside, pattern) for pattern in patterns), inside
