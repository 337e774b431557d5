"""What is gathered while a flat task is converted: the new task, and what is to be said of it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from inference_autotuner.optimizer.errors import Mistake
from inference_autotuner.optimizer.paths import is_within
from inference_autotuner.optimizer.wording import suggest

Raw = Mapping[str, Any]


@dataclass(frozen=True)
class Conversion:
    """A raw task in the new form, and where its fields came from.

    Attributes:
        task: The value of a tuning task, not validated.
        mistakes: What is wrong, by fields of the flat form.
        warnings: What a task cannot say, by fields of the flat form.
        origins: New field to flat field.
    """

    task: dict[str, Any]
    mistakes: tuple[Mistake, ...] = ()
    warnings: tuple[Mistake, ...] = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def in_file(self, path: str) -> str:
        """A field's path as the file has it.

        >>> Conversion({}, origins={"spec.model": "model"}).in_file("spec.model.name")
        'model.name'
        """
        for new in sorted(self.origins, key=len, reverse=True):
            if is_within(path, new):
                return self.origins[new] + path.removeprefix(new)
        return path


class Notes:
    """The new task as it grows."""

    def __init__(self) -> None:
        self.task: dict[str, Any] = {}
        self.mistakes: list[Mistake] = []
        self.warnings: list[Mistake] = []
        self.origins: dict[str, str] = {}

    def conversion(self) -> Conversion:
        """Everything that was gathered."""
        return Conversion(self.task, tuple(self.mistakes), tuple(self.warnings), dict(self.origins))

    def put(self, new: str, value: Any, old: str) -> None:
        """Sets a field of the new task, remembering the flat field it came from."""
        *outer, name = new.split(".")
        target = self.task
        for part in outer:
            target = target.setdefault(part, {})
        target[name] = value
        self.origin(new, old)

    def origin(self, new: str, old: str) -> None:
        """Remembers where a field came from."""
        self.origins[new] = old

    def warn(self, old: str, message: str) -> None:
        """Says what the new task cannot."""
        self.warnings.append(Mistake(old, message))

    def mistake(self, old: str, message: str) -> None:
        """Says what is wrong."""
        self.mistakes.append(Mistake(old, message))

    def check_names(self, section: Raw, prefix: str, known: Iterable[str]) -> None:
        """A mistake for each field that is not known."""
        for name in section:
            if name not in known:
                hint = suggest(name, known) or "."
                self.mistake(f"{prefix}{name}", f"is no field{hint} There are {', '.join(known)}")

    def section(
        self, raw: Raw, name: str, known: Iterable[str], prefix: str = "", *, required: bool = True
    ) -> Raw:
        """A mapping inside of another, its names checked; empty when it is not there."""
        value = raw.get(name)
        if value is None:
            if required:
                self.mistake(f"{prefix}{name}", f"is missing: a mapping with {', '.join(known)}")
            return {}
        if not isinstance(value, dict):
            self.mistake(f"{prefix}{name}", f"must be a mapping with {', '.join(known)}")
            return {}
        self.check_names(value, f"{prefix}{name}.", known)
        return value

    def choose(self, old: str, given: Any, known: Mapping[str, Any]) -> Any:
        """The counterpart of a word; the first one, and a mistake, when it is not known."""
        if isinstance(given, str) and given in known:
            return known[given]
        shown, hint = "this", ""
        if isinstance(given, bool | int | float | str):
            shown, hint = f"'{given}'", suggest(str(given), known)
        self.mistake(old, f"{shown} is not known; allowed are {', '.join(known)}{hint}")
        return next(iter(known.values()))
