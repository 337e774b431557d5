"""YAML or JSON text to plain values, with the line of each, and every mistake in plain words.

YAML is read by the core schema of version 1.2, with numbers in decimal alone: `on`, `yes`, `1:30`
and `0o17` are texts, as the engines want them. JSON is read by the same rules. What a file
can make of itself is bounded: its size, its depth, and the values its aliases stand for.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.composer import Composer
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from yaml.parser import Parser
from yaml.reader import Reader
from yaml.resolver import BaseResolver
from yaml.scanner import Scanner

from inference_autotuner.optimizer.errors import Mistake
from inference_autotuner.optimizer.paths import Path, show_path
from inference_autotuner.optimizer.yaml_problems import plain_problem

SIZE_LIMIT = 256 * 1024
DEPTH_LIMIT = 40
COUNT_LIMIT = 20_000
_DIGITS_LIMIT = 18
_TOO_DEEP = f"more than {DEPTH_LIMIT} levels inside of one another"
_TOO_MANY = f"the file holds more than {COUNT_LIMIT} values"
_TAG = "tag:yaml.org,2002:"
_FORMS = {
    "null": re.compile(r"~|null|Null|NULL|"),
    "bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    "int": re.compile(r"[-+]?[0-9]+"),
    "float": re.compile(
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
    ),
}
_FIRST = {"null": ["~", "n", "N", ""], "bool": list("tTfF")}


@dataclass(frozen=True)
class Document:
    """What a file says.

    Attributes:
        value: Mappings, lists, texts, numbers, booleans and None; None when nothing is readable.
        lines: The line of each value, from 1.
        written: Numbers, booleans and nulls as they are written.
        mistakes: What is wrong with the file as such.
    """

    value: Any
    lines: Mapping[Path, int]
    written: Mapping[Path, str]
    mistakes: tuple[Mistake, ...] = ()


class _Unreadable(Exception):
    """Reading cannot go on."""

    def __init__(self, line: int | None, message: str) -> None:
        self.mistake = Mistake("", message, line)
        super().__init__(message)


class _Loader(Reader, Scanner, Parser, Composer, BaseResolver):
    """PyYAML's own parts up to nodes with lines, and no constructor: no object is ever made."""

    def __init__(self, text: str) -> None:
        Reader.__init__(self, text)
        Scanner.__init__(self)
        Parser.__init__(self)
        Composer.__init__(self)
        BaseResolver.__init__(self)
        self.depth = 0
        self.count = 0

    def compose_node(self, parent: Node | None, index: int) -> Node | None:
        self.depth += 1
        self.count += 1
        if self.depth > DEPTH_LIMIT or self.count > COUNT_LIMIT:
            raise _Unreadable(
                _next_line(self), _TOO_DEEP if self.depth > DEPTH_LIMIT else _TOO_MANY
            )
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def teach_forms(resolver: type[BaseResolver]) -> None:
    """Makes a reader or writer of PyYAML know null, booleans and numbers as they are read here."""
    for kind, form in _FORMS.items():
        whole = re.compile(f"(?:{form.pattern})\\Z")
        resolver.add_implicit_resolver(_TAG + kind, whole, _FIRST.get(kind, list("-+.0123456789")))


teach_forms(_Loader)


def read_document(text: str) -> Document:
    """Reads one YAML or JSON document; what is wrong is in its `mistakes`."""
    try:
        node = _compose(text)
        return _Converter().document(node)
    except _Unreadable as problem:
        return Document(None, {}, {}, (problem.mistake,))


def _compose(text: str) -> Node:
    if len(text) > SIZE_LIMIT:
        raise _Unreadable(None, f"the file is too large; at most {SIZE_LIMIT // 1024} KiB")
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise _Unreadable(line, "the file holds NUL bytes; is it a text file?")
    try:
        loader = _Loader(_tabs_of_json_as_spaces(text.removeprefix("\ufeff")))
        node = loader.get_node() if loader.check_node() else None
        if node is None:
            raise _Unreadable(None, "the file is empty; `autotuner init` writes a task")
        if loader.check_node():
            raise _Unreadable(
                _next_line(loader), "a second document begins here; write one task to a file"
            )
    except yaml.YAMLError as error:
        raise _Unreadable(*plain_problem(error, text)) from error
    return node


