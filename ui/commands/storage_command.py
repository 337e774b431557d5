"""`autotuner storage`: serve one storage to many machines."""

import os
import signal
import time
from ipaddress import ip_address
from pathlib import Path

import click

_BACKENDS = ("journal://", "postgresql://")


@click.command("storage")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=13000,
    show_default=True,
    help="Port; 0 takes a free one.",
)
@click.option(
    "--backend",
    envvar="AUTOTUNER_STORAGE_BACKEND",
    help="What is served: journal:///path or postgresql://... Default: this machine's journal.",
)
@click.option(
    "--threads",
    type=click.IntRange(1, 100),
    default=10,
    show_default=True,
    help="Calls served at once.",
)
@click.option(
    "--tls-cert",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Chain, as PEM.",
)
@click.option(
    "--tls-key", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Key, as PEM."
)
def command(
    host: str,
    port: int,
    backend: str | None,
    threads: int,
    tls_cert: Path | None,
    tls_key: Path | None,
) -> None:
    """Serve studies to other machines, until SIGTERM or Ctrl-C.

    Clients show the token that is in AUTOTUNER_STORAGE_TOKEN here.
    """
    from inference_autotuner.optimizer.grpc_storage import TOKEN_VARIABLE
    from inference_autotuner.optimizer.storage import open_storage, shown, storage_url
    from inference_autotuner.optimizer.storage_service import StorageService
    from inference_autotuner.workflows.state import state_folder

    # A Secret that was made from a file ends in a line break, which no header may hold.
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token and not _is_loopback(host):
        raise click.UsageError(
            f"without a token the service listens on this machine alone; put one into "
            f"{TOKEN_VARIABLE}, for instance: export {TOKEN_VARIABLE}=$(openssl rand -hex 32)"
        )
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    url = backend or storage_url(state_folder() / "journal.log")
    if not url.startswith(_BACKENDS):
        raise click.UsageError(
            f"{shown(url)}: a service keeps studies in journal:///path or postgresql://…"
        )
    service = StorageService(
        open_storage(url),
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        token=token,
        threads=threads,
        certificate=(tls_cert.read_bytes(), tls_key.read_bytes()) if tls_cert and tls_key else None,
        on_line=_log,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    scheme = "grpcs" if tls_cert else "grpc"
    _log(f"serving {shown(url)} at {scheme}://{host}:{service.port}")
    service.run()
    _log("stopped")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _log(line: str) -> None:
    click.echo(f"{time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} {line}")
