"""Secrets that a person wrote into a task: found by name, and never written down again."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from inference_autotuner.optimizer.spec import TuningTask

WITHHELD = "(withheld)"
_LAST_WORDS = {"token", "key", "password", "passwd", "passphrase", "secret", "credentials"}
_SHORTEST = 6  # replacing every "x" of a report would hide nothing and break everything


def is_secret(name: str, value: object) -> bool:
    """Whether a flag or environment variable holds a secret, judged by the last word of its name.

    >>> is_secret("api-key", "abc"), is_secret("HF_TOKEN", "abc"), is_secret("max-token", 5)
    (True, True, False)
    >>> is_secret("long-prefill-token-threshold", "512"), is_secret("tokenizer", "a/b")
    (False, False)
    """
    words = re.split(r"[^a-z0-9]+", name.lower())
    return isinstance(value, str) and value != "" and words[-1] in _LAST_WORDS


def secrets_of(task: TuningTask) -> tuple[str, ...]:
    """Every secret value in a task, longest first."""
    found = set(_secrets_in(task.spec.model_dump()))
    return tuple(sorted(found, key=lambda secret: (-len(secret), secret)))


def without_secrets(task: TuningTask) -> TuningTask:
    """The same task with every secret replaced, to be shown."""
    engine = task.spec.engine
    workload = task.spec.workload
    shown = {
        "engine": engine.model_copy(
            update={"args": withhold(engine.args), "env": withhold(engine.env)}
        ),
        "workload": workload.model_copy(update={"requestParams": withhold(workload.requestParams)}),
    }
    return task.model_copy(update={"spec": task.spec.model_copy(update=shown)})


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Text without the secrets."""
    for secret in secrets:
        if len(secret) >= _SHORTEST:
            text = text.replace(secret, WITHHELD)
    return text


def withhold(value: Any) -> Any:
    """The same structure with every secret replaced.

    >>> withhold({"env": {"HF_TOKEN": "hf_abc", "OMP_NUM_THREADS": "2"}})
    {'env': {'HF_TOKEN': '(withheld)', 'OMP_NUM_THREADS': '2'}}
    """
    if isinstance(value, Mapping):
        return {k: WITHHELD if is_secret(str(k), v) else withhold(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [withhold(item) for item in value]
    return value


def _secrets_in(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if is_secret(str(name), inner):
                yield inner
            else:
                yield from _secrets_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _secrets_in(inner)
