"""What is wrong with a text that is no YAML, in words that say what to do."""

import yaml
from yaml.reader import ReaderError

_QUOTES = "the quotes that open here are never closed"
_AFTER_QUOTES = "something follows a text that has ended; put the whole text in quotes"
# What PyYAML says, and what a person can do about it. The first that fits is taken.
_WORDS: tuple[tuple[str, str], ...] = (
    (r"character '\t'", "a tab stands here; indent with spaces"),
    ("cannot start any token", "a text that begins with {character} needs quotes"),
    (
        "mapping values are not allowed",
        "a second ':' in a line, a missing ':' above, or a wrong indentation; put a text that "
        "holds ': ' in quotes",
    ),
    ("expected <block end>", "this line does not fit the indentation of the lines above"),
    ("sequence entries are not allowed", "a list cannot begin here; give it a line of its own"),
    ("block sequence entries", "a list cannot begin here; give it a line of its own"),
    ("could not find expected ':'", "a ':' with a space behind it is missing"),
    ("expected ',' or ']'", "a ',' is missing, or the '[' of line {context} is never closed"),
    ("expected ',' or '}'", "a ',' is missing, or the '{{' of line {context} is never closed"),
    ("found undefined alias", "this alias (*name) stands for nothing: no &name is above it"),
    ("found duplicate anchor", "this anchor (&name) is defined twice"),
    (
        "found unknown escape character",
        r"this \ begins no escape; write \\ for a backslash, or "
        "use single quotes",
    ),
    ("expected escape sequence", r"this \ begins no escape; write \\ for a backslash"),
    ("expected '<document start>'", "something stands here after the end of the task"),
    ("found incompatible YAML document", "leave out the %YAML line"),
)


def plain_problem(error: yaml.YAMLError, text: str) -> tuple[int | None, str]:
    """The line of a syntax error, from 1, and one sentence for a person."""
    if isinstance(error, ReaderError):
        line = text[: error.position].count("\n") + 1
        return line, f"the character with code {error.character} cannot be used in YAML"
    problem = str(getattr(error, "problem", None) or error)
    while_doing = str(getattr(error, "context", None) or "")
    mark: yaml.Mark | None = getattr(error, "problem_mark", None)
    begun: yaml.Mark | None = getattr(error, "context_mark", None)
    if "quoted scalar" in while_doing and "unexpected end" in problem:
        return _line(begun), _QUOTES
    if "expected <block end>" in problem and _follows_something(mark):
        return _line(mark), _AFTER_QUOTES
    for needle, words in _WORDS:
        if needle in f"{while_doing} {problem}":
            opened = _line(begun) or _line(mark)
            return _line(mark), words.format(character=_character(mark), context=opened)
    problem = problem.replace("'\\x00'", "the end of the file")
    return _line(mark), f"this is neither YAML nor JSON: {problem}"


def _line(mark: yaml.Mark | None) -> int | None:
    return int(mark.line) + 1 if mark else None


def _follows_something(mark: yaml.Mark | None) -> bool:
    """Whether the line of a mark has begun before it."""
    if mark is None or mark.buffer is None:
        return False
    begun = mark.buffer[: mark.pointer].rsplit("\n", 1)[-1]
    return begun.strip() != ""


def _character(mark: yaml.Mark | None) -> str:
    text = mark.buffer if mark else None
    if mark is None or text is None or mark.pointer >= len(text):
        return "it"
    return f"'{text[mark.pointer]}'"
