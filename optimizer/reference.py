"""The reference page of the task file, written from the models."""

from collections.abc import Iterator
from typing import Any

from inference_autotuner.optimizer.metrics import Metric
from inference_autotuner.optimizer.scenario import ALLOWED
from inference_autotuner.optimizer.schema import Schema, json_schema
from inference_autotuner.optimizer.yaml_reader import COUNT_LIMIT, DEPTH_LIMIT, SIZE_LIMIT

EXAMPLE = """\
apiVersion: inference-autotuner/v1alpha1
kind: TuningTask
metadata:
  name: chat                             # studies and Kubernetes objects are named after it
  labels: {team: search}
spec:
  description: Chat traffic on one GPU
  model:
    name: meta-llama/Llama-3.1-8B-Instruct
  engine:
    name: vllm
    args: {max-model-len: 8192}          # fixed flags, the same in every trial
    env: {HF_HUB_OFFLINE: "1"}
  deployment:
    mode: process
    readyTimeout: 20m
  parameters:                            # what is searched
    max-num-seqs: [64, 128, 256, 512]    # a list of values
    gpu-memory-utilization: {min: 0.85, max: 0.95, step: 0.05}
    max-num-batched-tokens: {min: 2048, max: 16384, log: true}   # 2048, 4096, 8192, 16384
    enable-prefix-caching: [true, false]
  constraints:                           # false: not tried
    - params["max-num-batched-tokens"] >= params["max-num-seqs"]
  workload:
    scenarios:
      - D(1000,200)                      # 1000 tokens in, 200 out
      - {scenario: "N(480,240)/(300,150)", weight: 2}
    concurrency: [8, 32]
    requests: 200
    sharedPrefix: 200
  objectives: [{metric: output_throughput}]
  slos:
    - {metric: ttft, statistic: p99, limit: 500ms}
    - {metric: tpot, statistic: p99, limit: 30ms}
  search: {sampler: tpe, seed: 7}
  budget: {trials: 30, wallTime: 12h, patience: 12}
  confirm: {finalists: 3, repeats: 3}
"""

_INTRODUCTION = """\
# The task file

A task file says what is tuned: model, engine, the flags that may change, the traffic, and what is
wanted. It is YAML or JSON. This page is written from the models that read it.

```yaml
{example}```

`autotuner init` writes a first one, `autotuner validate` tells every mistake in one at once, and
`autotuner plan` shows what it would try. Everything has a default but what is marked *required*.
"""

_RULES = """\
## How a file is read

- YAML is read by version 1.2: `on`, `off`, `yes`, `no` and `1:30` are texts. A number is not put in
  quotes, a text that looks like a number is: `version: "1.10"`.
- A value of a flag is a number, a text, true or false.
- Durations have a unit: `500ms`, `30s`, `5m`, `2h`, `1h30m`.
- Flags have the engine's own names, without dashes in front. `8.0` is `8`.
- Scenarios have genai-bench's form: {allowed}. Outputs have two tokens or more.
- Expressions are [CEL](https://cel.dev) over `params`, as in `params["tp-size"] <= 4`: fixed flags,
  known defaults and the trial's params. In arithmetic with fractions write
  `double(params["x"]) * 0.5`.
- `{{{{` is refused wherever it stands, for it begins a template.
- A file holds one task, in UTF-8, {size} KiB at most, {count} values with aliases written out, and
  {depth} levels.
- A path that is relative starts at the folder of the task file.

What is wrong is told with line and field, and exit code 64; nothing has been started. Fields and
flags are told all at once; expressions, and what contradicts itself, once those are right.

## What makes a study

A study is named `<task>-h<10 digits>`, after the task and a hash of all it says that changes what
is measured. Comments, the order of fields, defaults written out, `1.0` for `1`, `0.5s` for `500ms`,
description, labels and `publish` make no other study: `autotuner run` goes on where it stopped.
"""

_LEGACY = """\
## Files of the first autotuner

Flat files with `task_name`, `base_runtime` and so on are read as the same task, in both forms of
parameters. `autotuner convert` writes the new form, and says what it cannot carry over.

| there | here |
|---|---|
| `deployment_mode` ome, docker, local | `deployment.mode` ome, docker, process |
| `model.id_or_path`, `model.namespace` | `model.name`, `deployment.namespace` |
| `base_runtime` | `engine.name`; in mode ome `engine.runtime` too |
| `runtime_image_tag` | `engine.image`, `engine.version` |
| `parameters`, `parallel_config`, `quant_config` | `parameters`, `engine.args` |
| `optimization.strategy` grid_search, bayesian, random | `search.sampler` grid, tpe, random |
| `optimization.objective` minimize_latency | `e2e_latency`, mean |
| `optimization.objective` maximize_throughput | `total_throughput` |
| `optimization.objective` minimize_ttft, minimize_tpot | `ttft`, `tpot`, mean |
| `optimization.max_iterations` | `budget.trials`, one more for the baseline |
| `optimization.timeout_per_iteration`, seconds | `deployment.readyTimeout` |
| `benchmark.traffic_scenarios`, `num_concurrency` | `workload.scenarios`, `workload.concurrency` |
| `benchmark.max_time_per_iteration`, minutes | `workload.maxTime` |
| `benchmark.max_requests_per_iteration` | `workload.requests` |
| `benchmark.additional_params` | `workload.requestParams` |
| `benchmark.model_name`, `model_tokenizer` | `model.servedName`, `model.tokenizer` |
| `slo`, thresholds in seconds | `slos`: each a limit that must hold |
"""


