"""`autotuner doctor`: what is installed, reachable and allowed, and how to mend what is not."""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_rows

if TYPE_CHECKING:
    from inference_autotuner.workflows.finding import Finding

_COLUMNS = {"name": "CHECK", "state": "STATE", "found": "FOUND", "remedy": "REMEDY"}


@click.command("doctor")
@click.option("--cluster", is_flag=True, help="Check the cluster of KUBECONFIG instead.")
@click.option("--namespace", default="tuning", show_default=True, help="With --cluster.")
@click.option("--task", "task_file", help="With --cluster: also what this task needs there.")
@storage_option
@output_option
def command(
    cluster: bool, namespace: str, task_file: str | None, storage: str | None, output: str
) -> None:
    """Check what a run needs on this machine, or a submitted study on a cluster."""
    if task_file and not cluster:
        raise click.UsageError("--task goes with --cluster")
    findings = _of_cluster(namespace, task_file) if cluster else _of_machine(storage)
    print_rows([asdict(finding) for finding in findings], _COLUMNS, output)
    if any(finding.state == "bad" for finding in findings):
        raise click.exceptions.Exit(1)


def _of_machine(storage: str | None) -> list["Finding"]:
    from inference_autotuner.optimizer.study import study_names
    from inference_autotuner.workflows.doctor import examine

    return examine(lambda: study_names(opened_storage(storage)))


def _of_cluster(namespace: str, task_file: str | None) -> list["Finding"]:
    from inference_autotuner.ui.reading import read_with_warnings
    from inference_autotuner.workflows.cluster import Cluster
    from inference_autotuner.workflows.cluster_doctor import examine_cluster
    from inference_autotuner.workflows.cluster_preflight import examine_task
    from inference_autotuner.workflows.submission import check_submittable

    if task_file is None:
        return examine_cluster(Cluster.connect(), namespace)
    task = read_with_warnings(task_file)
    check_submittable(task)
    cluster = Cluster.connect()
    there = task.spec.deployment.namespace
    return [*examine_cluster(cluster, there), *examine_task(cluster, task)]
