"""The flat task files of the first autotuner, read as tuning tasks.

What it did by itself, or on its command line, is written out here as it was, as long as a task can
say it; what a task cannot say is told as a warning. Facts about its last revision (January 2026):
`maximize_throughput` is input and output tokens per second; limits on TTFT and TPOT are on the
mean; a time limit of the load generator is in minutes, one of the deployment in seconds.
"""

import re
from collections.abc import Mapping
from typing import Any

from inference_autotuner.optimizer.legacy_flags import put_flags
from inference_autotuner.optimizer.legacy_notes import Conversion, Notes
from inference_autotuner.optimizer.legacy_traffic import duration, put_slos, put_workload

Raw = Mapping[str, Any]

_NEW = {"apiVersion", "kind", "metadata", "spec"}
_OLD = {"task_name", "base_runtime", "runtime_image_tag", "deployment_mode", "optimization"}
_FIELDS = (
    *("task_name", "description", "model", "base_runtime", "runtime_image_tag", "deployment_mode"),
    *("parameters", "optimization", "benchmark", "slo", "quant_config", "parallel_config"),
    *("clusterbasemodel_config", "clusterservingruntime_config", "storage"),
)
_OME_ONLY = {"clusterbasemodel_config", "clusterservingruntime_config", "storage"}
_MODES = {"ome": "ome", "docker": "docker", "local": "process"}
_SAMPLERS = {
    "grid_search": "grid",
    "bayesian": "tpe",
    "random": "random",
    "random_search": "random",
}
_OBJECTIVES = {
    "minimize_latency": {"metric": "e2e_latency", "statistic": "mean"},
    "maximize_throughput": {"metric": "total_throughput"},
    "minimize_ttft": {"metric": "ttft", "statistic": "mean"},
    "minimize_tpot": {"metric": "tpot", "statistic": "mean"},
}
_IMAGES = {
    "sglang": ("lmsysorg/sglang", "v0.5.2-cu126"),
    "vllm": ("vllm/vllm-openai", "latest"),
}
# Where a mistake is told that has no field of its own in the flat form.
_ORIGINS = {
    "metadata": "task_name",
    "spec.model": "model",
    "spec.engine": "base_runtime",
    "spec.deployment": "deployment_mode",
    "spec.parameters": "parameters",
    "spec.constraints": "parameters",
    "spec.workload": "benchmark",
    "spec.search": "optimization",
    "spec.budget": "optimization",
}
_NAME_LIMIT = 35
_TRIALS_LIMIT = 300


def is_legacy(raw: Any) -> bool:
    """Whether what was read has the flat form.

    >>> is_legacy({"task_name": "a", "base_runtime": "vllm"}), is_legacy({"spec": {}})
    (True, False)
    """
    return isinstance(raw, dict) and not raw.keys() & _NEW and bool(raw.keys() & _OLD)


def convert(raw: Raw) -> Conversion:
    """A flat task as the raw value of a tuning task, with everything that is to be said."""
    notes = Notes()
    for new, old in _ORIGINS.items():
        notes.origin(new, old)
    notes.check_names(raw, "", _FIELDS)
    _put_metadata(notes, raw)
    mode = _mode(notes, raw)
    engine = _engine_name(raw)
    benchmark = notes.section(
        raw,
        "benchmark",
        (
            *("task", "model_name", "model_tokenizer", "traffic_scenarios", "num_concurrency"),
            *("max_time_per_iteration", "max_requests_per_iteration", "additional_params"),
            *("dataset_url", "dataset_deduplicate"),
        ),
    )
    _put_model(notes, raw, benchmark, mode)
    _put_engine(notes, raw, engine, mode)
    put_flags(notes, raw, engine)
    put_workload(notes, benchmark, mode)
    _put_optimization(notes, raw)
    put_slos(notes, raw)
    return notes.conversion()


def _put_metadata(notes: Notes, raw: Raw) -> None:
    name = raw.get("task_name")
    if name is None:
        notes.mistake("task_name", "is missing: what the task is called")
    elif isinstance(name, str) and _slug(name) != name:
        notes.warn("task_name", f"'{name}' becomes '{_slug(name)}'")
        name = _slug(name)
    notes.put("metadata.name", name, "task_name")
    if raw.get("description") is not None:
        notes.put("spec.description", raw["description"], "description")


