"""The storage service's client: Optuna's own, with a token, deadlines and keepalive.

Optuna's proxy waits for ever for a service that hangs; here every call has an end, and what the
service says is told in our words by `study.translated_errors`.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache

from inference_autotuner.optimizer.errors import (
    AutotunerError,
    StorageUnavailableError,
)

TOKEN_VARIABLE = "AUTOTUNER_STORAGE_TOKEN"
CA_VARIABLE = "AUTOTUNER_STORAGE_CA"
_CALL_S = 20
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A node that vanished says nothing: without keepalive its connection looks well for ever.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Not every call may be made twice, so a study asks again, and not the channel.
    ("grpc.enable_retries", 0),
    (
        "grpc.service_config",
        json.dumps(
            {"methodConfig": [{"name": [{}], "waitForReady": True, "timeout": f"{_CALL_S}s"}]}
        ),
    ),
]
_GONE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class StorageRefusedError(AutotunerError):
    """The storage service does not accept this client's token."""


class ServiceStorage(GrpcStorageProxy):
    """A storage behind `autotuner storage`.

    Args:
        host: Its name or address.
        port: Its port.
        is_encrypted: Whether it speaks TLS.
    """

    def __init__(self, *, host: str, port: int, is_encrypted: bool = False) -> None:
        # As Optuna's own constructor, which warns on stderr that it may change: it is pinned.
        self._host, self._port, self._is_encrypted = host, port, is_encrypted
        self._setup()

    def _setup(self) -> None:
        self._channel = grpc.intercept_channel(self._open(), _TokenSender())
        self._stub = api_pb2_grpc.StorageServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._cache = GrpcClientCache(self._stub)

    def _open(self) -> grpc.Channel:
        address = f"{self._host}:{self._port}"
        if not self._is_encrypted:
            return grpc.insecure_channel(address, _OPTIONS)
        roots = os.environ.get(CA_VARIABLE)
        certificates = Path(roots).read_bytes() if roots else None
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(certificates), _OPTIONS)


class _TokenSender(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Adds the token to every call; read anew, for it may be changed."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = list(details.metadata or ())
        if token := os.environ.get(TOKEN_VARIABLE):
            metadata.append(("authorization", f"Bearer {token}"))
        return continuation(details._replace(metadata=metadata), request)


@contextmanager
def translated_grpc_errors() -> Iterator[None]:
    """Errors of the service and the way to it, in our words.

    Raises:
        StorageUnavailableError: The service does not answer: try again.
        StorageRefusedError: It does not accept the token.
    """
    try:
        yield
    except grpc.RpcError as error:
        code, details = error.code(), error.details()
        if code in _GONE:
            raise StorageUnavailableError(
                f"the storage service does not answer: {details}. Nothing that was told is lost; "
                "is it running, and is its address right?"
            ) from error
        if code is grpc.StatusCode.UNAUTHENTICATED:
            raise StorageRefusedError(
                f"the storage service refuses this client: {details}. Put the service's token "
                f"into {TOKEN_VARIABLE}"
            ) from error
        raise StorageUnavailableError(f"the storage service failed: {code}: {details}") from error
