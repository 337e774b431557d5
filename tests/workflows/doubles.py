"""Doubles of deployer and benchmark: what an executor does is seen without servers."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Params
from inference_autotuner.workflows.deployer import Order, Server
from tests.optimizer.tasks import measurement, vllm_task

PARAMETERS = {"max-num-seqs": [16, 32, 64, 128], "enforce-eager": [True, False]}


def task(**spec: Any) -> TuningTask:
    """A small search: eight combinations, no proof unless asked for."""
    defaults = {"budget": {"trials": 4}, "confirm": {"repeats": 0}}
    return vllm_task(PARAMETERS, **{**defaults, **spec})


@dataclass
class FakeDeployer:
    """Serves what `behave` does not refuse, and remembers who is up."""

    behave: Callable[[Params], Failure | None] = lambda params: None
    up: set[tuple[str, str]] = field(default_factory=set)
    most_up: int = 0
    deployed: list[str] = field(default_factory=list)
    swept: int = 0
    dead: set[str] = field(default_factory=set)
    on_deploy: Callable[[Order], None] = lambda order: None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def deploy(
        self,
        order: Order,
        *,
        on_line: Callable[[str], None],
        on_room: Callable[[], None],
        is_cancelled: Callable[[], bool],
    ) -> Server | Failure:
        """Up at once."""
        on_room()
        with self.lock:
            self.deployed.append(order.trial)
            self.up.add((order.study, order.trial))
            self.most_up = max(self.most_up, len(self.up))
        self.on_deploy(order)
        on_line("loading")
        if failure := self.behave(order.args):
            return failure
        return Server("http://127.0.0.1:1", "m", ("--model", "m"), {"slots": 4})

    def is_alive(self, order: Order) -> bool:
        """Unless a test killed it."""
        return order.trial not in self.dead

    def failure(self, order: Order) -> Failure:
        """What a test's dead server died of."""
        return Failure(Blame.PARAMS, Reason.CRASHED_UNDER_LOAD, "it died under load")

    def log_tail(self, order: Order) -> str:
        """Always the same."""
        return "the last line"

    def release(self, study: str, trial: str) -> None:
        """Down at once."""
        with self.lock:
            self.up.discard((study, trial))

    def sweep(self, study: str | None) -> list[str]:
        """Nothing is ever left."""
        self.swept += 1
        return []


def scripted(
    measure: Callable[[str], Measurement],
) -> Callable[..., Measurement]:
    """A benchmark that says what a test wants; `measure` gets the trial's name."""

    def fake(spec: object, *, owner: str, **_: Mapping[str, Any]) -> Measurement:
        return measure(owner.rpartition("/")[2])

    return fake


def steady(_: str) -> Measurement:
    """Every trial alike."""
    return measurement(100.0)
