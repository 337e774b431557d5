"""One HTTP request to a server that can be given up at any moment.

It runs in a thread of its own: a server that never answers must not keep anybody from seeing a
cancellation, or that the server died.
"""

import contextlib
import http.client
import json
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOST = "127.0.0.1"
_LONGEST_BODY = 4 << 20


@dataclass(frozen=True)
class Answer:
    """What came back.

    Attributes:
        status: HTTP status; None when there was no answer.
        body: Its body, at most 4 MiB.
        error: Why there was no answer.
    """

    status: int | None
    body: bytes = b""
    error: str = ""

    def json(self) -> Any:
        """The body as JSON; None when it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def __str__(self) -> str:
        if self.status is None:
            return self.error
        return f"{self.status} {self.body[:200].decode(errors='replace').strip()}".strip()


class Exchange:
    """A request that has been sent.

    Args:
        port: Port of the server.
        path: What is asked for.
        body: Sent as JSON by POST; None asks by GET.
        timeout_s: Longest silence.
        host: Where the server is.
    """

    def __init__(
        self,
        port: int,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        timeout_s: float,
        host: str = HOST,
    ) -> None:
        self._connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        self._answer = Answer(None, error="the connection broke")
        self._thread = threading.Thread(target=self._run, args=(path, body), daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> Answer | None:
        """The answer; None when there is none after `seconds`."""
        self._thread.join(seconds)
        return None if self._thread.is_alive() else self._answer

    def give_up(self) -> None:
        """Ends the connection: some engines do not stop while one is open."""
        if (connected := self._connection.sock) is not None:
            with contextlib.suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)
        self._thread.join(1.0)

    def _run(self, path: str, body: Mapping[str, Any] | None) -> None:
        try:
            self._answer = self._exchange(path, body)
        except (OSError, http.client.HTTPException) as error:
            self._answer = Answer(None, error=str(error) or type(error).__name__)
        finally:
            self._connection.close()

    def _exchange(self, path: str, body: Mapping[str, Any] | None) -> Answer:
        if body is None:
            self._connection.request("GET", path)
        else:
            headers = {"Content-Type": "application/json"}
            self._connection.request("POST", path, json.dumps(body), headers)
        response = self._connection.getresponse()
        return Answer(response.status, response.read(_LONGEST_BODY))
