"""YAML and JSON as tasks are written in: one schema, bounded, with plain words for mistakes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.optimizer.yaml_reader import COUNT_LIMIT, SIZE_LIMIT, read_document


def value_of(text: str) -> Any:
    document = read_document(text)
    assert document.mistakes == ()
    return document.value


def problem(text: str) -> tuple[int | None, str]:
    """The one mistake in a text that holds one: its line and message."""
    [mistake] = read_document(text).mistakes
    return mistake.line, mistake.message


@pytest.mark.parametrize(
    "word", ["on", "off", "yes", "no", "y", "n", "1:30", "0o17", "0x1f", "1_000", "2024-01-01", "="]
)
def test_a_word_of_old_yaml_stays_text(word: str) -> None:
    assert value_of(f"a: [{word}]") == {"a": [word]}


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
        ("8", 8),
        ("-1", -1),
        ("+5", 5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        ('"8"', "8"),
        ("!!str 8", "8"),
    ],
)
def test_a_word_of_the_core_schema_is_a_value(word: str, value: Any) -> None:
    found = value_of(f"a: {word}")["a"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("word", [".nan", ".inf", "-.INF", "1e999", "1" + "0" * 30])
def test_a_number_that_is_none_is_a_mistake(word: str) -> None:
    line, message = problem(f"\na: {word}")
    assert line == 2
    assert "no number" in message


def test_every_value_has_its_line() -> None:
    lines = read_document("a: 1\nb:\n  - x\n  - {c: 2,\n     d: 3}\n").lines
    assert lines[("a",)] == 1
    assert lines[("b", 0)] == 3
    assert lines[("b", 1, "d")] == 5


def test_a_field_that_is_given_twice_is_told_with_both_lines() -> None:
    assert problem("a: 1\nb: 2\na: 3") == (3, "is given twice, first in line 1; keep one")
    assert problem('{"a": 1, "a": 2}')[1].startswith("is given twice")


def test_json_may_be_indented_with_tabs() -> None:
    assert value_of('{\n\t"a":\t[1,\n\t\t2]\n}') == {"a": [1, 2]}


def test_json_may_write_a_character_as_two_escapes() -> None:
    assert value_of(r'{"\ud83d\ude00": "\ud83d\ude00"}') == {"😀": "😀"}
    assert "half a character" in problem(r'{"a": "\ud83d"}')[1]


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**17), 10**17)
    | st.text(max_size=8)
    | st.floats(-1e200, 1e200, allow_nan=False),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=10,
)


@given(st.dictionaries(st.text(max_size=5), plain), st.sampled_from([None, 2, "\t"]))
@settings(max_examples=100, deadline=None)
def test_json_is_read_as_json(value: Any, indent: Any) -> None:
    text = json.dumps(value, indent=indent)
    assert value_of(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("", None, "the file is empty"),
        ("# nothing\n", None, "the file is empty"),
        ("a: 1\n---\nb: 2\n", 2, "a second document begins here"),
        ("a:\n\tb: 1", 2, "a tab stands here; indent with spaces"),
        ("a: b: c", 1, "a second ':'"),
        ("a:\n  b: 1\n c: 2", 3, "indentation"),
        ("a: [1, 2\nb: 3", 2, "the '[' of line 1 is never closed"),
        ("a: {b: 1\nc: 3", 2, "the '{' of line 1 is never closed"),
        ('a: 1\nb: "x\nc: 3', 2, "quotes that open here are never closed"),
        ('a: "x" y', 1, "put the whole text in quotes"),
        ("a: @x", 1, "a text that begins with '@' needs quotes"),
        ("a: *x", 1, "no &name is above it"),
        ("a: &x 1\nb: &x 2", 2, "defined twice"),
        (r'a: "\q"', 1, "begins no escape"),
        ("%YAML 2.0\n---\na: 1", 1, "%YAML"),
        ("a: 1\0", 1, "NUL"),
        ("a: 1\nb: \x07", 2, "code 7"),
        ("a: !!python/object:os.system x", 1, "the tag !!python/object:os.system"),
        ("a: !mine {b: 1}", 1, "the tag !mine"),
        ("a: !!int abc", 1, "does not fit its tag"),
        ("? [a]\n: 1", 1, "a name is a text"),
        ("8: a", 1, 'write "8"'),
        ("a: &b {c: 1}\nd:\n  <<: *b", 3, "write the fields out"),
        ("x" * (SIZE_LIMIT + 1), None, "at most 256 KiB"),
        ("[" * 1000, 1, "40 levels"),
        ("a: &a [*a]", 1, "40 levels"),
        ("- 1\n" * COUNT_LIMIT, 20000, "20000 values"),
    ],
)
def test_a_text_that_is_no_yaml_gets_line_and_remedy(
    text: str, line: int | None, words: str
) -> None:
    found, message = problem(text)
    assert found == line
    assert words in message


def test_a_bomb_of_aliases_goes_off_early() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 9)]
    _, message = problem("\n".join(["l0: &l0 [1]", *levels]))
    assert "aliases" in message


def test_an_alias_is_what_it_names() -> None:
    assert value_of("a: &x [1]\nb: *x") == {"a": [1], "b": [1]}


@given(st.text(st.sampled_from("ab:-[]{},\"'#&*!|>%@`\n\t 01.~?\\<="), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_a_value_or_a_mistake(text: str) -> None:
    document = read_document(text)
    assert document.lines or document.mistakes
