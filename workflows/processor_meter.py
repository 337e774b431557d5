"""How many cores a process takes between two moments."""

import time
from dataclasses import dataclass

import psutil

SHORTEST_S = 1.0


@dataclass
class ProcessorMeter:
    """Processor time of one process; what it spends before `begin` is left out.

    Attributes:
        pid: The process.
    """

    pid: int
    _began: tuple[float, float] | None = None
    _ended: tuple[float, float] | None = None

    def begin(self) -> None:
        """Starts to count."""
        self._began = self._read()

    def stop(self) -> None:
        """Ends the count."""
        self._ended = self._read()

    def cores(self) -> float | None:
        """Processor seconds per second in between; None when too short, or the process gone."""
        if not (self._began and self._ended) or self._ended[0] < self._began[0] + SHORTEST_S:
            return None
        return (self._ended[1] - self._began[1]) / (self._ended[0] - self._began[0])

    def _read(self) -> tuple[float, float] | None:
        """Now and the processor time so far, seconds."""
        try:
            spent = psutil.Process(self.pid).cpu_times()
        except psutil.Error:
            return None
        return time.monotonic(), spent.user + spent.system
