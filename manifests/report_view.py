"""What stands in a report, as values; the template only places them."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from inference_autotuner.manifests.tables import Table


@dataclass(frozen=True)
class Picture:
    """A figure with what one should see in it.

    Attributes:
        title: A few words.
        caption: What it shows and how to read it.
        svg: The element.
        legend: For each kind of mark its shape, its style and its meaning.
    """

    title: str
    caption: str
    svg: str
    legend: Sequence[tuple[str, str, str]] = ()


@dataclass(frozen=True)
class Part:
    """A table inside a section."""

    table: Table
    title: str = ""
    note: str = ""
    css: str = ""


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it, in this order."""

    title: str
    texts: Sequence[str] = ()
    parts: Sequence[Part] = ()
    pictures: Sequence[Picture] = ()
    notes: Sequence[str] = ()
    code: str = ""

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to say."""
        return not (self.texts or self.parts or self.pictures or self.code)


@dataclass(frozen=True)
class ReportView:
    """A whole report.

    Attributes:
        task: The task's name.
        description: Its description.
        kind: The verdict in one word.
        tone: Which color it has: `better`, `inconclusive`, `keep` or `nothing`.
        sentence: The verdict for people.
        notes: What else belongs beside the verdict.
        headline: The study in a few pairs of name and value.
        sections: Everything else.
    """

    task: str
    description: str
    kind: str
    tone: str
    sentence: str
    notes: Sequence[str]
    headline: Sequence[tuple[str, str]]
    sections: Sequence[Section] = field(default_factory=tuple)
