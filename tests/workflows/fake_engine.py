"""An engine for tests: flags are what it does wrong."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from inference_autotuner.optimizer import spec
from inference_autotuner.optimizer.engine import Engine, Launch, get_engine
from inference_autotuner.optimizer.errors import Blame, Reason
from inference_autotuner.optimizer.failures import Signature
from inference_autotuner.optimizer.flags import render_args
from inference_autotuner.workflows.deployer import Order

PROGRAM = Path(__file__).with_name("fake_engine_program.py")
COMMAND = (sys.executable, "-I", "-S", str(PROGRAM))


def _command_line(launch: Launch) -> tuple[str, ...]:
    name = launch.served_name or "fake"
    start = ("--port", str(launch.port), "--model", launch.model, "--served-name", name)
    return (*start, *render_args(launch.args, {}))


FAKE = replace(
    get_engine("llamacpp"),  # for what no deployer reads
    name="fake",
    title="Fake",
    version="1",
    command_line=_command_line,
    served_name=lambda launch: launch.served_name or "fake",
    signatures=(
        Signature("CUDA out of memory", Blame.PARAMS, Reason.OUT_OF_MEMORY, "out of GPU memory"),
    ),
    ready_line="serving",
    programs=(("no-such-engine",), COMMAND),
    fallback_module=None,
    config_path="/props",
    config_values={"model": "arguments.3", "owner": "environment.AUTOTUNER_OWNER"},
    log_values={"state": r"^(serving)$"},
    environment={"FAKE_ENGINE": "yes"},
)


def make_order(
    args: Mapping[str, Any],
    *,
    base: Path,
    trial: str = "t-0001",
    ready_timeout_s: float = 20.0,
    gpus: int = 0,
    engine: Engine = FAKE,
    model: str = "org/model",
    **engine_fields: Any,
) -> Order:
    """An order of the study `s-h0`; only what a deployer reads is filled in."""
    asked = {"name": "fake", "binary": None, "env": {}, **engine_fields}
    return Order(
        study="s-h0",
        trial=trial,
        spec=spec.Spec.model_construct(
            model=spec.Model(name=model),
            engine=spec.Engine.model_construct(**asked),
            deployment=spec.Deployment(mode="process", readyTimeout=f"{ready_timeout_s:g}s"),
        ),
        engine=engine,
        args=args,
        gpus=gpus,
        base=str(base),
    )
