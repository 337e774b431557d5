"""Where a field is in a task: `spec.slos[0].limit`."""

import json
import re
from collections.abc import Mapping

Path = tuple[str | int, ...]

_PLAIN = re.compile(r"[A-Za-z_<][A-Za-z0-9_<-]*")


def show_path(path: Path) -> str:
    """A path for a person.

    >>> show_path(("spec", "slos", 0, "limit")), show_path(("args", "a.b"))
    ('spec.slos[0].limit', 'args["a.b"]')
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN.fullmatch(part):
            text += f".{part}" if text else part
        else:
            text += f"[{json.dumps(part, ensure_ascii=not part.isprintable())}]"
    return text


def is_within(path: str, outer: str) -> bool:
    """Whether a field is another one, or part of it; nothing is within the file as a whole.

    >>> is_within("spec.slos[0]", "spec.slos"), is_within("spec.slosh", "spec.slos")
    (True, False)
    """
    return outer != "" and path.startswith(outer) and path[len(outer) :][:1] in ("", ".", "[")


class LineIndex:
    """Lines by path; a field that is not in the file has the line of what it belongs to."""

    def __init__(self, lines: Mapping[Path, int]) -> None:
        self._lines = {show_path(path): line for path, line in lines.items()}
        # Who writes a path by hand writes a flag with a dot plainly.
        self._lines |= {".".join(map(str, path)): line for path, line in lines.items()}

    def line(self, path: str) -> int | None:
        """The line of the field, or of the nearest thing around it."""
        while path and path not in self._lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self._lines.get(path)