def task_reference() -> str:
    """`docs/task.md`: the annotated example, a table for each model, and how a file is read."""
    rules = _RULES.format(
        allowed=f"`{ALLOWED}`".replace(", N", "`, `N").replace(", U", "`, `U"),
        size=SIZE_LIMIT // 1024,
        count=f"{COUNT_LIMIT:,}",
        depth=DEPTH_LIMIT,
    )
    schema = json_schema()
    parts = [
        _INTRODUCTION.format(example=EXAMPLE),
        "## Fields\n",
        *(_section(name, model, schema) for name, model in _models(schema)),
        _metrics(),
        rules,
        _LEGACY,
    ]
    return "\n".join(parts)


def _models(schema: Schema) -> Iterator[tuple[str, Schema]]:
    """Every model, the task first, each before the ones inside of it."""
    waiting = [("TuningTask", schema)]
    seen = set()
    while waiting:
        name, model = waiting.pop(0)
        if name in seen or "properties" not in model:
            continue
        seen.add(name)
        yield name, model
        inner = [n for field in model["properties"].values() for n in _references(field)]
        waiting[:0] = [(n, schema["$defs"][n]) for n in inner]


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if "$ref" in node:
            yield str(node["$ref"]).rsplit("/", 1)[-1]
        for inner in node.values():
            yield from _references(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _references(inner)


def _section(name: str, model: Schema, schema: Schema) -> str:
    rows = [
        f"| `{field}` | {_type(form, schema)} | {_default(field, form, model)} "
        f"| {form['description']} |"
        for field, form in model["properties"].items()
    ]
    table = "\n".join(["| field | type | default | meaning |", "|---|---|---|---|", *rows])
    return f"### {name}\n\n{model['description']}\n\n{table}\n"


def _default(field: str, form: Schema, model: Schema) -> str:
    if field in model.get("required", []):
        return "*required*"
    default = form.get("default")
    if isinstance(default, dict) or default in (None, [], ""):
        return ""
    if isinstance(default, list) and isinstance(default[0], dict):
        default = [{k: v for k, v in item.items() if v is not None} for item in default]
    return f"`{_in_yaml(default)}`"


def _in_yaml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_in_yaml, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{k}: {_in_yaml(v)}' for k, v in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _type(form: Schema, schema: Schema) -> str:
    """What a value looks like, in a few words."""
    if "$ref" in form:
        [name] = _references({"$ref": form["$ref"]})
        target = schema["$defs"][name]
        return f"[{name}](#{name.lower()})" if "properties" in target else _type(target, schema)
    if forms := form.get("anyOf") or form.get("oneOf"):
        return " or ".join(t for t in (_type(f, schema) for f in forms) if t)
    if "enum" in form:
        return ", ".join(f"`{word}`" for word in form["enum"])
    if "const" in form:
        return f"`{_in_yaml(form['const'])}`"
    return _plain_type(form, schema)


def _plain_type(form: Schema, schema: Schema) -> str:
    kinds = form.get("type", "any")
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if "(ms|s|m|h|d)" in form.get("pattern", ""):
        return "duration"
    if kinds == _VALUE:
        return "value"
    if kinds == ["array"]:
        return f"list of {_plural(_type(form['items'], schema))}"
    if kinds == ["object"]:
        values = form.get("additionalProperties")
        inner = _type(values, schema) if isinstance(values, dict) else "any"
        return "mapping" if inner == "any" else f"mapping of names to {_plural(inner)}"
    words = " or ".join(_WORDS[kind] for kind in kinds if kind != "null")
    return f"{words}{_bounds(form)}"


_VALUE = ["boolean", "number", "string"]
_WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "any": "any",
}


def _plural(words: str) -> str:
    """One or more of what a type says.

    >>> _plural("whole number, 1 to 8"), _plural("text or [Slo](#slo)")
    ('whole numbers, 1 to 8', 'texts or [Slo](#slo)')
    """
    for word in ("whole number", "text", "value", "number"):
        if words.startswith(word):
            return f"{word}s{words[len(word) :]}"
    return words


def _bounds(form: Schema) -> str:
    low, above = form.get("minimum"), form.get("exclusiveMinimum")
    high, below = form.get("maximum"), form.get("exclusiveMaximum")
    if below is not None and form.get("type") == "integer":
        high, below = below - 1, None
    if low is not None and high is not None:
        return f", {low:,} to {high:,}"
    bounds = ((above, "above"), (low, "at least"), (below, "below"))
    said = [f"{word} {bound:,}" for bound, word in bounds if bound is not None]
    return f", {', '.join(said)}" if said else ""


def _metrics() -> str:
    rows = [
        f"| `{metric}` | {metric.unit} | {metric.direction} | {metric.meaning} |"
        for metric in Metric
    ]
    head = "| metric | unit | better when you | meaning |\n|---|---|---|---|"
    table = "\n".join([head, *rows])
    said = "Limits on latencies are durations; all others are plain numbers."
    return f"### Metrics\n\n{said}\n\n{table}\n"
