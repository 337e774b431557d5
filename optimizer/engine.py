"""What an engine is to the tuner: flags, a command line, and how to read its failures.

An engine is one module in `engines/` with one `ENGINE`; it is found by its file name.
"""

import json
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from typing import Any

from inference_autotuner.optimizer import engines
from inference_autotuner.optimizer.errors import Failure

Args = Mapping[str, Any]


class Boolean(StrEnum):
    """How a flag says yes and no."""

    SWITCH = "switch"
    """`--x` or nothing."""
    NEGATABLE = "negatable"
    """`--x` or `--no-x`."""
    WORD = "word"
    """`--x true` or `--x false`, as with any value."""


@dataclass(frozen=True)
class Flag:
    """One launch flag, under the engine's own name without dashes.

    Attributes:
        type: `bool`, `int`, `float`, `str` or `json`; what a value must look like.
        default: The engine's default where it is a constant; None where it is computed.
        choices: The words allowed; empty for any.
        boolean: How a boolean is written.
        repeats_value: A list is `--x a b` (True) or `--x a,b` (False).
        is_lossy: Whether it may change what the model answers, beyond rounding.
        minimum: Smallest number allowed.
        maximum: Largest number allowed.
    """

    type: str
    default: Any = None
    choices: tuple[str, ...] = ()
    boolean: Boolean = Boolean.SWITCH
    repeats_value: bool = True
    is_lossy: bool = False
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True)
class Rule:
    """A constraint that the engine itself enforces, as CEL over params.

    Attributes:
        expression: True where the engine runs.
        why: One sentence for a person.
    """

    expression: str
    why: str


@dataclass(frozen=True)
class Launch:
    """What an engine is started with.

    Attributes:
        model: Path or hub id as the engine takes it.
        served_name: The model name in requests; None leaves the engine's own rule.
        host: Address to listen on.
        port: Port to listen on.
        args: Fixed args and params together, by flag name.
    """

    model: str
    served_name: str | None
    host: str
    port: int
    args: Args


@dataclass(frozen=True)
class Engine:
    """An engine: data and a few functions.

    Attributes:
        name: As in the task file.
        title: As its makers write it.
        version: The version that the catalog of flags was read from.
        flags: The catalog, by flag name.
        aliases: Other spellings of a flag, to its name in the catalog.
        removed: Flags that are gone, each with what to write instead.
        rules: Constraints of the engine.
        programs: Programs that start it, the first one found on PATH is taken.
        fallback_module: A Python module of ours that serves where no program is found.
        container_command: What starts it in a container image.
        command_line: Launch to arguments, without the program.
        served_name: Launch to the model name that requests must use.
        gpus: Args to the number of GPUs one server takes.
        classify: Log text, exit code (None while it lives) to what went wrong.
        config_path: Where a running server tells its configuration; None where it does not.
        read_config: That answer to the few values worth keeping.
        flush_path: Where a POST empties the prefix cache; None where there is none.
        api_backend: genai-bench's name for it, chosen so that `ignore_eos` is sent.
        environment: Environment variables that every server needs.
        search_space: What `autotuner init` proposes, by flag.
    """

    name: str
    title: str
    version: str
    flags: Mapping[str, Flag]
    command_line: Callable[[Launch], tuple[str, ...]]
    served_name: Callable[[Launch], str]
    gpus: Callable[[Args], int]
    classify: Callable[[str, int | None], Failure]
    programs: tuple[tuple[str, ...], ...]
    container_command: tuple[str, ...]
    api_backend: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    fallback_module: str | None = None
    config_path: str | None = None
    read_config: Callable[[Any], Mapping[str, Any]] = lambda answer: {}
    flush_path: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    search_space: Mapping[str, Any] = field(default_factory=dict)

    def defaults(self) -> dict[str, Any]:
        """Flags whose default is a constant, with it."""
        return {name: flag.default for name, flag in self.flags.items() if flag.default is not None}

    def canonical(self, name: str) -> str:
        """The catalog's spelling of a flag: dashes, and no alias."""
        dashed = name.strip("-").replace("_", "-")
        return self.aliases.get(dashed, dashed)


def engine_names() -> tuple[str, ...]:
    """The engines there are, by file name."""
    return tuple(sorted(m.name for m in pkgutil.iter_modules(engines.__path__)))


def get_engine(name: str) -> Engine:
    """The engine called `name`.

    Raises:
        KeyError: There is none.
    """
    if name not in engine_names():
        raise KeyError(name)
    found = import_module(f"{engines.__name__}.{name}").ENGINE
    assert isinstance(found, Engine)
    return found


def render_args(args: Args, flags: Mapping[str, Flag]) -> tuple[str, ...]:
    """Args as a command line, sorted by flag: the same args give the same line.

    A flag that the catalog does not know is written as its value suggests: a boolean as a
    switch, an object as JSON, a list as repeated values.

    >>> render_args({"b": True, "a": [1, 2], "c": False}, {})
    ('--a', '1', '2', '--b')
    """
    line: list[str] = []
    for name in sorted(args):
        line += _render_flag(name, args[name], flags.get(name))
    return tuple(line)


def _render_flag(name: str, value: Any, flag: Flag | None) -> Sequence[str]:
    option = f"--{name}"
    if isinstance(value, bool):
        form = flag.boolean if flag else Boolean.SWITCH
        if form is Boolean.WORD:
            return (option, str(value).lower())
        if value:
            return (option,)
        return (f"--no-{name}",) if form is Boolean.NEGATABLE else ()
    if isinstance(value, Mapping):
        return (option, json.dumps(value, sort_keys=True, separators=(",", ":")))
    if isinstance(value, list | tuple):
        if flag and not flag.repeats_value:
            return (option, ",".join(map(str, value)))
        return (option, *map(str, value))
    return (option, str(value))
