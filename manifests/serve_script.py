"""The winner as a shell script: the exact command, with model, host and port left open."""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence

from inference_autotuner.manifests.command import (
    HOST,
    MODEL,
    PORT,
    Variable,
    Word,
    open_words,
    secret_variables,
    winning_launch,
)
from inference_autotuner.manifests.environment import render
from inference_autotuner.manifests.withhold import is_secret
from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.errors import RenderError
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Params

DEFAULT_PORT = 8080
DEFAULT_HOST = "127.0.0.1"
_FLAG = re.compile(r"--?[A-Za-z]")


def render_serve_script(
    task: TuningTask,
    engine: Engine,
    params: Params,
    *,
    study: str,
    sentence: str,
    date: str,
    model: str,
) -> str:
    """A POSIX shell script that becomes the engine with these params.

    Args:
        task: The task; fixed args and environment are taken from it.
        engine: The engine's adapter.
        params: What to serve with.
        study: Study name.
        sentence: The verdict for people.
        date: When the study ended, as it is to be written.
        model: Hub id or path that the study served.

    Raises:
        RenderError: A word holds a NUL, which no command line can carry.
    """
    launch = winning_launch(task.spec, params, model=model, host=DEFAULT_HOST, port=DEFAULT_PORT)
    words = open_words(engine, task.spec, launch)
    environment = {**engine.environment, **task.spec.engine.env}
    programs = starting_programs(task, engine)
    return render(
        "serve.sh.j2",
        title=engine.title,
        study=study,
        sentence=sentence,
        date=date,
        defaults=[
            (MODEL.name, _shell(model)),
            (HOST.name, _shell(DEFAULT_HOST)),
            (PORT.name, str(DEFAULT_PORT)),
        ],
        required=list(_required(task, environment)),
        exports=[(k, _shell(v)) for k, v in environment.items() if not is_secret(k, v)],
        programs=[" ".join(map(_shell, program)) for program in programs],
        fallback=_fallback(engine),
        arguments=argument_lines(words),
    )


def starting_programs(task: TuningTask, engine: Engine) -> tuple[tuple[str, ...], ...]:
    """What may start the engine, the first that is installed: as in the study."""
    if binary := task.spec.engine.binary:
        return ((binary, *engine.fixed_words(binary)),)
    if engine.fallback_module is None:
        return engine.programs
    return (*engine.programs, ("python3", "-m", engine.fallback_module))


def _fallback(engine: Engine) -> dict[str, str] | None:
    """How the script finds out whether our launcher is there, and what it says when it is not."""
    if engine.fallback_module is None:
        return None
    program = engine.programs[0][0]
    message = (
        f"{program} is not installed, and python3 has no inference-autotuner: activate the "
        f"environment in which it is, or install {program}"
    )
    return {
        "test": shlex.quote(f"import {engine.fallback_module}"),
        "message": shlex.quote(message),
    }


def argument_lines(words: Sequence[Word]) -> list[str]:
    """The words quoted for a shell: a line for each flag, its values beside it.

    >>> argument_lines(["serve", "--model", Variable("SERVE_MODEL"), "--name", "1 2"])
    ['serve', '--model "$SERVE_MODEL"', "--name '1 2'"]
    """
    lines: list[str] = []
    for word in words:
        if not lines or (isinstance(word, str) and _FLAG.match(word)):
            lines.append(_shell(word))
        else:
            lines[-1] += f" {_shell(word)}"
    return lines


def _required(task: TuningTask, environment: Mapping[str, str]) -> Iterator[str]:
    yield from (name for name, value in environment.items() if is_secret(name, value))
    yield from (variable.name for variable in secret_variables(task.spec).values())


def _shell(word: Word) -> str:
    if isinstance(word, Variable):
        return f'"${word.name}"'
    if "\0" in word:
        raise RenderError(f"{word!r} holds a NUL, which no command line can carry")
    return shlex.quote(word)
