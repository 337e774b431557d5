"""What a deployer is: puts an engine with params somewhere, and takes it away again."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from inference_autotuner.optimizer.engine import Engine
from inference_autotuner.optimizer.errors import Failure
from inference_autotuner.optimizer.flags import Args
from inference_autotuner.optimizer.spec import Spec


@dataclass(frozen=True)
class Order:
    """One server that is wanted.

    Attributes:
        study: Study name; with `trial` it names the server everywhere.
        trial: Trial name, such as `t-0003`.
        spec: The task's spec: model, engine, deployment.
        engine: The engine's adapter.
        args: Fixed args and params together, by flag name.
        gpus: GPUs the server takes.
        base: Folder at which relative paths of the task start.
    """

    study: str
    trial: str
    spec: Spec
    engine: Engine
    args: Args
    gpus: int
    base: str

    @property
    def owner(self) -> str:
        """The mark that every process of this server carries in its environment."""
        return f"{self.study}/{self.trial}"


@dataclass(frozen=True)
class Server:
    """An engine that serves.

    Attributes:
        url: Base address, without `/v1`.
        served_name: The model name that requests must use.
        engine_args: Its exact arguments, without the program.
        resolved: What it says of its own configuration.
    """

    url: str
    served_name: str
    engine_args: tuple[str, ...]
    resolved: Mapping[str, Any]


class Deployer(Protocol):
    """Puts an engine somewhere and takes it away. Everything may be called twice."""

    def deploy(
        self,
        order: Order,
        *,
        on_line: Callable[[str], None],
        on_room: Callable[[], None],
        is_cancelled: Callable[[], bool],
    ) -> Server | Failure:
        """Starts the server and waits until it serves a completion with this configuration.

        A server of the same order that runs already is taken away first: nobody knows what
        it has been through. `on_line` hears the engine's log until the server is released, in
        any thread. `on_room` is called once GPUs were given to it: waiting for room costs nothing.

        Raises:
            DeployError: The world broke, or the wait was cancelled (Reason.INTERRUPTED).
            StudyError: What was started cannot be ended.
        """

    def is_alive(self, order: Order) -> bool:
        """Whether the server still runs; cheap, asked every second."""

    def failure(self, order: Order) -> Failure:
        """What became of a server that died under load, from its log and exit code.

        Known until the order is deployed again, also after its release.
        """

    def log_tail(self, order: Order) -> str:
        """The end of the engine's log, at most 4 KiB; empty when there is none."""

    def release(self, study: str, trial: str) -> None:
        """Returns only when the server is gone and its memory, port and GPUs are free.

        Raises:
            StudyError: It cannot be ended; what it holds stays taken.
        """

    def sweep(self, study: str | None) -> list[str]:
        """Releases what killed runs left behind; names what it removed.

        Args:
            study: Only of this study, this tuner's own servers included; None for every study
                of which no tuner runs any more.

        Raises:
            StudyError: Something cannot be ended.
        """
