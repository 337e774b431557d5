"""`autotuner submit`: give a task to a cluster."""

import time
from collections.abc import Mapping

import click

from inference_autotuner.ui.reading import read_with_warnings
from inference_autotuner.ui.storage_option import opened_storage, storage_option
from inference_autotuner.ui.tables import output_option, print_value


@click.command("submit")
@click.argument("task_file", metavar="TASK")
@click.option("--direct", is_flag=True, required=True, help="Straight to Argo, without Git.")
@click.option("--owner", default="", help="Whom the study belongs to, shown in Argo's UI.")
@click.option("--commit", default="", help="Commit of the task file, shown in Argo's UI.")
@storage_option
@output_option
def command(
    task_file: str, direct: bool, owner: str, commit: str, storage: str | None, output: str
) -> None:
    """Run a task on a cluster, as an Argo Workflow.

    The cluster is KUBECONFIG's, the storage that of the installation there. Submitting a task
    again goes on with its study, or says that it runs or is finished.
    """
    from inference_autotuner.workflows.argo import Origin
    from inference_autotuner.workflows.cluster import Cluster
    from inference_autotuner.workflows.submission import check_submittable, submit

    task = read_with_warnings(task_file)
    check_submittable(task)
    # Pods would look for the study in theirs, each of them in vain.
    if storage is None or storage.startswith(("journal://", "memory://")):
        raise click.UsageError(
            "no pod can read a storage of this machine; forward the storage service "
            f"(kubectl -n {task.spec.deployment.namespace} port-forward service/autotuner-storage "
            "13000) and give --storage grpc://127.0.0.1:13000"
        )
    submitted = submit(
        task,
        opened_storage(storage),
        Cluster.connect(),
        origin=Origin(commit=commit, owner=owner),
        now_s=time.time(),
    )
    study = submitted.study
    value = {
        "study": study.name,
        "workflow": submitted.workflow,
        "namespace": task.spec.deployment.namespace,
        "is_new": submitted.is_new,
    }
    print_value(value, output, lambda _: _explain(value))


def _explain(value: Mapping[str, object]) -> None:
    study, namespace = value["study"], value["namespace"]
    if value["workflow"] is None:
        click.echo(f"Study {study} is finished; see it with 'autotuner status {study}'.")
        return
    verb = "runs now" if value["is_new"] else "runs already"
    click.echo(f"Study {study} {verb} as Workflow {value['workflow']} in namespace {namespace}.")
    click.echo(f"Follow it: autotuner status {study}; kubectl -n {namespace} get workflows")
