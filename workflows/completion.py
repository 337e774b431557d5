"""Asks a server on a cluster for one real completion: what "ready" means for a trial."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from inference_autotuner.workflows.http_exchange import Answer, Exchange
from inference_autotuner.workflows.readiness import (
    COMPLETION_PATHS,
    completion_request,
    has_tokens,
)

_ASK_S = 5.0
_TICK_S = 0.5


@dataclass(frozen=True)
class Address:
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Base address, without `/v1`."""
        return f"http://{self.host}:{self.port}"


def health_problem(address: Address, path: str) -> str | None:
    """None when the server says that it is well; else what it said."""
    answer = _ask(address, path, None, _ASK_S, lambda: False)
    return None if answer.status is not None and answer.status < 500 else f"GET {path}: {answer}"


def completion_problem(
    address: Address, served_name: str, answer_s: float, is_cancelled: Callable[[], bool]
) -> str | None:
    """None when the server completes a request; else what it did instead.

    Args:
        address: Where it listens.
        served_name: The model name in requests.
        answer_s: How long it may take.
        is_cancelled: Asked while it takes its time.
    """
    problem = None
    for path in COMPLETION_PATHS:
        body = completion_request(path, served_name)
        answer = _ask(address, path, body, answer_s, is_cancelled)
        if has_tokens(answer):
            return None
        problem = f"POST {path}: {answer}"
        if answer.status is None:
            break
    return problem


def served_models(address: Address) -> list[str]:
    """The names under which a server serves, as it says itself."""
    found = read_json(address, "/v1/models")
    listed = found.get("data") if isinstance(found, dict) else None
    return [str(each.get("id")) for each in listed or ()]


def read_json(address: Address, path: str) -> Any:
    """What a GET answers; None when it answers nothing useful in time."""
    answer = _ask(address, path, None, _ASK_S, lambda: False)
    return answer.json() if answer.status == 200 else None


def _ask(
    address: Address, path: str, body: Any, patience_s: float, is_cancelled: Callable[[], bool]
) -> Answer:
    exchange = Exchange(address.port, path, body, timeout_s=patience_s, host=address.host)
    try:
        for _ in range(int(patience_s / _TICK_S) + 1):
            if answer := exchange.wait(_TICK_S):
                return answer
            if is_cancelled():
                break
    finally:
        exchange.give_up()
    return Answer(None, error=f"no answer within {patience_s:g} s")
