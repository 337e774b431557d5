"""What a call to each kind of storage costs, and how much memory the service takes.

Run it with `PYTHONPATH=. python tests/benchmarks/storage.py`. A trial is asked (`begin`), noted
once and told with a measurement of about 8 KiB. `open` is a new client that reads the whole study,
as a pod does.
"""

import json
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

import psutil

from inference_autotuner.optimizer.metrics import Measurement
from inference_autotuner.optimizer.storage import open_storage, storage_url
from inference_autotuner.optimizer.study import Study, load_study, open_study
from inference_autotuner.optimizer.trial import Measured
from tests.optimizer.postgresql_server import PostgresqlServer, postgresql_server
from tests.optimizer.storage_process import TASK, TOKEN, StorageProcess, begin
from tests.optimizer.tasks import measurement

KINDS = ("journal", "grpc-over-journal", "postgresql", "grpc-over-postgresql")
SIZES = (100, 1000)
BYTES = 8192
Result = TypeVar("Result")


def full_measurement() -> Measurement:
    """As large as a trial's measurement may be."""
    point = measurement(100.0).points[0]
    whole = measurement(100.0)
    while len(json.dumps(Measurement((*whole.points, point)).to_json())) < BYTES:
        whole = Measurement((*whole.points, point))
    return whole


class Clock:
    """Milliseconds of the calls of each name."""

    def __init__(self) -> None:
        self.spent: dict[str, list[float]] = {}

    def time(self, name: str, call: Callable[[], Result]) -> Result:
        begun = time.perf_counter()
        result = call()
        self.spent.setdefault(name, []).append((time.perf_counter() - begun) * 1000)
        return result

    def last(self, name: str, count: int) -> str:
        return f"{statistics.median(self.spent[name][-count:]):8.1f}"


@contextmanager
def storage_at(kind: str, server: PostgresqlServer) -> Iterator[tuple[str, StorageProcess | None]]:
    """The address of an empty storage, and its service where there is one."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own = server.new_url() if "postgresql" in kind else storage_url(folder / "journal.log")
        if not kind.startswith("grpc"):
            yield own, None
            return
        service = StorageProcess(own)
        stack.callback(service.end, signal.SIGTERM)
        yield f"grpc://127.0.0.1:{service.port}", service


def fill(study: Study, clock: Clock, first: int, last: int, result: Measured) -> None:
    """Trials `first` to `last`, each asked, noted and told."""
    for index in range(first, last):
        number = clock.time("ask", lambda key=f"k{index}": begin(study, key))  # type: ignore[misc]
        study.note(number, spans={"deploy": 1.5})
        clock.time("tell", lambda n=number: study.tell(n, result, now_s=2.0))  # type: ignore[misc]
        if index + 10 >= last:
            clock.time("read", study.trials)


def measure(kind: str, server: PostgresqlServer, result: Measured) -> None:
    """A row for each size."""
    clock = Clock()
    with storage_at(kind, server) as (url, service):
        study = open_study(open_storage(url), TASK, base="/", now_s=1.0)
        done = 0
        for size in SIZES:
            fill(study, clock, done, size, result)
            done = size
            clock.time("open", lambda: load_study(open_storage(url), study.name).trials())
            cells = [clock.last("ask", 50), clock.last("tell", 50)]
            cells += [clock.last("read", 10), clock.last("open", 1)]
            print(f"{kind:22}{size:7}{''.join(cells)}{memory(service):>12}", flush=True)


def memory(service: StorageProcess | None) -> str:
    if service is None:
        return "-"
    return f"{psutil.Process(service.process.pid).memory_info().rss / 2**20:.0f} MiB"


def main() -> None:
    """The table."""
    os.environ["AUTOTUNER_STORAGE_TOKEN"] = TOKEN
    result = Measured(full_measurement())
    print("milliseconds, median; memory of the service")
    print(f"{'storage':22}{'trials':>7}{'ask':>8}{'tell':>8}{'read':>8}{'open':>8}{'memory':>12}")
    with postgresql_server() as server:
        for kind in KINDS:
            measure(kind, server, result)


if __name__ == "__main__":
    main()
