"""The storage service: one storage for many machines, behind a token.

Optuna's own proxy has no token, no health and no end, and makes two trials of one key when the
answer to the first call was lost; here all of that is mended.
"""

import hmac
import json
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from optuna.storages import BaseStorage
from optuna.storages._grpc.auto_generated import api_pb2, api_pb2_grpc
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
        self._is_well: bool | None = None
        self._guard = _Guard(token)
        self._server = grpc.server(
            ThreadPoolExecutor(threads), interceptors=[self._guard], options=_OPTIONS
        )
        api_pb2_grpc.add_StorageServiceServicer_to_server(  # type: ignore[no-untyped-call]
            _Keyed(storage), self._server
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
            raise AutotunerError(
                f"{address} cannot be listened on; is it taken, or the certificate no PEM?"
            ) from error

    def run(self) -> None:
        """Serves until `stop`; calls that run then are finished."""
        self._look()
        self._server.start()
        while not self._stopped.wait(_HEALTH_PERIOD_S):
            self._look()
        self._health.enter_graceful_shutdown()
        self._server.stop(_GRACE_S).wait()
        self._count_refused()

    def stop(self) -> None:
        """Ends `run`; may be called from a signal handler."""
        self._stopped.set()

    def _look(self) -> None:
        """Health follows the storage: a service whose disk is gone gets no calls."""
        problem = self._problem()
        is_well = problem is None
        if is_well is not self._is_well and (problem or self._is_well is not None):
            self._on_line(problem or "the backend answers again")
        self._is_well = is_well
        serving = health_pb2.HealthCheckResponse
        self._health.set("", serving.SERVING if is_well else serving.NOT_SERVING)
        self._count_refused()

    def _count_refused(self) -> None:
        if refused := self._guard.take():
            self._on_line(f"refused {refused} calls without the right token")

    def _problem(self) -> str | None:
        try:
            self._storage.get_all_studies()
        except Exception as error:  # whatever a backend throws, the answer is the same
            return f"the backend does not answer: {error}"
        return None


class _Keyed(OptunaStorageProxyService):
    """Optuna's service, in which a key of `Study.begin` has one trial.

    A client whose answer was lost asks again, and the first call may come after the second one:
    only here is a place that sees both.
    """

    def __init__(self, storage: BaseStorage) -> None:
        super().__init__(storage)
        self._creating = threading.Lock()

    def CreateNewTrial(
        self, request: api_pb2.CreateNewTrialRequest, context: grpc.ServicerContext
    ) -> api_pb2.CreateNewTrialReply:
        """The trial of the request's key, or a new one."""
        with self._creating:
            known = self._known(request)
            if known is not None:
                return api_pb2.CreateNewTrialReply(trial_id=known)
            return super().CreateNewTrial(request, context)

    def _known(self, request: api_pb2.CreateNewTrialRequest) -> int | None:
        key = json.loads(request.template_trial.user_attributes.get("asked", "{}")).get("key")
        if key is None:
            return None
        try:
            trials = self._backend.get_all_trials(request.study_id, deepcopy=False)
        except KeyError:  # no such study: creating says so
            return None
        found = (t for t in trials if t.user_attrs.get("asked", {}).get("key") == key)
        return next((trial._trial_id for trial in found), None)


class _Guard(grpc.ServerInterceptor):  # type: ignore[misc]
    """Lets a call pass that has the token; health answers everybody."""

    def __init__(self, token: str) -> None:
        self._wanted = f"Bearer {token}".encode() if token else None
        self._count = 0
        self._lock = threading.Lock()

    def intercept_service(self, continuation: Any, details: Any) -> Any:
        if details.method.startswith(_HEALTH_PREFIX):
            return continuation(details)
        if self._has_token(details):
            return _told_plainly(continuation(details))
        with self._lock:
            self._count += 1
        # As a stream, which is refused unread: a stranger's message takes no memory and no thread.
        return grpc.stream_unary_rpc_method_handler(_refuse)

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


def _told_plainly(handler: Any) -> Any:
    """A backend that does not answer is told to the client, and is no bug with a traceback."""
    if handler is None:  # no such method
        return None

    def call(request: Any, context: Any) -> Any:
        try:
            return handler.unary_unary(request, context)
        except (AutotunerError, OSError) as error:
            return context.abort(grpc.StatusCode.UNAVAILABLE, str(error))

    return grpc.unary_unary_rpc_method_handler(
        call, handler.request_deserializer, handler.response_serializer
    )
