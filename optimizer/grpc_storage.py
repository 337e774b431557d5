"""The storage service's client: Optuna's own, with a token, deadlines, keepalive and TLS.

Optuna's proxy waits for ever for a service that hangs; here every call has an end. gRPC's errors
become ours where they arise, so that nobody else has to know gRPC.
"""

import json
import os
import ssl
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
from optuna.storages import GrpcStorageProxy
from optuna.storages._grpc.auto_generated import api_pb2_grpc
from optuna.storages._grpc.client import GrpcClientCache

from inference_autotuner.optimizer.errors import (
    AutotunerError,
    StorageRefusedError,
    StorageUnavailableError,
)

TOKEN_VARIABLE = "AUTOTUNER_STORAGE_TOKEN"
CA_VARIABLE = "AUTOTUNER_STORAGE_CA"
DEFAULT_PORT = 13000
_CALL_S = 20.0
# Every call may be made twice: the service gives a key one trial, a name one study.
_RETRY = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "5s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A node that vanished says nothing: without keepalive its connection looks well for ever.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    # Seconds, not gRPC's two minutes, to see that a restarted service is back.
    ("grpc.max_reconnect_backoff_ms", 2_000),
    (
        "grpc.service_config",
        json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": _RETRY}]}),
    ),
]
# What Optuna's client makes its own errors of.
_OPTUNAS = (
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
)


class ServiceStorage(GrpcStorageProxy):
    """A storage behind `autotuner storage`.

    Args:
        url: `grpc://host:port`, or `grpcs://host:port` for TLS.
        call_s: After how many seconds a call without an answer has failed.

    Raises:
        AutotunerError: An address of another form, or a root certificate that cannot be read.
    """

    def __init__(self, url: str, *, call_s: float = _CALL_S) -> None:
        # Optuna's own constructor warns every user that it is experimental.
        self._url = url
        self._call_s = call_s
        self._host, self._port = _host_and_port(url)
        self._setup()

    def _setup(self) -> None:
        self._channel = grpc.intercept_channel(self._open(), _Caller(self._url, self._call_s))
        self._stub = api_pb2_grpc.StorageServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._cache = GrpcClientCache(self._stub)

    def _open(self) -> grpc.Channel:
        host = f"[{self._host}]" if ":" in self._host else self._host
        address = f"{host}:{self._port}"
        if self._url.startswith("grpc://"):
            return grpc.insecure_channel(address, _OPTIONS)
        return grpc.secure_channel(address, grpc.ssl_channel_credentials(_roots()), _OPTIONS)


def _host_and_port(url: str) -> tuple[str, int]:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port or DEFAULT_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.path not in ("", "/") or parts.username:
        raise AutotunerError(f"{url}: no address of a storage service; write grpc://host:port")
    return host, port


def _roots() -> bytes | None:
    """The certificates to trust: those that are named, else the system's, else gRPC's own."""
    path = os.environ.get(CA_VARIABLE) or ssl.get_default_verify_paths().cafile
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise AutotunerError(f"{path}: {error.strerror}; {CA_VARIABLE} names a PEM file") from error


class _Caller(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Adds token and deadline to every call, and says in our words why one failed."""

    def __init__(self, url: str, call_s: float) -> None:
        self._url = url
        self._call_s = call_s

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        metadata = list(details.metadata or ())
        if token := os.environ.get(TOKEN_VARIABLE, "").strip():
            metadata.append(("authorization", f"Bearer {token}"))
        # A deadline in the channel's service config was seen to end up to 1.7 s too early.
        details = details._replace(metadata=metadata, timeout=self._call_s, wait_for_ready=True)
        outcome = continuation(details, request)
        if isinstance(outcome, grpc.RpcError) and outcome.code() not in _OPTUNAS:
            raise self._explained(outcome) from outcome
        return outcome

    def _explained(self, error: Any) -> AutotunerError:
        if error.code() is grpc.StatusCode.UNAUTHENTICATED:
            return StorageRefusedError(
                f"{self._url} refuses this client: {error.details()}. Put the token of the "
                f"service into {TOKEN_VARIABLE}."
            )
        return StorageUnavailableError(
            f"{self._url}: the storage service does not answer: {error.details()}. Nothing that "
            "was told is lost: look whether the service runs and the address is right, and run "
            "the same command again."
        )