def _slug(name: str) -> str:
    """A name as Kubernetes takes it, short enough for what is put behind it.

    >>> _slug("My Task_2"), _slug("8b")
    ('my-task-2', 'b')
    """
    dashed = re.sub(r"[^a-z0-9]+", "-", name.lower())
    return re.sub(r"^[^a-z]+", "", dashed)[:_NAME_LIMIT].rstrip("-") or "task"


def _mode(notes: Notes, raw: Raw) -> str:
    given = raw.get("deployment_mode")
    if given is None:
        given = _likely_mode(raw)
        notes.warn(
            "deployment_mode",
            f"is missing; {given} is taken, for a file like this one ran in that mode",
        )
    mode = str(notes.choose("deployment_mode", given, _MODES))
    notes.put("spec.deployment.mode", mode, "deployment_mode")
    return mode


def _likely_mode(raw: Raw) -> str:
    """The command line took ome for granted, the web app docker: which of them could run it?"""
    is_engine = isinstance(raw.get("base_runtime"), str) and raw["base_runtime"] in _IMAGES
    return "docker" if is_engine and not _OME_ONLY & raw.keys() else "ome"


def _engine_name(raw: Raw) -> str | None:
    """The engine that a runtime's name, or its preset's, begins with or holds."""
    config = raw.get("clusterservingruntime_config")
    made = config if isinstance(config, dict) else {}
    hints = [raw.get("base_runtime"), made.get("preset"), made.get("name")]
    for hint in hints:
        for engine in _IMAGES:
            if isinstance(hint, str) and engine in hint.lower():
                return engine
    return None


def _put_model(notes: Notes, raw: Raw, benchmark: Raw, mode: str) -> None:
    known = ("id_or_path", "name", "namespace", "quantization", "quantization_config")
    model = notes.section(raw, "model", known)
    field = "name" if "name" in model and "id_or_path" not in model else "id_or_path"
    name = model.get(field)
    if name is None and isinstance(raw.get("model"), dict):
        notes.mistake("model.id_or_path", "is missing: a path or a hub id")
    if isinstance(name, str):
        name = _model_name(notes, name, f"model.{field}", mode)
    notes.put("spec.model.name", name, f"model.{field}")
    _put_namespace(notes, model, mode)
    for old in ("quantization", "quantization_config"):
        if old in model:
            notes.warn(f"model.{old}", "is left out: the engine reads it from the model")
    if "model_name" in benchmark:
        notes.put("spec.model.servedName", benchmark["model_name"], "benchmark.model_name")
    if "model_tokenizer" in benchmark:
        tokenizer = benchmark["model_tokenizer"]
        notes.put("spec.model.tokenizer", tokenizer, "benchmark.model_tokenizer")
    else:
        notes.warn(
            "benchmark.model_tokenizer",
            "is missing; gpt2 counted the tokens before, now the model's own tokenizer does",
        )


def _model_name(notes: Notes, name: str, old: str, mode: str) -> str:
    if mode == "ome":
        # The first autotuner asked OME for the last part, in lower case and with dashes.
        short = re.sub(r"[^a-z0-9]+", "-", name.rsplit("/", 1)[-1].lower()).strip("-")
        if short != name:
            notes.warn(old, f"the OME model is '{short}', as the first autotuner asked for it")
        return short
    if "/" not in name:
        notes.warn(
            old,
            f"'{name}' was looked for in the folder of --model-path; write the whole path, or a "
            "hub id",
        )
    return name


def _put_namespace(notes: Notes, model: Raw, mode: str) -> None:
    if "namespace" not in model:
        return
    if mode == "ome":
        notes.put("spec.deployment.namespace", model["namespace"], "model.namespace")
    else:
        notes.warn("model.namespace", "is left out: without Kubernetes it was part of a name only")


