"""A task file's text to a tuning task, or every mistake in it at once."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from pydantic import ValidationError

from inference_autotuner.optimizer.check import check
from inference_autotuner.optimizer.check_flags import check_flags
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.findings import Findings, sort_out
from inference_autotuner.optimizer.legacy import convert, is_legacy
from inference_autotuner.optimizer.legacy_notes import Conversion
from inference_autotuner.optimizer.paths import LineIndex, is_within
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.wording import to_mistakes
from inference_autotuner.optimizer.yaml_reader import Document, read_document

_MOST = 50
# What a task needs beside its flags; nothing of it says anything about them.
_REST = {
    "model": {"name": "m"},
    "deployment": {"mode": "process"},
    "workload": {"scenarios": ["D(100,100)"]},
}


class LoadedTask(NamedTuple):
    """A task without mistakes, and what is to be said about it all the same.

    Attributes:
        task: The task.
        warnings: What works, but perhaps not as its writer thinks; each with line and field.
    """

    task: TuningTask
    warnings: tuple[Mistake, ...]


def parse_task(text: str, source: str) -> TuningTask:
    """The task in a YAML or JSON text.

    Args:
        text: The file's content.
        source: What it is called in mistakes, such as the file's name.

    Raises:
        TaskError: With every mistake, each with its line and field.
    """
    return load_task(text, source).task


def restore_task(text: str, source: str) -> TuningTask:
    """The task in a text that `to_yaml` wrote from a checked task.

    Flags are not checked again: a newer catalog must not shut away a study of an older one.

    Raises:
        TaskError: It is no such text.
    """
    document = read_document(text)
    task, found = _validate(_conversion(document, source).task, document)
    if task is None or document.mistakes:
        raise TaskError([*document.mistakes, *found], source)
    return task


def load_task(
    text: str,
    source: str,
    further: Callable[[TuningTask], Findings] = lambda _: Findings((), ()),
) -> LoadedTask:
    """The task in a YAML or JSON text, with what is to be said about it.

    Args:
        text: The file's content.
        source: What it is called in mistakes, such as the file's name.
        further: What its text alone does not show.

    Raises:
        TaskError: With every mistake, each with its line and field.
    """
    document = read_document(text)
    conversion = _conversion(document, source)
    task, found = _validate(conversion.task, document)
    warnings: Sequence[Mistake] = ()
    if task is None:
        found = [*found, *_wrong_flags(conversion.task)]
    elif not conversion.mistakes:
        findings, more = check(task), further(task)
        found = (*findings.mistakes, *more.mistakes)
        warnings = (*findings.warnings, *more.warnings)
    told = (*document.mistakes, *conversion.mistakes)
    mistakes = [*told, *_untold(_in_file(found, conversion), told)]
    lines = LineIndex(document.lines)
    if task is None or mistakes:
        raise TaskError(_in_order(mistakes, lines), source)
    warnings = _in_order([*conversion.warnings, *_in_file(warnings, conversion)], lines)
    return LoadedTask(task, tuple(warnings))


def _conversion(document: Document, source: str) -> Conversion:
    """The raw task in the new form; raises when the file holds no task at all."""
    raw = document.value
    if is_legacy(raw):
        return convert(raw)
    if isinstance(raw, dict) and raw.get("kind", "TuningTask") in ("TuningTask", None):
        return Conversion(raw)
    if isinstance(raw, dict):
        problem = Mistake("kind", f"this is no tuning task but a {raw['kind']}")
    else:
        problem = Mistake("", "a task is a mapping and begins with `apiVersion:` or `metadata:`")
    problems = document.mistakes or (problem,)
    raise TaskError(_in_order(problems, LineIndex(document.lines)), source)


def _validate(
    raw: dict[str, Any], document: Document
) -> tuple[TuningTask | None, Sequence[Mistake]]:
    """The task, or what is wrong with its fields, each by itself."""
    try:
        return TuningTask.model_validate(raw), ()
    except ValidationError as error:
        return None, to_mistakes(error.errors(include_url=False), raw, document.written)


def _wrong_flags(raw: dict[str, Any]) -> tuple[Mistake, ...]:
    """What is wrong with the flags, where they can be read, of a task with mistakes elsewhere."""
    spec = raw.get("spec")
    engine = spec.get("engine") if isinstance(spec, dict) else None
    if not isinstance(spec, dict) or not isinstance(engine, dict):
        return ()
    kept = {key: engine[key] for key in ("name", "version", "args") if key in engine}
    alone = {**_REST, "engine": kept, "parameters": spec.get("parameters")}
    try:
        task = TuningTask.model_validate({"metadata": {"name": "flags"}, "spec": alone})
    except ValidationError:
        return ()
    return sort_out(check_flags(get_engine(task.spec.engine.name), task.spec)).mistakes


def _in_file(found: Iterable[Mistake], conversion: Conversion) -> list[Mistake]:
    """The same with paths as the file has them."""
    return [replace(mistake, path=conversion.in_file(mistake.path)) for mistake in found]


def _untold(found: Iterable[Mistake], told: Sequence[Mistake]) -> list[Mistake]:
    """Mistakes in fields of which nothing was said before."""
    return [m for m in found if not any(is_within(m.path, before.path) for before in told)]


def _in_order(found: Iterable[Mistake], lines: LineIndex) -> list[Mistake]:
    """By line, each once, and not more than a person reads."""
    placed = [replace(m, line=m.line or lines.line(m.path)) for m in found]
    distinct = sorted(dict.fromkeys(placed), key=lambda mistake: mistake.line or 0)
    if len(distinct) <= _MOST:
        return distinct
    rest = Mistake("", f"and {len(distinct) - _MOST} more like these")
    return [*distinct[:_MOST], rest]
