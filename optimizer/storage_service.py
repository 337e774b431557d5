"""The storage service: one storage for many machines, behind a token.

Optuna's own proxy has no token, no health and no end; here it has.
"""

import hmac
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from optuna.storages import BaseStorage
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.servicer import OptunaStorageProxyService

from inference_autotuner.optimizer.errors import AutotunerError

_HEALTH_PERIOD_S = 5.0
_GRACE_S = 10.0
_LIMIT = 64 << 20
_OPTIONS = [
    ("grpc.max_receive_message_length", _LIMIT),
    ("grpc.max_send_message_length", -1),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    # Two services on one port would each answer a part of the calls.
    ("grpc.so_reuseport", 0),
]
_HEALTH_PREFIX = "/grpc.health.v1.Health/"


class StorageService:
    """Serves a storage until it is stopped.

    Args:
        storage: What is served.
        address: `host:port`; port 0 takes a free one.
        token: What clients must show; empty: nothing.
        threads: Calls that are served at once.
        certificate: Certificate chain and private key for TLS, both as PEM.
        on_line: Hears what a person should know.

    Raises:
        AutotunerError: The address is taken.
    """

    def __init__(
        self,
        storage: BaseStorage,
        *,
        address: str,
        token: str,
        threads: int,
        certificate: tuple[bytes, bytes] | None = None,
        on_line: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._storage = storage
        self._stopped = threading.Event()
        self._on_line = on_line
        self._refusals = _Refusals(token)
        self._server = grpc.server(
            ThreadPoolExecutor(threads), interceptors=[self._refusals], options=_OPTIONS
        )
        api_pb2_grpc.add_StorageServiceServicer_to_server(  # type: ignore[no-untyped-call]
            OptunaStorageProxyService(storage), self._server
        )
        self._health = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self.port = self._bind(address, certificate)

    def _bind(self, address: str, certificate: tuple[bytes, bytes] | None) -> int:
        try:
            if certificate is None:
                return int(self._server.add_insecure_port(address))
            chain, key = certificate
            credentials = grpc.ssl_server_credentials([(key, chain)])
            return int(self._server.add_secure_port(address, credentials))
        except RuntimeError as error:
            raise AutotunerError(f"{address} cannot be listened on; is it taken?") from error

    def run(self) -> None:
        """Serves until `stop`; calls that run then are finished."""
        self._server.start()
        while not self._stopped.is_set():
            self._look()
            self._stopped.wait(_HEALTH_PERIOD_S)
        self._health.enter_graceful_shutdown()
        self._server.stop(_GRACE_S).wait()

    def stop(self) -> None:
        """Ends `run`; may be called from a signal handler."""
        self._stopped.set()

    def _look(self) -> None:
        """Health follows the storage: a service whose disk is gone gets no calls."""
        try:
            self._storage.get_all_studies()
            status = health_pb2.HealthCheckResponse.SERVING
        except Exception as error:  # whatever a backend throws, the answer is the same
            self._on_line(f"the backend does not answer: {error}")
            status = health_pb2.HealthCheckResponse.NOT_SERVING
        self._health.set("", status)
        if refused := self._refusals.take():
            self._on_line(f"refused {refused} calls without the right token")


class _Refusals(grpc.ServerInterceptor):  # type: ignore[misc]
    """Lets a call pass that has the token; health answers everybody."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode() if token else None
        self._count = 0
        self._lock = threading.Lock()

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        if details.method.startswith(_HEALTH_PREFIX) or self._has_token(details):
            return continuation(details)
        with self._lock:
            self._count += 1
        return grpc.unary_unary_rpc_method_handler(_refuse)

    def _has_token(self, details: Any) -> bool:
        if self._wanted is None:
            return True
        given = dict(details.invocation_metadata or ()).get("authorization", "")
        return hmac.compare_digest(given.encode(), self._wanted)

    def take(self) -> int:
        """How many calls were refused since it was asked last: one line, not one for each."""
        with self._lock:
            count, self._count = self._count, 0
        return count


def _refuse(_: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "wrong or missing token")
