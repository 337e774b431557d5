"""Optuna's tables in PostgreSQL, with connections that a service can live with."""

import weakref
from typing import Any
from urllib.parse import urlsplit

from optuna.storages import BaseStorage, RDBStorage, get_storage
from psycopg import InterfaceError, OperationalError
from sqlalchemy import event
from sqlalchemy.exc import SQLAlchemyError

from inference_autotuner.optimizer.errors import AutotunerError, StorageUnavailableError
from inference_autotuner.optimizer.storage import shown

# A database that hangs must fail a call before the caller of the service gives up, after 20 s.
_CONNECT = {
    "application_name": "inference-autotuner",
    "connect_timeout": 5,
    "keepalives_idle": 20,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=15s -c lock_timeout=10s "
    "-c idle_in_transaction_session_timeout=60s",
}
_ENGINE = {
    "pool_size": 10,
    "max_overflow": 20,
    "pool_timeout": 10,
    "pool_recycle": 1800,
    # A connection that the server closed meanwhile is replaced, and no call fails for it.
    "pool_pre_ping": True,
    "connect_args": _CONNECT,
}


def open_postgresql(url: str) -> BaseStorage:
    """The storage in the database at `postgresql://user:password@host:port/database`.

    Its tables are made when there are none.

    Raises:
        AutotunerError: An address that cannot be read.
        StorageUnavailableError: The database does not answer, or refuses the user.
    """
    secret = _password(url)
    try:
        tables = RDBStorage(
            f"postgresql+psycopg://{url.partition('://')[2]}", engine_kwargs=_ENGINE
        )
    except (SQLAlchemyError, RuntimeError) as error:  # RuntimeError: tables of another version
        raise _unavailable(url, secret, error) from error

    @event.listens_for(tables.engine, "handle_error")
    def _translate(context: Any) -> None:
        error = context.original_exception
        if isinstance(error, OperationalError | InterfaceError) and not context.is_pre_ping:
            raise _unavailable(url, secret, error) from error

    storage = get_storage(tables)
    # Connections end with the storage; else the driver warns of each, and the database waits.
    weakref.finalize(storage, tables.engine.dispose)
    return storage


def _password(url: str) -> str | None:
    """The password, to keep it out of messages; it may be none.

    What splits wrong is refused without a word of it: a part of it may be the password.
    """
    try:
        parts = urlsplit(url)
        is_whole = bool(parts.path.strip("/")) and (parts.port or 1) > 0
    except ValueError:
        is_whole = False
    if not is_whole or "@" in parts.path + parts.query + parts.fragment:
        raise AutotunerError(
            "the address of the database cannot be read; write postgresql://user:password@host:"
            "port/database, with %40, %2F, %23 … for @, /, # … in the password"
        )
    return parts.password


def _unavailable(url: str, secret: str | None, error: Exception) -> StorageUnavailableError:
    reason = str(getattr(error, "orig", None) or error).partition("\n")[0]
    if secret:
        reason = reason.replace(secret, "…")
    return StorageUnavailableError(
        f"{shown(url)}: the database does not answer: {reason}. Nothing that was told is lost: "
        "mend it and run the same command again."
    )
