"""What is started for an order: program, arguments, environment. Looks, but starts nothing."""

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from inference_autotuner.optimizer.engine import Engine, Launch
from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.workflows.deployer import Order
from inference_autotuner.workflows.http_exchange import HOST
from inference_autotuner.workflows.marks import mark_environment, without_mark
from inference_autotuner.workflows.model_files import looks_like_path, place_of

_SECRETS = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL")


@dataclass(frozen=True)
class Plan:
    """A server that can be started once it has a port.

    Attributes:
        program: What is run, without the engine's arguments.
        model: The model as the engine takes it.
        added: Environment variables beside the tuner's own.
    """

    program: tuple[str, ...]
    model: str
    added: Mapping[str, str]

    def environment(self) -> dict[str, str]:
        """The whole environment of the server."""
        return {**without_mark(os.environ), **self.added}


def plan_launch(order: Order) -> Plan | Failure:
    """What to start for `order`, or what is missing for it."""
    added = {
        **order.engine.environment,
        **order.engine.trial_environment,
        **order.spec.engine.env,
        **mark_environment(order.owner),
    }
    path = added.get("PATH", os.environ.get("PATH", os.defpath))
    program = find_program(order.engine, order.spec.engine.binary, path=path, base=order.base)
    if isinstance(program, Failure):
        return program
    model = find_model(order.spec.model.name, base=order.base)
    return model if isinstance(model, Failure) else Plan(program, model, added)


def launch_of(order: Order, model: str, port: int) -> Launch:
    """What the engine's command line is made from."""
    return Launch(
        model=model,
        served_name=order.spec.model.servedName,
        host=HOST,
        port=port,
        args=order.args,
    )


def find_program(
    engine: Engine, binary: str | None, *, path: str, base: str
) -> tuple[str, ...] | Failure:
    """The program of an engine.

    Args:
        engine: The engine.
        binary: The task's own choice: a path, from `base`, or a name on `path`.
        path: Folders to look in, as in `$PATH`; that of this Python comes last.
        base: Folder of the task.
    """
    folders = os.pathsep.join((path, str(Path(sys.executable).parent)))
    if binary is not None:
        chosen = _chosen_program(binary, folders, base)
        return chosen if isinstance(chosen, Failure) else (*chosen, *engine.fixed_words(binary))
    for program in engine.programs:
        if found := shutil.which(program[0], path=folders):
            return (found, *program[1:])
    if engine.fallback_module and _is_installed(engine.fallback_module):
        return (sys.executable, "-P", "-m", engine.fallback_module)
    return _no_engine(
        f"{' or '.join(program[0] for program in engine.programs)} is not on PATH; "
        f"install {engine.title}, or name its program in spec.engine.binary"
    )


def find_model(name: str, *, base: str) -> str | Failure:
    """The model as the engine takes it: an absolute path, or the hub id as it is."""
    path = place_of(name, base=base)
    if path.exists():
        if os.access(path, os.R_OK):
            return str(path)
        return _no_model(f"{path} may not be read by this user; change its permissions")
    if not looks_like_path(name):
        return name
    return _no_model(
        f"there is no model at {path}; mend spec.model.name (a relative path starts at the task "
        "file), or give a hub id such as org/model"
    )


def shown(added: Mapping[str, str]) -> dict[str, str]:
    """Environment variables as they may be written down: no secret."""
    return {k: "***" if any(s in k.upper() for s in _SECRETS) else v for k, v in added.items()}


def _chosen_program(binary: str, folders: str, base: str) -> tuple[str, ...] | Failure:
    if os.sep not in binary:
        found = shutil.which(binary, path=folders)
        return (found,) if found else _no_engine(f"'{binary}' (spec.engine.binary) is not on PATH")
    path = Path(base, Path(binary).expanduser()).absolute()
    if path.is_file() and os.access(path, os.X_OK):
        return (os.path.normpath(path),)
    what = "is no program that this user may run" if path.exists() else "does not exist"
    return _no_engine(f"{path} (spec.engine.binary) {what}")


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _no_engine(message: str) -> Failure:
    return Failure(Blame.TASK, Reason.ENGINE_NOT_FOUND, message)


def _no_model(message: str) -> Failure:
    return Failure(Blame.TASK, Reason.MODEL_NOT_FOUND, message)
