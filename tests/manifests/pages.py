"""Reads a page as a browser would: what is in it, and whether it is well formed."""

from dataclasses import dataclass, field
from html.parser import HTMLParser

_VOID = {"meta", "input", "br", "hr", "img", "link"}


@dataclass
class Page(HTMLParser):
    """Tags, attributes and text of a page; every end tag must end what was opened last."""

    source: str
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    text: str = ""
    _open: list[str] = field(default_factory=list)

    def __post_init__(self):
        super().__init__()
        self.feed(self.source)
        self.close()
        assert self._open == [], f"never ended: {self._open}"

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open, f"</{tag}> ends nothing"
        assert self._open.pop() == tag, f"</{tag}> ends something else"

    def handle_data(self, data):
        if not {"script", "style"} & set(self._open):
            self.text += data

    def all(self, tag):
        """Attributes of every element of that name."""
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def ids(self):
        """Every id, in order."""
        return [attributes["id"] for _, attributes in self.tags if "id" in attributes]
