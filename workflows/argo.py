"""A study as an Argo Workflow, built with Hera: the steps of `steps.py`, each in a pod of its own.

    main          a slot for each trial, as many at once as the task says
      trial       holds one place of the GPU pool from `ask` until the server is gone
        ask       which trial, or none; one at a time in a study
        body      deploy, benchmark, tell; `release` is its exit hook
    sweep         at the end, however it comes

`parallelism` is on `main` and the hook on `body`: on the same template Argo would refuse the hook.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hera.workflows import Container, Parameter, Resources, RetryStrategy, Step, Steps, Workflow
from hera.workflows import models as m

from inference_autotuner.manifests.labels import MANAGED_BY, STEP, STEP_TRIAL, STUDY
from inference_autotuner.optimizer.errors import Mistake, TaskError
from inference_autotuner.optimizer.forecast import trial_most_s
from inference_autotuner.optimizer.spec import Spec, TuningTask
from inference_autotuner.optimizer.spending import proof_trials
from inference_autotuner.workflows.installation import (
    POOLS_CONFIG_MAP,
    STORAGE_SECRET,
    Installation,
)
from inference_autotuner.workflows.pod_steps import key_of

MOST_SLOTS = 300
"""A Workflow is one object of at most 1 MiB, and each slot adds to it."""

# How long a trial waits for GPUs before it is given up.
QUEUE_TIMEOUT_S = 6 * 3600.0
# A step outlives its own wait, or it is killed before it can say what it waited for. It waits as
# long for a storage that is away.
_MARGIN_S = 600
TRIAL_INPUT = "{{inputs.parameters.trial}}"
_THIS_WORKFLOW = {"workflow": "{{workflow.name}}", "workflow-uid": "{{workflow.uid}}"}
_OUTPUTS = "/tmp/outputs"
_USER = 10001
# Infrastructure and our own "not ready yet"; never an engine that ran out of memory.
_TRANSIENT = (
    'lastRetry.status == "Error" || lastRetry.exitCode == "75" || '
    '(lastRetry.exitCode != "137" && lastRetry.message matches '
    '"(?i)evict|preempt|node.*shutdown|pod deleted|low on resource")'
)
_TITLE = "workflows.argoproj.io/title"
_DESCRIPTION = "workflows.argoproj.io/description"
# Letters, digits, dashes and dots; anything else fails the step.
_DISPLAY_NAME = "workflows.argoproj.io/display-name"


@dataclass(frozen=True)
class Origin:
    """Where a task came from, for the person in Argo's UI; empty where nobody said."""

    commit: str = ""
    owner: str = ""


