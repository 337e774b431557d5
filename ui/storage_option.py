"""The option that says where studies are kept, shared by every command that reads one."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from optuna.storages import BaseStorage

storage_option = click.option(
    "--storage",
    envvar="AUTOTUNER_STORAGE",
    help="Where studies are kept, e.g. journal:///path. Default: a journal file in the state "
    "folder.",
)


def opened_storage(url: str | None) -> "BaseStorage":
    """The storage at `url`, else the journal file of this machine."""
    from inference_autotuner.optimizer.storage import open_storage, storage_url
    from inference_autotuner.workflows.state import state_folder

    return open_storage(url or storage_url(state_folder() / "journal.log"))
