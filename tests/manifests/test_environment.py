import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.manifests.environment import (
    markdown,
    markdown_block,
    one_line,
    quoted,
    render,
)
from inference_autotuner.optimizer.errors import RenderError

anything = st.text(st.characters(exclude_categories=["Cs"]))


def test_a_template_that_is_not_there_is_our_bug():
    with pytest.raises(RenderError, match="nowhere"):
        render("nowhere.j2")


def test_a_value_that_a_template_misses_is_our_bug():
    values = dict.fromkeys(("title", "study", "sentence"), "x")
    values |= dict.fromkeys(("defaults", "required", "exports", "arguments"), [])
    values |= {"programs": ["x"], "has_fallback": False}
    assert "x" in render("serve.sh.j2", date="today", **values)
    with pytest.raises(RenderError, match="serve.sh.j2"):
        render("serve.sh.j2", **values)


@given(anything)
def test_every_text_is_read_back_from_yaml_as_it_was(text):
    assert yaml.safe_load(f"- {quoted(text)}") == [text]


@pytest.mark.parametrize("value", ["yes", "1", "null", "~", "1e3", "0x10", "", "a: b", "# c"])
def test_a_text_that_looks_like_something_else_stays_a_text(value):
    assert yaml.safe_load(quoted(value)) == value


@pytest.mark.parametrize("value", [0, -3, True, False, None])
def test_numbers_booleans_and_nothing_keep_their_type(value):
    found = yaml.safe_load(quoted(value))
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("value", [1.5, [1], {"a": 1}, b"x"])
def test_what_is_no_scalar_is_refused(value):
    with pytest.raises(RenderError, match="no scalar"):
        quoted(value)


def test_half_a_character_is_refused():
    with pytest.raises(RenderError, match="Unicode"):
        quoted("\ud800")


@given(anything)
def test_a_comment_stays_on_its_line(text):
    assert len(one_line(text).splitlines()) <= 1
    assert yaml.safe_load(f"# {one_line(text)}") is None


@given(anything)
def test_markdown_shows_no_tag_and_ends_no_table_cell(text):
    shown = markdown(text).replace("\\\\", "")
    assert "\n" not in shown
    assert "|" not in shown.replace("\\|", "")
    assert "<" not in shown.replace("\\<", "")


def test_code_with_backticks_is_fenced_by_more_of_them():
    assert markdown_block("a```b").splitlines() == ["````", "a```b", "````"]