def slots(spec: Spec) -> int:
    """How many trials a Workflow has room for: explored, proved twice over, and failed ones."""
    again = -(-spec.budget.trials // 5)
    return spec.budget.trials + again + 2 * proof_trials(spec.confirm)


def check_slots(spec: Spec) -> None:
    """Refuses a study that one Workflow cannot hold.

    Raises:
        TaskError: It may need more than `MOST_SLOTS` trials.
    """
    if (count := slots(spec)) > MOST_SLOTS:
        message = (
            f"the study may need {count} trials, and one Workflow holds {MOST_SLOTS}; lower "
            "budget.trials or confirm.repeats"
        )
        raise TaskError([Mistake("spec.budget.trials", message)])


def workflow_name(study: str, attempt: int) -> str:
    """A name of its own for every attempt, so that submitting twice is one Workflow.

    >>> workflow_name("chat-h0123456789", 1), workflow_name("chat-h0123456789", 2)
    ('chat-h0123456789', 'chat-h0123456789-r2')
    """
    return study if attempt == 1 else f"{study}-r{attempt}"


def build_study_workflow(
    task: TuningTask,
    study: str,
    installation: Installation,
    *,
    attempt: int = 1,
    origin: Origin = Origin(),
) -> Workflow:
    """The Argo Workflow that runs a study.

    Args:
        task: The task; only what Argo must know of it is written into the Workflow.
        study: Name of the study in the storage, which holds everything else.
        installation: Images and the storage's address.
        attempt: From 1; a study that was stopped goes on in another Workflow.
        origin: Where the task came from.

    Raises:
        TaskError: The study is too large for one Workflow.
    """
    check_slots(task.spec)
    with Workflow(
        name=workflow_name(study, attempt),
        namespace=task.spec.deployment.namespace,
        labels={**MANAGED_BY, STUDY: study},
        annotations=_annotations(task, study, origin),
        entrypoint="main",
        on_exit="sweep-all",
        service_account_name="autotuner-ask",
        security_context=m.PodSecurityContext(
            run_as_non_root=True,
            run_as_user=_USER,
            run_as_group=_USER,
            fs_group=_USER,
            seccomp_profile=m.SeccompProfile(type="RuntimeDefault"),
        ),
        pod_metadata=m.Metadata(labels={**MANAGED_BY, STUDY: study}),
        pod_gc=m.PodGC(strategy="OnPodSuccess", delete_delay_duration="600s"),
        ttl_strategy=m.TTLStrategy(
            seconds_after_completion=7 * 86_400, seconds_after_success=86_400
        ),
        volumes=[m.Volume(name="tmp", empty_dir=m.EmptyDirVolumeSource())],
    ) as workflow:
        _add_templates(_Builder(task.spec, study, installation))
    return workflow


def to_manifest(workflow: Workflow) -> dict[str, Any]:
    """A Workflow as the API takes it."""
    # By way of JSON: Hera's own dictionary holds values that are no plain ones.
    manifest: dict[str, Any] = json.loads(json.dumps(workflow.to_dict()))
    for template in manifest["spec"]["templates"]:
        # Hera's `annotations` are those of the pod; Argo reads a node's name beside it.
        if annotations := template.get("metadata", {}).pop("annotations", None):
            template["annotations"] = annotations
    return manifest


def _annotations(task: TuningTask, study: str, origin: Origin) -> dict[str, str]:
    engine, mode = task.spec.engine.name, task.spec.deployment.mode
    said = {
        _TITLE: f"{study} · {engine} · {mode}",
        _DESCRIPTION: task.spec.description or f"Tunes {engine} for {task.spec.model.name}",
        "inference-autotuner/task": task.metadata.name,
        "inference-autotuner/commit": origin.commit,
        "inference-autotuner/owner": origin.owner,
    }
    return {name: value for name, value in said.items() if value}


@dataclass(frozen=True)
class _Builder:
    """What every leaf of one study's Workflow shares."""

    spec: Spec
    study: str
    installation: Installation

    def leaf(
        self,
        step: str,
        options: Mapping[str, str],
        *,
        account: str,
        deadline_s: float,
        retries: int = 0,
        inputs: tuple[str, ...] = (),
        outputs: tuple[str, ...] = (),
        display_name: str | None = None,
        memory: str = "384Mi",
        **fields: Any,
    ) -> Container:
        """A pod that runs `autotuner step STEP`."""
        given = [word for option, value in options.items() for word in (f"--{option}", value)]
        image = self.installation.bench_image if step == "benchmark" else self.installation.image
        return Container(
            name=step,
            image=image,
            image_pull_policy="IfNotPresent",
            command=["autotuner", "step", step, "--study", self.study],
            args=[*given, "--outputs", _OUTPUTS],
            env=_environment(self.installation),
            inputs=[Parameter(name=name) for name in inputs],
            outputs=[_output(name) for name in outputs],
            annotations={_DISPLAY_NAME: display_name} if display_name else None,
            labels={STEP: step} | ({STEP_TRIAL: TRIAL_INPUT} if "trial" in inputs else {}),
            active_deadline_seconds=int(deadline_s),
            retry_strategy=_retry(retries) if retries else None,
            service_account_name=account,
            security_context=_restricted(),
            resources=Resources(
                cpu_request="100m", memory_request=memory, memory_limit=_doubled(memory)
            ),
            volume_mounts=[m.VolumeMount(name="tmp", mount_path="/tmp")],
            **fields,
        )


def _add_templates(build: _Builder) -> None:
    _add_ask(build)
    _add_server_steps(build)
    _add_tell(build)
    _add_cleanup(build)
    _add_flow(build)


def _starting_s(spec: Spec) -> float:
    """An image is fetched within the ready time as well, and the engine's own begins then."""
    return 2 * spec.deployment.readyTimeout


def _loading_s(spec: Spec) -> float:
    """The longest that the benchmark of one trial takes."""
    return trial_most_s(spec) - spec.deployment.readyTimeout


def _add_ask(build: _Builder) -> None:
    waiting_s = QUEUE_TIMEOUT_S + _starting_s(build.spec) + _loading_s(build.spec)
    build.leaf(
        "ask",
        {"key": "{{inputs.parameters.key}}", "wait": f"{waiting_s:.0f}"},
        account="autotuner-ask",
        deadline_s=waiting_s + _MARGIN_S,
        retries=6,
        inputs=("key",),
        outputs=("proceed", "trial", "kind", "params", "message"),
        # Two that ask together would get the same answer.
        synchronization=m.Synchronization(mutexes=[m.Mutex(name=f"{build.study}-ask")]),
    )


def _add_server_steps(build: _Builder) -> None:
    """What starts a server, and what measures it and takes it away."""
    build.leaf(
        "deploy",
        {"trial": TRIAL_INPUT, **_THIS_WORKFLOW, "queue-timeout": f"{QUEUE_TIMEOUT_S:.0f}"},
        account="autotuner-deploy",
        deadline_s=QUEUE_TIMEOUT_S + _starting_s(build.spec) + _MARGIN_S,
        retries=2,
        inputs=("trial", "params"),
        outputs=("outcome", "url", "message"),
        display_name="deploy-{{inputs.parameters.trial}}",
    )
    build.leaf(
        "benchmark",
        {"trial": TRIAL_INPUT},
        account="autotuner-benchmark",
        deadline_s=_loading_s(build.spec) + 2 * _MARGIN_S,
        retries=2,
        inputs=("trial",),
        outputs=("outcome", "message"),
        display_name="benchmark-{{inputs.parameters.trial}}",
        memory="1Gi",
    )


def _add_tell(build: _Builder) -> None:
    build.leaf(
        "tell",
        {"trial": TRIAL_INPUT},
        account="autotuner-ask",
        deadline_s=2 * _MARGIN_S,
        retries=6,
        inputs=("trial",),
        outputs=("score",),
        display_name="tell-{{inputs.parameters.trial}}",
    )


def _add_cleanup(build: _Builder) -> None:
    """The exit hook and the sweep.

    Once a study is stopped Argo does not try them again: they retry inside as well. Before, a
    hook whose pod was evicted would leave its server to the end of the study.
    """
    build.leaf(
        "release",
        {"trial": TRIAL_INPUT, **_THIS_WORKFLOW},
        account="autotuner-release",
        deadline_s=2 * _MARGIN_S,
        retries=3,
        inputs=("trial",),
        outputs=("message",),
        display_name="release-{{inputs.parameters.trial}}",
    )
    build.leaf(
        "sweep",
        _THIS_WORKFLOW,
        account="autotuner-release",
        deadline_s=2 * _MARGIN_S,
        retries=3,
        outputs=("message",),
    )


def _add_flow(build: _Builder) -> None:
    """The order of the leaves."""
    asked = {
        name: "{{steps.ask.outputs.parameters.%s}}" % name  # noqa: UP031 - braces are Argo's
        for name in ("trial", "params")
    }
    trial = {"trial": TRIAL_INPUT}
    with Steps(name="body", inputs=[Parameter(name=name) for name in asked]) as body:
        params = {"params": "{{inputs.parameters.params}}"}
        Step(name="deploy", template="deploy", arguments=_arguments(trial | params))
        Step(
            name="benchmark",
            template="benchmark",
            when=_equals("{{steps.deploy.outputs.parameters.outcome}}", "serves"),
            arguments=_arguments(trial),
        )
        # Not by the benchmark's outcome: a step that was skipped has none.
        Step(
            name="tell",
            template="tell",
            when=_equals("{{steps.deploy.outputs.parameters.outcome}}", "serves"),
            arguments=_arguments(trial),
        )
    pool = m.SemaphoreRef(
        config_map_key_ref=m.ConfigMapKeySelector(
            name=POOLS_CONFIG_MAP, key=build.installation.pool
        )
    )
    with Steps(
        name="trial",
        inputs=[Parameter(name="slot")],
        synchronization=m.Synchronization(semaphores=[pool]),
    ) as one_trial:
        key = key_of("{{workflow.uid}}", "{{inputs.parameters.slot}}")
        Step(name="ask", template="ask", arguments=_arguments({"key": key}))
        Step(
            name="body",
            template=body,
            when=_equals("{{steps.ask.outputs.parameters.proceed}}", "true"),
            arguments=_arguments(asked),
            hooks={
                "exit": m.LifecycleHook(
                    template="release",
                    arguments=m.Arguments(parameters=_arguments({"trial": asked["trial"]})),
                )
            },
        )
    with Steps(name="main", parallelism=build.spec.budget.parallel):
        Step(
            name="trial",
            template=one_trial,
            arguments=_arguments({"slot": "{{item}}"}),
            with_sequence=m.Sequence(count=m.IntOrString(slots(build.spec)), format="%03d"),
            continue_on=m.ContinueOn(failed=True, error=True),
        )
    with Steps(name="sweep-all"):
        Step(name="sweep", template="sweep")


def _arguments(values: Mapping[str, str]) -> list[m.Parameter]:
    return [m.Parameter(name=name, value=value) for name, value in values.items()]


def _equals(value: str, wanted: str) -> str:
    """Quoted: what a step that was killed left out is an empty text."""
    return f'"{value}" == "{wanted}"'


def _output(name: str) -> Parameter:
    """A step that was killed wrote none; what follows then sees the default, and does nothing."""
    return Parameter(name=name, value_from=m.ValueFrom(path=f"{_OUTPUTS}/{name}", default=""))


def _retry(limit: int) -> RetryStrategy:
    return RetryStrategy(
        limit=limit,
        expression=_TRANSIENT,
        backoff=m.Backoff(duration="5s", factor=m.IntOrString(2), cap="2m"),
    )


def _restricted() -> m.SecurityContext:
    return m.SecurityContext(
        allow_privilege_escalation=False,
        read_only_root_filesystem=True,
        capabilities=m.Capabilities(drop=["ALL"]),
    )


def _environment(installation: Installation) -> list[m.EnvVar]:
    token = m.SecretKeySelector(name=STORAGE_SECRET, key="token")
    return [
        m.EnvVar(name="AUTOTUNER_STORAGE", value=installation.storage),
        m.EnvVar(name="AUTOTUNER_STORAGE_TOKEN", value_from=m.EnvVarSource(secret_key_ref=token)),
        m.EnvVar(name="AUTOTUNER_STATE", value="/tmp/state"),
        m.EnvVar(name="HOME", value="/tmp/home"),
    ]


def _doubled(memory: str) -> str:
    number = memory.rstrip("GMi")
    return f"{2 * int(number)}{memory[len(number) :]}"
