"""`autotuner storage`: serve one storage to many machines."""

import os
import signal
from pathlib import Path

import click

_LOOPBACK = ("127.0.0.1", "localhost", "::1")


@click.command("storage")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=13000, show_default=True, help="Port; 0 takes a free one.")
@click.option(
    "--backend",
    envvar="AUTOTUNER_STORAGE_BACKEND",
    help="What is served: journal:///path or postgresql://... Default: this machine's journal.",
)
@click.option("--threads", default=16, show_default=True, help="Calls served at once.")
@click.option("--tls-cert", type=click.Path(path_type=Path, exists=True), help="Chain, as PEM.")
@click.option("--tls-key", type=click.Path(path_type=Path, exists=True), help="Key, as PEM.")
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
    from inference_autotuner.optimizer.storage import open_storage, storage_url, without_password
    from inference_autotuner.optimizer.storage_service import StorageService
    from inference_autotuner.workflows.state import state_folder

    token = os.environ.get(TOKEN_VARIABLE, "")
    if not token and host not in _LOOPBACK:
        raise click.UsageError(
            f"without a token the service listens on this machine alone; put one into "
            f"{TOKEN_VARIABLE}, for instance: export {TOKEN_VARIABLE}=$(openssl rand -hex 32)"
        )
    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    address = backend or storage_url(state_folder() / "journal.log")
    service = StorageService(
        open_storage(address),
        address=f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        token=token,
        threads=threads,
        certificate=(tls_cert.read_bytes(), tls_key.read_bytes()) if tls_cert and tls_key else None,
        on_line=click.echo,
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: service.stop())
    scheme = "grpcs" if tls_cert else "grpc"
    click.echo(f"serving {without_password(address)} at {scheme}://{host}:{service.port}")
    service.run()
    click.echo("stopped")
