"""A first task: what `autotuner init` writes, ready to be edited."""

import re

from inference_autotuner.optimizer.canonical import to_yaml
from inference_autotuner.optimizer.engine import engine_names, get_engine
from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.spec import TuningTask

_HEADER = """\
# A tuning task: which flags serve this model and this traffic best?
# Check it with `autotuner validate`, see its cost with `autotuner plan`, run it with
# `autotuner run`. Every field is described in docs/task.md.
"""


def first_task(*, engine: str, model: str, name: str | None, mode: str) -> str:
    """A task as YAML with the engine's own search space.

    Args:
        engine: The engine's name.
        model: A path, a hub id, or the name of an OME model.
        name: The task's name; None makes one from the model's.
        mode: The deployment mode.

    Raises:
        TaskError: There is no such engine, or the name cannot be used.
    """
    if engine not in engine_names():
        allowed = ", ".join(engine_names())
        raise TaskError([Mistake("--engine", f"no engine '{engine}'; there are {allowed}")])
    task = TuningTask.model_validate(
        {
            "metadata": {"name": name or name_from(model)},
            "spec": {
                "description": f"Flags of {get_engine(engine).title} for {model}",
                "model": {"name": model},
                "engine": {"name": engine, **_where(engine, mode)},
                "deployment": {"mode": mode, **_namespace(mode)},
                "parameters": dict(get_engine(engine).search_space),
                "workload": {"scenarios": ["D(1000,200)"], "concurrency": [1, 8, 32]},
                "slos": [{"metric": "ttft", "statistic": "p99", "limit": "2s"}],
            },
        }
    )
    return _HEADER + to_yaml(task)


def _where(engine: str, mode: str) -> dict[str, str]:
    if mode == "ome":
        return {"runtime": f"{engine}-runtime"}
    if mode in ("kubernetes", "docker"):
        return {"image": get_engine(engine).image}
    return {}


def _namespace(mode: str) -> dict[str, str]:
    """On a cluster the one that our manifests install in."""
    return {"namespace": "tuning"} if mode in ("kubernetes", "ome") else {}


def name_from(model: str) -> str:
    """A task name made from a model's: `models/Qwen2.5-7B.gguf` gives `qwen2-5-7b`.

    >>> name_from("meta-llama/Llama-3.1-8B-Instruct")
    'llama-3-1-8b-instruct'
    """
    last = re.sub(r"\.gguf$", "", model.rstrip("/").rpartition("/")[2].lower())
    name = re.sub(r"[^a-z0-9]+", "-", last).strip("-")[:35].strip("-")
    return name if name[:1].isalpha() else f"m-{name}"[:35].strip("-")
