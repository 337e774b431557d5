"""The lengths of a workload's requests, in genai-bench's form `D(1000,200)`."""

import re
from dataclasses import dataclass

# One spelling of each number: genai-bench echoes the scenario, and the echo is compared.
_PAIR = r"\((0|[1-9][0-9]{0,6}),(0|[1-9][0-9]{0,6})\)"
_FORMS = (
    ("D", re.compile(f"D{_PAIR}")),
    ("N", re.compile(f"N{_PAIR}/{_PAIR}")),
    ("U", re.compile(f"U{_PAIR}/{_PAIR}")),
    ("U", re.compile(f"U{_PAIR}")),
)
ALLOWED = "D(in,out), N(mean_in,std_in)/(mean_out,std_out), U(min_in,max_in)/(min_out,max_out)"


@dataclass(frozen=True)
class Scenario:
    """Input and output lengths in tokens.

    Attributes:
        text: genai-bench's own form; equal texts are equal scenarios.
        mean_input: Expected prompt length, tokens.
        mean_output: Expected output length, tokens.
        max_output: Longest output that may be asked for, tokens.
    """

    text: str
    mean_input: float
    mean_output: float
    max_input: int
    max_output: int

    @property
    def is_fixed(self) -> bool:
        """Whether every request has the same lengths."""
        return self.text.startswith("D")


def parse_scenario(text: str) -> Scenario:
    """Reads genai-bench's form.

    Raises:
        ValueError: Not a form that serves text, or one that genai-bench cannot run.

    >>> parse_scenario("N(480,240)/(300,150)").mean_output
    300.0
    """
    compact = text.replace(" ", "")
    for kind, pattern in _FORMS:
        if match := pattern.fullmatch(compact):
            numbers = [int(n) for n in match.groups()]
            scenario = _build(kind, compact, numbers)
            _check(scenario, numbers)
            return scenario
    raise ValueError(f"'{text}' is no scenario; allowed are {ALLOWED}")


def _build(kind: str, text: str, numbers: list[int]) -> Scenario:
    if kind == "D":
        given, wanted = numbers
        return Scenario(text, given, wanted, given, wanted)
    if kind == "N":
        mean_in, std_in, mean_out, std_out = numbers
        # Three standard deviations: what context length must hold in practice.
        return Scenario(
            text, float(mean_in), float(mean_out), mean_in + 3 * std_in, mean_out + 3 * std_out
        )
    low_in, high_in, low_out, high_out = numbers if len(numbers) == 4 else [1, numbers[0], 1, 0]
    if len(numbers) == 2:
        low_out, high_out = 1, numbers[1]
    return Scenario(text, (low_in + high_in) / 2, (low_out + high_out) / 2, high_in, high_out)


def _check(scenario: Scenario, numbers: list[int]) -> None:
    if scenario.mean_input < 1:
        raise ValueError(f"'{scenario.text}': the prompt needs at least one token")
    if scenario.max_output < 2:
        raise ValueError(
            f"'{scenario.text}': genai-bench cannot measure outputs of one token (they have no "
            "time per output token); ask for two or more"
        )
    if scenario.text.startswith("U") and len(numbers) == 4:
        low_in, high_in, low_out, high_out = numbers
        if low_in >= high_in or low_out >= high_out:
            raise ValueError(f"'{scenario.text}': each minimum must be below its maximum")
