"""Waiting in tests: for something that happens soon, never for a time to pass."""

import time
from collections.abc import Callable


def soon(seconds: float) -> Callable[[], bool]:
    """Turns true after a while."""
    began = time.monotonic()
    return lambda: time.monotonic() - began > seconds


def until(holds: Callable[[], bool], patience_s: float = 20.0) -> None:
    """Returns as soon as it holds; fails the test when it never does."""
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < patience_s, "it did not happen"
        time.sleep(0.02)
