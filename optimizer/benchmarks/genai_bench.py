"""genai-bench 0.0.5 as text: its command line, its environment, and what it cannot run.

Nothing is run here and genai-bench is not imported: it patches sockets on import.
"""

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from inference_autotuner.optimizer.errors import Mistake
from inference_autotuner.optimizer.spec import ConcurrencySearch, Workload

PROGRAM = "genai-bench"
LOAD_BEGINS = "Starting benchmark with concurrency="  # the last line before the first request
API_KEY = "unused"  # the option is required; engines started by us ask for none

_RESERVED = {"model", "messages", "max_tokens", "stream", "stream_options"}
_SECRET = re.compile(
    r"(--(?:model-)?api-key[ =]|\b(?:model_)?api_key: )(?!None\b)\S+?(?=[\s\",]|$)"
)


@dataclass(frozen=True)
class Run:
    """One invocation: one concurrency, and one scenario (a warm-up takes them all).

    Attributes:
        api_base: The server's address, without `/v1`.
        served_name: The model name in requests.
        tokenizer: Folder or hub id.
        api_backend: `vllm` or `sglang` send `ignore_eos`; with `openai` lengths vary.
        scenarios: Lengths of prompts and outputs, in genai-bench's form.
        concurrency: Requests in flight.
        requests: It stops after so many; it polls once a second and overshoots.
        max_time_s: It stops after this, rounded up to whole minutes.
        base_folder: Folder that holds the run's own folder.
        folder_name: The run's own folder, which must not exist yet.
        request_params: Further fields of each request.
        shared_prefix: Tokens that all prompts begin with alike.
    """

    api_base: str
    served_name: str
    tokenizer: str
    api_backend: str
    scenarios: tuple[str, ...]
    concurrency: int
    requests: int
    max_time_s: float
    base_folder: str
    folder_name: str
    request_params: Mapping[str, Any]
    shared_prefix: int = 0

    @property
    def max_minutes(self) -> int:
        """The time limit in genai-bench's own unit, of which less than one crashes it."""
        return max(1, math.ceil(self.max_time_s / 60))


def command_line(run: Run) -> tuple[str, ...]:
    """The arguments of one invocation, without the program.

    Backend and task come first: genai-bench checks the other options against them.
    """
    line = [
        *("benchmark", "--api-backend", run.api_backend, "--task", "text-to-text"),
        *("--api-base", run.api_base, "--api-key", API_KEY),
        *("--api-model-name", run.served_name, "--model-tokenizer", run.tokenizer),
        *("--max-time-per-run", str(run.max_minutes)),
        *("--max-requests-per-run", str(run.requests)),
        *("--num-concurrency", str(run.concurrency)),
    ]
    for scenario in run.scenarios:
        line += ["--traffic-scenario", scenario]
    if run.shared_prefix:
        line += ["--prefix-len", str(run.shared_prefix)]
    if run.request_params:
        line += ["--additional-request-params", json.dumps(run.request_params, sort_keys=True)]
    # Live figures for a dashboard that is off: every request would pay for them.
    line += ["--metrics-time-unit", "s", "--metrics-refresh-interval", "3600"]
    line += ["--experiment-base-dir", run.base_folder, "--experiment-folder-name", run.folder_name]
    return (*line, "--log-dir", f"{run.base_folder}/{run.folder_name}")


def environment(run: Run) -> dict[str, str]:
    """Variables that one invocation needs beside those it inherits."""
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    return {
        "ENABLE_UI": "false",
        "GENAI_BENCH_LOGGING_LEVEL": "DEBUG",  # see genai_bench_output
        "MPLBACKEND": "Agg",
        **(offline if run.tokenizer.startswith("/") else {}),
    }


def shell_command(run: Run) -> str:
    """The invocation as a person would type it."""
    variables = [f"{name}={value}" for name, value in environment(run).items()]
    return shlex.join(["env", *variables, PROGRAM, *command_line(run)])


def scrub(text: str) -> str:
    """The text without API keys, which genai-bench prints and stores in clear.

    >>> scrub("genai-bench --api-key s3cret --task x"), scrub("api_key: s3cret")
    ('genai-bench --api-key *** --task x', 'api_key: ***')
    """
    return _SECRET.sub(r"\1***", text)


def workload_mistakes(workload: Workload) -> tuple[Mistake, ...]:
    """What a workload asks for that genai-bench cannot do, or not without cheating itself."""
    found = []
    if isinstance(workload.concurrency, ConcurrencySearch):
        found.append(("concurrency", "it is not searched for here; give a list such as [1, 8, 32]"))
    for name in sorted(_RESERVED & set(workload.requestParams)):
        found.append(
            (f"requestParams.{name}", "the load generator sets it; take it out of requestParams")
        )
    if not workload.requestParams.get("ignore_eos", True):
        message = "outputs would end early and their lengths differ; take ignore_eos out"
        found.append(("requestParams.ignore_eos", message))
    for scenario in workload.scenarios:
        shortest = _shortest_prompt(scenario.scenario)
        if workload.sharedPrefix > shortest:
            found.append(
                (
                    "sharedPrefix",
                    f"{workload.sharedPrefix} tokens do not fit into the prompts of "
                    f"{scenario.scenario}, which may have {shortest}",
                )
            )
    return tuple(Mistake(f"spec.workload.{path}", message) for path, message in found)


def _shortest_prompt(scenario: str) -> int:
    """genai-bench's own rule for a shared prefix: three standard deviations below the mean."""
    numbers = [int(number) for number in re.findall(r"\d+", scenario)]
    if scenario.startswith("N"):
        return max(1, numbers[0] - 3 * numbers[1])
    return 1 if scenario.startswith("U") and len(numbers) == 2 else numbers[0]