def _tabs_of_json_as_spaces(text: str) -> str:
    """YAML forbids what JSON allows, tabs between values; inside of texts JSON has none."""
    if "\t" not in text or not text.lstrip().startswith("{"):
        return text
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return text
    return text.replace("\t", " ")


class _Converter:
    """Nodes to values, counting them, for aliases may stand for many."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self.written: dict[Path, str] = {}
        self.mistakes: list[Mistake] = []
        self.count = 0

    def document(self, node: Node) -> Document:
        value = self.value(node, ())
        return Document(value, self.lines, self.written, tuple(self.mistakes))

    def value(self, node: Node, path: Path) -> Any:
        self._check_size(node, path)
        self.lines.setdefault(path, _line(node))
        if isinstance(node, MappingNode):
            return self._mapping(node, path)
        if isinstance(node, SequenceNode):
            self._check_tag(node, path, "seq")
            return [self.value(item, (*path, i)) for i, item in enumerate(node.value)]
        assert isinstance(node, ScalarNode)
        return self._scalar(node, path)

    def _check_size(self, node: Node, path: Path) -> None:
        self.count += 1
        if self.count > COUNT_LIMIT:
            raise _Unreadable(_line(node), f"{_TOO_MANY}, aliases (*name) written out")
        if len(path) > DEPTH_LIMIT:
            raise _Unreadable(_line(node), f"{_TOO_DEEP}, aliases (*name) written out")

    def _mapping(self, node: MappingNode, path: Path) -> dict[str, Any]:
        self._check_tag(node, path, "map")
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._key(key_node, path)
            if key is None:
                continue
            here = (*path, key)
            if key in found:
                first = self.lines[here]
                self._mistake(key_node, here, f"is given twice, first in line {first}; keep one")
                continue
            self.lines[here] = _line(key_node)
            found[key] = self.value(value_node, here)
        return found

    def _key(self, node: Node, path: Path) -> str | None:
        if not isinstance(node, ScalarNode):
            self._mistake(node, path, "a name is a text, not a list or a mapping")
            return None
        if node.tag != _TAG + "str":
            self._mistake(node, (*path, node.value), f'a name is a text; write "{node.value}"')
        if node.value == "<<" and node.style is None:
            self._mistake(node, (*path, "<<"), "merging (<<) is not read; write the fields out")
            return None
        return self._text(str(node.value), node, path)

    def _scalar(self, node: ScalarNode, path: Path) -> Any:
        kind = node.tag.removeprefix(_TAG)
        text = str(node.value)
        if kind == "str":
            return self._text(text, node, path)
        if kind not in _FORMS:
            self._check_tag(node, path, "str")
            return text
        if not _FORMS[kind].fullmatch(text):
            self._mistake(node, path, f"'{text}' does not fit its tag !!{kind}; leave the tag out")
            return text
        self.written[path] = text
        if kind == "null":
            return None
        return text.lower() == "true" if kind == "bool" else self._number(kind, text, node, path)

    def _number(self, kind: str, text: str, node: Node, path: Path) -> int | float:
        if kind == "int" and len(text.lstrip("+-")) <= _DIGITS_LIMIT:
            return int(text)
        is_named = text.lower().endswith(("inf", "nan"))
        number = math.inf if is_named or kind == "int" else float(text)
        if not math.isfinite(number):
            self._mistake(node, path, f"{text[:30]} is no number that can be used here")
            return 1
        return number

    def _text(self, text: str, node: Node, path: Path) -> str:
        r"""JSON writes characters beyond 16 bits as two escapes, `\ud83d\ude00`."""
        if not any("\ud800" <= character <= "\udfff" for character in text):
            return text
        try:
            return text.encode("utf-16", "surrogatepass").decode("utf-16")
        except UnicodeDecodeError:
            self._mistake(node, path, "half a character: a \\u escape without its second part")
            return ""

    def _check_tag(self, node: Node, path: Path, kind: str) -> None:
        if node.tag != _TAG + kind:
            shown = node.tag.replace(_TAG, "!!")
            self._mistake(node, path, f"the tag {shown} is not read here; leave it out")

    def _mistake(self, node: Node, path: Path, message: str) -> None:
        self.mistakes.append(Mistake(show_path(path), message, _line(node)))


def _next_line(loader: Parser) -> int:
    event = loader.peek_event()  # type: ignore[no-untyped-call] # the stubs leave it out
    return int(event.start_mark.line) + 1


def _line(node: Node) -> int:
    return int(node.start_mark.line) + 1
