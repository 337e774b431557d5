"""What a task becomes on a cluster, as YAML for a person to read."""

from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.ui.tables import yaml_text
from inference_autotuner.workflows.argo import build_study_workflow, to_manifest
from inference_autotuner.workflows.installation import parse_installation
from inference_autotuner.workflows.submission import check_submittable


def rendered(task: TuningTask, image: str | None, bench_image: str | None) -> str:
    """The Workflow of a task's study.

    Raises:
        TaskError: No cluster can run the task.
    """
    check_submittable(task)
    chosen = {"image": image, "bench-image": bench_image}
    installation = parse_installation({key: value for key, value in chosen.items() if value})
    workflow = build_study_workflow(task, study_name(task), installation)
    return yaml_text(to_manifest(workflow))