def _put_engine(notes: Notes, raw: Raw, engine: str | None, mode: str) -> None:
    base = raw.get("base_runtime")
    if base is None:
        notes.mistake("base_runtime", "is missing: sglang, vllm, or the name of an OME runtime")
    elif engine is None and mode == "ome":
        notes.warn("base_runtime", f"'{base}' does not tell the engine; sglang is taken")
    elif engine is None:
        notes.mistake("base_runtime", f"'{base}' is no engine; there are sglang and vllm")
    notes.put("spec.engine.name", engine or "sglang", "base_runtime")
    if mode == "ome":
        _put_runtime(notes, raw, base)
    elif mode == "docker":
        _put_image(notes, raw, engine or "sglang")
    if "runtime_image_tag" in raw and mode != "docker":
        notes.warn("runtime_image_tag", f"is left out: it has no effect in mode {mode}")
    for old in sorted(_OME_ONLY & raw.keys()):
        if mode != "ome":
            notes.warn(old, f"is left out: it has no effect in mode {mode}")


def _put_runtime(notes: Notes, raw: Raw, base: Any) -> None:
    old = "clusterservingruntime_config"
    config = notes.section(raw, old, _CONFIG) if old in raw else {}
    made = config.get("preset") or config.get("name")
    notes.put("spec.engine.runtime", made or base, old if made else "base_runtime")
    if made:
        notes.warn(old, f"the runtime '{made}' is not made any more; it must be on the cluster")
    elif isinstance(base, str) and base in _IMAGES:
        notes.warn("base_runtime", f"the OME runtime is taken to be called '{base}', like before")
    old = "clusterbasemodel_config"
    if old in raw:
        config = notes.section(raw, old, _CONFIG)
        model = config.get("preset") or config.get("name") or "it"
        notes.warn(old, f"the OME model '{model}' is not made any more; it must be on the cluster")
    if "storage" in raw:
        notes.warn("storage", "is left out: where the weights lie is written in the OME model")


_CONFIG = ("preset", "name", "spec", "overrides", "labels", "annotations")


def _put_image(notes: Notes, raw: Raw, engine: str) -> None:
    image, default = _IMAGES[engine]
    tag = raw.get("runtime_image_tag") or default
    if not isinstance(tag, str):
        notes.mistake("runtime_image_tag", "a tag is a text; put it in quotes")
        return
    if not raw.get("runtime_image_tag"):
        notes.warn(
            "runtime_image_tag", f"is missing; the image is {image}:{tag}, the default before"
        )
    notes.put("spec.engine.image", f"{image}:{tag}", "runtime_image_tag")
    if version := re.match(r"v?([0-9]+(?:\.[0-9]+)+(?:\.post[0-9]+)?)", tag):
        notes.put("spec.engine.version", version[1], "runtime_image_tag")


def _put_optimization(notes: Notes, raw: Raw) -> None:
    without = ("n_initial_random", "study_name", "storage")
    section = notes.section(
        raw,
        "optimization",
        ("strategy", "objective", "max_iterations", "timeout_per_iteration", "seed", *without),
    )
    old = "optimization"
    strategy = notes.choose(f"{old}.strategy", section.get("strategy", "grid_search"), _SAMPLERS)
    notes.put("spec.search.sampler", strategy, f"{old}.strategy")
    if "seed" in section:
        notes.put("spec.search.seed", section["seed"], f"{old}.seed")
    wanted = section.get("objective", "minimize_latency")
    objective = notes.choose(f"{old}.objective", wanted, _OBJECTIVES)
    notes.put("spec.objectives", [objective], f"{old}.objective")
    if wanted == "maximize_throughput":
        notes.warn(
            f"{old}.objective",
            "is input and output tokens/s of a server, as before; where GPUs were counted, it was "
            "divided by them",
        )
    _put_budget(notes, section)
    for name in without:
        if name in section:
            notes.warn(f"{old}.{name}", "is left out: it has no counterpart")


def _put_budget(notes: Notes, section: Raw) -> None:
    old = "optimization.timeout_per_iteration"
    seconds = section.get("timeout_per_iteration", 1800)
    notes.put("spec.deployment.readyTimeout", duration(notes, seconds, 1, old), old)
    if "timeout_per_iteration" in section:
        notes.warn(old, "is the time to get ready; the load has its own limit in maxTime now")
    old = "optimization.max_iterations"
    trials = section.get("max_iterations", 100)
    if isinstance(trials, int) and not isinstance(trials, bool) and trials > 0:
        trials = min(trials + 1, _TRIALS_LIMIT)
        notes.warn(old, f"makes {trials} trials: the engine's defaults are measured first")
    notes.put("spec.budget.trials", trials, old)
