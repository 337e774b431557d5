"""What a task becomes on a cluster, as YAML for a person to read."""

from inference_autotuner.manifests.trial_objects import (
    Manifest,
    Owner,
    Place,
    build_inference_service,
    build_trial_deployment,
)
from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.space import Space, build_space
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.ui.tables import yaml_text
from inference_autotuner.workflows.argo import build_study_workflow, to_manifest
from inference_autotuner.workflows.installation import parse_installation
from inference_autotuner.workflows.kubernetes_shape import launch_in_container
from inference_autotuner.workflows.submission import check_submittable

_OWNER = Owner("the-workflow", "its-uid")
_LEASE = "set when it is created"
# What shipped runtimes call their engine's container.
_RUNNER = "ome-container"
_OME_NOTE = (
    "# As for a runtime whose launch line is in `command`; the runtime itself is read when the\n"
    "# trial is deployed.\n"
)


def rendered(task: TuningTask, image: str | None, bench_image: str | None) -> str:
    """The Workflow of a task's study, and the objects of its baseline trial.

    Raises:
        TaskError: No cluster can run the task.
    """
    check_submittable(task)
    chosen = {"image": image, "bench-image": bench_image}
    installation = parse_installation({key: value for key, value in chosen.items() if value})
    workflow = build_study_workflow(task, study_name(task), installation)
    note = _OME_NOTE if task.spec.deployment.mode == "ome" else ""
    trial = "---\n".join(map(yaml_text, _objects_of_trial(task)))
    return f"{yaml_text(to_manifest(workflow))}---\n{note}{trial}"


def _objects_of_trial(task: TuningTask) -> list[Manifest]:
    space = build_space(task.spec)
    namespace = task.spec.deployment.namespace
    place = Place(study_name(task), "t-0000", namespace, _OWNER, _LEASE)
    args = space.args(space.baseline)
    if task.spec.deployment.mode == "ome":
        return [_inference_service(task, space, place)]
    launch = launch_in_container(task.spec, args)
    gpus = space.gpus(space.baseline)
    return build_trial_deployment(task.spec, space.engine, launch, gpus=gpus, place=place)


def _inference_service(task: TuningTask, space: Space, place: Place) -> Manifest:
    gpus = {"nvidia.com/gpu": str(space.gpus(space.baseline))}
    return build_inference_service(
        task.spec,
        space.engine,
        runner=_RUNNER,
        args=space.engine.render(space.args(space.baseline)),
        resources={"requests": gpus, "limits": gpus},
        place=place,
    )
