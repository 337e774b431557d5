"""What an engine is to the tuner: flags, a command line, and how to read its log.

An engine is one module in `engines/` with one `ENGINE`; it is found by its file name.
"""

import json
import pkgutil
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any

from inference_autotuner.optimizer import engines
from inference_autotuner.optimizer.errors import Failure
from inference_autotuner.optimizer.failures import Signature, diagnose
from inference_autotuner.optimizer.flags import Args, Boolean, Flag, normalize, render_args

RESOLVED_LIMIT = 2048  # bytes; the answer itself may have a megabyte


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
        command_line: Launch to arguments, without the program.
        served_name: Launch to the model name that requests must use.
        gpus: Args to the number of GPUs one server takes.
        signatures: What its log says when it fails, the most telling first.
        programs: Programs that start it, the first one found on PATH is taken.
        container_command: What starts it in a container image.
        api_backend: genai-bench's name for it, chosen so that `ignore_eos` is sent.
        ready_line: A pattern of the log line with which it says that it serves.
        image_pattern: Its makers' container image, with `{version}` for digits and dots.
        others: Further flags it takes; their values are not checked.
        families: Beginnings of still further flags it takes.
        boolean: How it writes booleans of flags that are not in the catalog.
        aliases: Other spellings of a flag, to its name in the catalog.
        reserved: Flags that the tuner sets, each with what to write instead.
        removed: Flags that are gone or do nothing, each with what to write instead.
        deprecated: Flags it still takes, each with what to write instead.
        rules: Constraints of the engine.
        room: A CEL condition under which requests of `{tokens}` tokens, prompt and output
            together, fit into the context.
        effective: Args with every constant default, to what of them takes effect.
        fallback_module: A Python module of ours that serves where no program is found.
        forbidden_in_name: Characters that a served name must not have.
        health_path: Where a GET answers 200 once it is up.
        config_path: Where a running server tells its configuration; None where it does not.
        config_values: What to keep of that answer: name to the dotted path in it.
        log_values: What to keep of the log: name to a pattern with one group.
        flush_path: Where a POST empties the prefix cache; None where there is none.
        environment: Environment variables that every server needs, also the winner.
        trial_environment: Environment variables of servers that are measured, beside those.
        search_space: What `autotuner init` proposes, by flag, in the task's own form.
    """

    name: str
    title: str
    version: str
    flags: Mapping[str, Flag]
    command_line: Callable[[Launch], tuple[str, ...]]
    served_name: Callable[[Launch], str]
    gpus: Callable[[Args], int]
    signatures: tuple[Signature, ...]
    programs: tuple[tuple[str, ...], ...]
    container_command: tuple[str, ...]
    api_backend: str
    ready_line: str
    image_pattern: str = ""
    others: frozenset[str] = frozenset()
    families: tuple[str, ...] = ()
    boolean: Boolean = Boolean.SWITCH
    aliases: Mapping[str, str] = field(default_factory=dict)
    reserved: Mapping[str, str] = field(default_factory=dict)
    removed: Mapping[str, str] = field(default_factory=dict)
    deprecated: Mapping[str, str] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    room: str = "true"
    effective: Callable[[Args], Args] = lambda args: args
    fallback_module: str | None = None
    forbidden_in_name: str = ""
    health_path: str = "/health"
    config_path: str | None = None
    config_values: Mapping[str, str] = field(default_factory=dict)
    log_values: Mapping[str, str] = field(default_factory=dict)
    flush_path: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    trial_environment: Mapping[str, str] = field(default_factory=dict)
    search_space: Mapping[str, Any] = field(default_factory=dict)

    @property
    def image(self) -> str:
        """The container image of the version that the catalog describes."""
        return self.image_for(self.version)

    def image_for(self, version: str) -> str:
        """The container image of a version, such as `v0.32.0` or `0.32.0`."""
        return self.image_pattern.format(version=version.lstrip("vb"))

    def fixed_words(self, binary: str) -> tuple[str, ...]:
        """What follows a program of one's own choice: `serve` after a `vllm` at any path."""
        name = binary.rstrip("/").rpartition("/")[2]
        return next((program[1:] for program in self.programs if program[0] == name), ())

    def defaults(self) -> dict[str, Any]:
        """Flags whose default is a constant, with it."""
        return dict(self._defaults)

    @cached_property
    def _defaults(self) -> dict[str, Any]:
        """Read for every combination of a search space, and always the same."""
        return {
            name: normalize(flag, flag.default)
            for name, flag in self.flags.items()
            if flag.default is not None
        }

    def canonical(self, name: str) -> str:
        """The catalog's spelling of a flag: dashes, and no alias.

        Keys inside a JSON value keep their own spelling: `compilation-config.cudagraph_mode`.
        """
        head, dot, key = name.strip("-").partition(".")
        dashed = head.replace("_", "-")
        return self.aliases.get(dashed, dashed) + dot + key

    def knows(self, name: str) -> bool:
        """Whether it takes a flag, under the catalog's spelling."""
        head = name.partition(".")[0]
        return head in self.flags or head in self.others or head.startswith(self.families)

    def settled(self, args: Args) -> dict[str, Any]:
        """Args under the catalog's names, with equal values spelled equally."""
        named = {self.canonical(name): value for name, value in args.items()}
        return {name: normalize(self.flags.get(name), value) for name, value in named.items()}

    def with_defaults(self, args: Args) -> dict[str, Any]:
        """Every value that is known before a server runs: constant defaults, then args."""
        return {**self.defaults(), **self.settled(args)}

    def render(self, args: Args) -> tuple[str, ...]:
        """Args as a command line, sorted by flag."""
        named = {self.canonical(name): value for name, value in args.items()}
        return render_args(named, self.flags, self.boolean)

    def classify(self, log: str, exit_code: int | None) -> Failure:
        """What went wrong with a server that does not serve.

        Args:
            log: Everything it wrote.
            exit_code: Negative for a signal; None while it lives.
        """
        return diagnose(self.signatures, self.ready_line, log, exit_code)

    def read_config(self, answer: Any) -> Mapping[str, Any]:
        """The few values worth keeping of what `config_path` answers; 2 KiB at most."""
        found = {name: _at(answer, path) for name, path in self.config_values.items()}
        return _bounded(found)

    def read_log(self, log: str) -> Mapping[str, Any]:
        """What the log tells of the configuration; 2 KiB at most."""
        matches = {name: re.search(p, log, re.M) for name, p in self.log_values.items()}
        return _bounded({name: match and match[1] for name, match in matches.items()})


def identity(engine: Engine, args: Args) -> tuple[str, ...]:
    """The command line that counts: equal for args that make the engine run the same.

    Left out are switches that are off, constant defaults, and flags that do nothing beside the
    others.
    """
    defaults = engine.defaults()
    effective = engine.effective(engine.with_defaults(args))
    kept = {n: v for n, v in effective.items() if n not in defaults or v != defaults[n]}
    return engine.render(kept)


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


def _at(answer: Any, path: str) -> Any:
    for key in path.split("."):
        if isinstance(answer, list) and key.isdigit():
            answer = answer[int(key)] if int(key) < len(answer) else None
        else:
            answer = answer.get(key) if isinstance(answer, Mapping) else None
    return answer


def _bounded(found: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {}
    room = RESOLVED_LIMIT
    for name, value in found.items():
        size = len(json.dumps({name: value}))
        if value is None or isinstance(value, list | Mapping) or size > room:
            continue
        kept[name] = value
        room -= size
    return kept
