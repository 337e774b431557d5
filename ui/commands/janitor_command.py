"""`autotuner janitor`: remove what killed runs and ended Workflows left behind."""

import time

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option


@click.command("janitor")
@click.option("--cluster", is_flag=True, help="Clean the cluster of KUBECONFIG instead.")
@click.option("--namespace", default="tuning", show_default=True, help="With --cluster.")
@storage_option
def command(cluster: bool, namespace: str, storage: str | None) -> None:
    """Remove servers and files that killed runs left on this machine; only ours.

    With --cluster: servers whose Workflow has ended, and trials that nobody works on.
    """
    done = _clean_cluster(namespace, storage) if cluster else _clean_machine()
    for line in done:
        click.echo(line)
    if not done:
        click.echo("Nothing was left behind.")


def _clean_machine() -> list[str]:
    from inference_autotuner.workflows.janitor import clean

    return [f"removed {name}" for name in clean(time.time())]


def _clean_cluster(namespace: str, storage: str | None) -> list[str]:
    from inference_autotuner.workflows.cluster import Cluster
    from inference_autotuner.workflows.cluster_janitor import clean_cluster

    return clean_cluster(opened_storage(storage), Cluster.connect(), namespace, time.time())
