"""The top of a report: what is beside the verdict, the study in a few words, the command."""

from collections.abc import Sequence

from inference_autotuner.manifests.command import closed_words, served_model, winning_launch
from inference_autotuner.manifests.inference_service import build_runner
from inference_autotuner.manifests.report_view import Section
from inference_autotuner.manifests.roles import Roles, fresh_runs, served_trial
from inference_autotuner.manifests.serve_script import (
    DEFAULT_HOST,
    DEFAULT_PORT,
    argument_lines,
    starting_programs,
)
from inference_autotuner.manifests.tables import busy_and_wall_s
from inference_autotuner.manifests.wording import hours, moment
from inference_autotuner.optimizer.canonical import study_name
from inference_autotuner.optimizer.listing import (
    count_states,
    format_value,
    objective_heading,
)
from inference_autotuner.optimizer.spec import TuningTask
from inference_autotuner.optimizer.trial import Trial, TrialState
from inference_autotuner.optimizer.units import spoken_duration
from inference_autotuner.optimizer.verdict import Verdict

# The largest of a few runs on a quiet machine is within a few percent of the smallest.
_NOISY = 1.3
_FILES = (
    "Beside this report, serve.sh starts the same on a machine, and "
    "kubectl apply -f manifest.yaml on a cluster."
)
_OME_FILES = (
    "Beside this report, manifest.yaml is that InferenceService, ready for kubectl apply, and "
    "patch.yaml puts the args on one that exists already."
)


def notes(roles: Roles, verdict: Verdict) -> list[str]:
    """What somebody must know before they follow the verdict."""
    found = []
    if any(trial.state is TrialState.RUNNING for trial in roles.trials):
        found.append("The study has not ended: this is what is known so far.")
    catalog = roles.space.engine.flags
    kept = [flag.flag for flag in verdict.flags if flag.is_kept]
    if lossy := [flag for flag in kept if flag in catalog and catalog[flag].is_lossy]:
        found.append(
            f"{', '.join(lossy)} may change what the model answers, and nothing here measured the "
            "quality of the answers: check it before you deploy."
        )
    if spread := _baseline_spread(roles):
        found.append(spread)
    return found


def _baseline_spread(roles: Roles) -> str:
    """That one and the same configuration gave very different numbers, where it did."""
    values = sorted(trial.values[0] for trial in fresh_runs(roles, roles.baseline))
    if len(values) < 2 or values[-1] <= _NOISY * values[0]:
        return ""
    objective = roles.spec.objectives[0].metric
    low, high = (format_value(objective, value) for value in (values[0], values[-1]))
    return (
        f"The baseline alone ranged {low} … {high} {objective_heading(roles.spec)}: was the "
        "machine busy? More confirm.repeats, or a quiet machine, would tell."
    )


def headline(task: TuningTask, roles: Roles) -> list[tuple[str, str]]:
    """The study in a few pairs of name and value."""
    pairs = [
        ("Engine", engine_title(task, roles)),
        ("Model", task.spec.model.name),
        ("Workload", workload_title(task)),
        ("Trials", trials_title(roles)),
    ]
    if roles.trials:
        pairs += [("Took", took_title(roles.trials)), ("Ended", ended_title(roles.trials))]
    return [*pairs, ("Study", study_name(task))]


def engine_title(task: TuningTask, roles: Roles) -> str:
    """The engine with its version, and how it ran."""
    version = engine_version(task, roles)
    return f"{roles.space.engine.title} {version}, mode {task.spec.deployment.mode}"


def engine_version(task: TuningTask, roles: Roles) -> str:
    """What the engine itself said, else what the task says, else what the catalog was read from."""
    told = [trial.resolved.get("version") or trial.resolved.get("build") for trial in roles.trials]
    said = [str(version) for version in told if version and "unknown" not in str(version)]
    return said[-1] if said else task.spec.engine.version or roles.space.engine.version


def workload_title(task: TuningTask) -> str:
    """The traffic in one line."""
    workload = task.spec.workload
    scenarios = ", ".join(s.scenario for s in workload.scenarios)
    levels = workload.concurrency
    if isinstance(levels, list):
        return f"{scenarios} at concurrency {', '.join(map(str, levels))}"
    return f"{scenarios}, highest concurrency from {levels.search.min} to {levels.search.max}"


def trials_title(roles: Roles) -> str:
    """How many trials there were, and how many without a score."""
    explored, everything = len(roles.explored), len(roles.trials)
    counts = count_states(roles.trials)
    parts = [f"{explored} explored"]
    parts += [f"{everything - explored} in the proof"] if everything > explored else []
    parts += [f"{count} {state}" for state, count in counts.items() if state != "measured"]
    return ", ".join(parts)


def took_title(trials: Sequence[Trial]) -> str:
    """Wall time and GPU-hours."""
    gpu_s = sum(trial.gpu_seconds for trial in trials)
    wall = spoken_duration(busy_and_wall_s(trials)[1])
    return f"{wall}, {hours(gpu_s)} of GPU time" if gpu_s else wall


def ended_title(trials: Sequence[Trial]) -> str:
    """When the last trial ended."""
    ends = [trial.ended_s for trial in trials if trial.ended_s is not None]
    return moment(max(ends)) if ends else "not yet"


def use_section(task: TuningTask, roles: Roles, verdict: Verdict) -> Section:
    """The command that serves with the answer; nothing where there is none."""
    served = served_trial(roles, verdict)
    if served is None:
        return Section("")
    is_ome = task.spec.deployment.mode == "ome"
    code = "args of the InferenceService" if is_ome else "command line"
    text = (
        f"The winner's {code}, as measured."
        if verdict.has_winner
        else f"Nothing is shown to be better: the baseline's {code}."
    )
    return Section(
        "Use it" if verdict.has_winner else "Keep the baseline",
        texts=[text],
        code=serving_command(task, roles, served),
        notes=[_OME_FILES if is_ome else _FILES],
    )


def serving_command(task: TuningTask, roles: Roles, trial: Trial) -> str:
    """A trial's command line as one would type it; in mode `ome` the container's `args` alone."""
    engine = roles.space.engine
    if task.spec.deployment.mode == "ome":
        return "\n".join(argument_lines(build_runner(task.spec, engine, trial).args))
    model = served_model(engine, task.spec, trial)
    launch = winning_launch(
        task.spec, trial.params, model=model, host=DEFAULT_HOST, port=DEFAULT_PORT
    )
    program = " ".join(starting_programs(task, engine)[0])
    return " \\\n  ".join([program, *argument_lines(closed_words(engine, task.spec, launch))])
