"""genai-bench's output, line by line: when requests began and ended, and what is worth reading.

Its run files hold no times. Their `run_duration` ends at a whole second after the last request that
counted: short runs differ by up to a second for no reason, and repeats agree in being wrong. At log
level DEBUG each response says when its request was sent and when its last token came; that is the
one reason to run it at that level.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

Span = tuple[float, float]

_RESPONSE = ":parse_chat_response - Generated text:"
_TIME = re.compile(r"(Start|End) Time: (\d+\.\d+)$")
_NOISE = re.compile(
    r"^DEBUG |:benchmark - \w+: (?:None|\(\)|\[\]|\{\})$|NoneType value in metric audio_throughput"
    r"|already exists\. Data might be overridden"
)


@dataclass
class Transcript:
    """What was said so far.

    Attributes:
        spans: Begin and end of each response, seconds of one clock, in order of completion.
    """

    spans: list[Span] = field(default_factory=list)
    _is_in_response: bool = False
    _began: float | None = None

    def hear(self, line: str) -> str | None:
        """Takes in one line.

        Returns:
            The line when it is worth showing; None for noise and for what the model answered.
        """
        if _RESPONSE in line:
            self._is_in_response, self._began = True, None
            return None
        if self._is_in_response:
            self._hear_time(line)
            return None
        return None if _NOISE.search(line) else line

    def _hear_time(self, line: str) -> None:
        found = _TIME.match(line)
        if found is None:
            return
        if found[1] == "Start":
            self._began = float(found[2])
        elif self._began is not None:
            self.spans.append((self._began, float(found[2])))
            self._is_in_response = False


def load_seconds(spans: Sequence[Span], count: int) -> float | None:
    """From the first of `count` requests to the end of the last; None when not all are known.

    >>> load_seconds([(10.0, 11.5), (10.0, 12.0)], 2), load_seconds([(10.0, 11.5)], 2)
    (2.0, None)
    """
    if not spans or len(spans) != count:
        return None
    return max(end for _, end in spans) - min(begin for begin, _ in spans)
