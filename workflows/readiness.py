"""Waits until a server serves: a completion, with this configuration, by our own process."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any

import psutil

from inference_autotuner.workflows.http_exchange import Answer, Exchange

COMPLETION_PATHS = ("/v1/completions", "/v1/chat/completions")
_LOCAL = {"127.0.0.1", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"}
_HEALTH_S = 5.0
_TICK_S = 0.05
_PAUSE_S = 0.1
_LATER_PAUSE_S = 0.5
_QUICK_S = 10.0
_HUNG_LIMIT = 2
_NOTABLE_S = 1.0
# A healthy server that refuses completions for so long will not think better of it.
_REFUSED_S = 60.0


class Outcome(Enum):
    """How a wait ends."""

    SERVES = auto()
    DIED = auto()
    CANCELLED = auto()
    NOT_OURS = auto()
    NEVER_READY = auto()


class Listener(Enum):
    """Who listens on a port."""

    NOBODY = auto()
    OURS = auto()
    FOREIGN = auto()


@dataclass(frozen=True)
class Target:
    """The server that is waited for.

    Attributes:
        port: Where it will listen.
        health_path: Where a GET answers once it is up.
        served_name: The model name in requests.
        timeout_s: How long it may take until it serves.
        is_alive: Whether its process runs.
        is_cancelled: Whether nobody wants it any more.
        listener: Who listens on its port now.
    """

    port: int
    health_path: str
    served_name: str
    timeout_s: float
    is_alive: Callable[[], bool]
    is_cancelled: Callable[[], bool]
    listener: Callable[[], Listener]

    @property
    def answer_s(self) -> float:
        """How long one completion may take."""
        return answer_s(self.timeout_s)


def answer_s(timeout_s: float) -> float:
    """How long the first completion may take: kernels may be compiled in it.

    Args:
        timeout_s: How long the server may take to serve.
    """
    return min(120.0, max(10.0, timeout_s / 3))


class _OverError(Exception):
    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome
        super().__init__(outcome)


class Wait:
    """The wait for one server.

    Attributes:
        last: What the server did last, for a message.
    """

    def __init__(self, target: Target) -> None:
        self.last = "it was being started"
        self._target = target
        self._began = time.monotonic()
        self._hung = 0
        self._refused_since: float | None = None

    def run(self) -> Outcome:
        """Returns as soon as it serves, or for certain will not."""
        try:
            while not self._serves():
                self._pause()
        except _OverError as over:
            return over.outcome
        return Outcome.SERVES

    def _serves(self) -> bool:
        """Looks who answers both before anything is believed and after."""
        return self._is_healthy() and self._is_ours() and self._completes() and self._is_ours()

    def _is_healthy(self) -> bool:
        answer = self._ask(self._target.health_path, None, _HEALTH_S)
        self.last = f"GET {self._target.health_path}: {answer or 'no answer'}"
        return answer is not None and answer.status is not None and answer.status < 500

    def _is_ours(self) -> bool:
        found = self._target.listener()
        if found is Listener.FOREIGN:
            self.last = f"another program listens on port {self._target.port}"
            raise _OverError(Outcome.NOT_OURS)
        return found is Listener.OURS

    def _completes(self) -> bool:
        for path in COMPLETION_PATHS:
            body = completion_request(path, self._target.served_name)
            answer = self._ask(path, body, self._target.answer_s)
            if answer is None or answer.status is None:
                self._note_silence(path, answer)
                return False
            if has_tokens(answer):
                return True
            self.last = f"POST {path}: {answer}"
        self._note_refusal()
        return False

    def _note_silence(self, path: str, answer: Answer | None) -> None:
        self.last = f"POST {path}: {answer or 'no answer'}"
        if answer is None:
            self._hung += 1
            self.last += f" within {self._target.answer_s:g} s"
        if self._hung >= _HUNG_LIMIT:
            raise _OverError(Outcome.NEVER_READY)

    def _note_refusal(self) -> None:
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if now - self._refused_since > _REFUSED_S:
            raise _OverError(Outcome.NEVER_READY)

    def _ask(self, path: str, body: Mapping[str, Any] | None, patience_s: float) -> Answer | None:
        exchange = Exchange(self._target.port, path, body, timeout_s=patience_s + 1)
        began = time.monotonic()
        try:
            while (waited := time.monotonic() - began) < patience_s:
                if answer := exchange.wait(_TICK_S):
                    return answer
                if waited > _NOTABLE_S:
                    self.last = f"{path} has not answered for {waited:.0f} s"
                self._check()
        finally:
            exchange.give_up()
        return None

    def _pause(self) -> None:
        self._check()
        is_early = time.monotonic() - self._began < _QUICK_S
        time.sleep(_PAUSE_S if is_early else _LATER_PAUSE_S)
        self._check()

    def _check(self) -> None:
        if self._target.is_cancelled():
            raise _OverError(Outcome.CANCELLED)
        if not self._target.is_alive():
            raise _OverError(Outcome.DIED)
        if self._remaining_s() <= 0:
            raise _OverError(Outcome.NEVER_READY)

    def _remaining_s(self) -> float:
        return self._target.timeout_s - (time.monotonic() - self._began)


def listener_of(port: int, ours: Callable[[], set[int]]) -> Listener:
    """Who listens on a port of this machine.

    Args:
        port: The port.
        ours: The numbers of our processes; asked after the port, for they multiply.
    """
    pids = _listening(port)
    if pids is None:  # the system tells nobody but root: look at our own alone
        return Listener.OURS if any(_listens(pid, port) for pid in ours()) else Listener.FOREIGN
    if not pids:
        return Listener.NOBODY
    return Listener.OURS if pids <= ours() else Listener.FOREIGN


def has_tokens(answer: Answer) -> bool:
    """Whether it is a completion of at least one token."""
    body = answer.json()
    choices = body.get("choices") if isinstance(body, dict) else None
    if answer.status != 200 or not isinstance(choices, list) or not choices:
        return False
    usage = body.get("usage")
    if isinstance(usage, dict) and isinstance(usage.get("completion_tokens"), int):
        return bool(usage["completion_tokens"] >= 1)
    return _has_text(choices[0])


def _has_text(choice: Any) -> bool:
    if not isinstance(choice, dict):
        return False
    message = choice.get("message")
    return bool(choice.get("text") or (isinstance(message, dict) and message.get("content")))


def completion_request(path: str, served_name: str) -> dict[str, Any]:
    """A short completion, as the interface at `path` wants it."""
    body = {"model": served_name, "max_tokens": 2, "temperature": 0, "ignore_eos": True}
    if path == "/v1/completions":
        return {**body, "prompt": "Once upon a time"}
    return {**body, "messages": [{"role": "user", "content": "Once upon a time"}]}


def _listening(port: int) -> set[int] | None:
    """Numbers of the processes; 0 for one that may not be seen."""
    try:
        found = psutil.net_connections("tcp")
    except psutil.AccessDenied:
        return None
    return {seen.pid or 0 for seen in found if _is_listener(seen, port)}


def _listens(pid: int, port: int) -> bool:
    try:
        return any(_is_listener(seen, port) for seen in psutil.Process(pid).net_connections("tcp"))
    except psutil.Error:
        return False


def _is_listener(seen: Any, port: int) -> bool:
    return seen.status == psutil.CONN_LISTEN and seen.laddr.port == port and seen.laddr.ip in _LOCAL
