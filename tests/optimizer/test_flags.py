from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.optimizer.flags import (
    Boolean,
    Flag,
    alike,
    complaint,
    normalize,
    pairs,
    render_args,
    words,
)

SIZE = Flag("size", minimum=1)
ON_OFF = Flag("str", "auto", ("on", "off", "auto"), boolean=Boolean.WORD)
KINDS = st.sampled_from(["bool", "int", "float", "str", "size", "json"])
FLAGS = st.builds(
    Flag,
    KINDS,
    choices=st.sampled_from([(), ("a", "b")]),
    boolean=st.sampled_from(list(Boolean)),
    is_list=st.booleans(),
    words=st.sampled_from([{}, {"auto": -1}]),
    binary_capitals=st.booleans(),
    minimum=st.none() | st.integers(-5, 5),
    maximum=st.none() | st.integers(5, 50),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just("8k"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@pytest.mark.parametrize(
    ("flag", "value", "said"),
    [
        (Flag("bool"), "yes", "'yes' is not true or false"),
        (Flag("bool"), 1, "'1' is not true or false"),
        (Flag("int"), True, "'true' is not a whole number"),
        (Flag("int"), 1.5, "1.5 is not a whole number"),
        (Flag("int"), "4", "'4' is not a whole number"),
        (Flag("int"), 2**70, "larger than any engine counts"),
        (Flag("int", words={"auto": -1}), "most", "or one of auto"),
        (Flag("int", maximum=256), 300, "300 is above 256"),
        (Flag("float", minimum=0.01), 0, "0 is below 0.01"),
        (Flag("float"), float("nan"), "not finite"),
        (Flag("float"), "0.9", "'0.9' is not a number"),
        (SIZE, "8q", "a size such as 8k"),
        (SIZE, "1.5K", "a size such as 8k"),
        (words("a b"), "c", "'c' is not one of a, b"),
        (words("a b"), True, "put it in quotes"),
        (Flag("str"), {"a": 1}, "no {key: value} object"),
        (Flag("str"), ["a"], "one value, not the list ['a']"),
        (Flag("int", is_list=True), [1, "x"], "'x' is not a whole number"),
        (Flag("int", is_list=True), [], "the list is empty"),
        (Flag("json"), "{", "or JSON"),
        (Flag("json"), "3", "or JSON"),
        (Flag("json"), 3, "or JSON"),
    ],
)
def test_a_value_that_no_engine_takes_is_explained(flag: Flag, value: Any, said: str) -> None:
    assert said in (complaint(flag, value) or "")


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        (Flag("bool"), False),
        (Flag("int", words={"auto": -1}, minimum=0), "auto"),
        (Flag("float", minimum=0, maximum=1), 1),
        (SIZE, "8k"),
        (SIZE, "25.6k"),
        (SIZE, 4096),
        (words("a b"), "b"),
        (ON_OFF, True),
        (Flag("int", is_list=True), [1, 2]),
        (Flag("int", is_list=True), 1),
        (Flag("json"), {"a": 1}),
        (Flag("json"), '{"a": 1}'),
        (Flag("json"), "[1]"),
    ],
)
def test_a_value_that_fits_gets_no_complaint(flag: Flag, value: Any) -> None:
    assert complaint(flag, value) is None


@pytest.mark.parametrize(
    ("text", "binary_capitals", "size"),
    [
        ("8k", True, 8000),
        ("8K", True, 8192),
        ("2m", True, 2_000_000),
        ("20G", True, 20 * 2**30),
        ("8k", False, 8000),
        ("8Ki", False, 8192),
        ("2M", False, 2_000_000),
        ("8K", False, "8K"),
        ("8Ki", True, "8Ki"),
        ("1.5Ki", False, "1.5Ki"),
    ],
)
def test_a_size_counts_as_its_engine_counts(
    text: str, binary_capitals: bool, size: int | str
) -> None:
    assert normalize(Flag("size", binary_capitals=binary_capitals), text) == size


def test_equal_values_have_one_spelling() -> None:
    assert isinstance(normalize(Flag("float"), 1), float)
    assert normalize(ON_OFF, False) == "off"
    assert normalize(Flag("json"), '{"a": [1]}') == {"a": [1]}
    assert normalize(Flag("int", words={"all": -2}), "all") == -2
    assert normalize(None, "8k") == "8k"


@given(FLAGS, VALUES)
def test_nothing_that_a_file_can_hold_raises(flag: Flag, value: Any) -> None:
    once = normalize(flag, value)
    assert repr(normalize(flag, once)) == repr(once)
    assert complaint(flag, value) is None or complaint(flag, value)
    render_args({"flag": value}, {"flag": flag})


def test_booleans_are_written_in_three_ways() -> None:
    flags = {
        "a": Flag("bool"),
        "b": Flag("bool", boolean=Boolean.NEGATABLE),
        "c": ON_OFF,
    }
    on = ("--a", "--b", "--c", "on")
    assert render_args(dict.fromkeys("abc", True), flags) == on
    assert render_args(dict.fromkeys("abc", False), flags) == ("--no-b", "--c", "off")


def test_a_flag_outside_the_catalog_is_written_as_the_engine_writes_booleans() -> None:
    assert render_args({"x": False}, {}, Boolean.NEGATABLE) == ("--no-x",)
    assert render_args({"x": False}, {}) == ()


def test_objects_and_lists_are_json_for_json_flags_and_words_for_others() -> None:
    flags = {"j": Flag("json"), "l": Flag("int", is_list=True, repeats_value=False)}
    args = {"j": [1, {"b": 1, "a": True}], "l": [1, 2], "m": ["x", True], "n": {"k": None}}
    assert render_args(args, flags) == (
        *("--j", '[1,{"a":true,"b":1}]', "--l", "1,2"),
        *("--m", "x", "true", "--n", '{"k":null}'),
    )


def test_a_default_that_has_no_spelling_is_left_out() -> None:
    flags = {"method": words("none ngram", "none", omits_default=True)}
    assert render_args({"method": "none"}, flags) == ()
    assert render_args({"method": "ngram"}, flags) == ("--method", "ngram")


def test_tables_are_read_from_texts() -> None:
    flag = Flag("int")
    assert alike("a b", flag) == {"a": flag, "b": flag}
    assert pairs("a=b\nc=d") == {"a": "b", "c": "d"}
