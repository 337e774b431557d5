"""The one place that knows Jinja: templates place values, and a machine quotes every value."""

import json
import re
from functools import lru_cache
from typing import Any

import jinja2
import markupsafe

from inference_autotuner.optimizer.errors import RenderError

_BREAKS = re.compile(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029\ufeff]+")
# What YAML does not let stand as it is, even between quotes.
_UNPRINTABLE = re.compile(r"[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff]")
_MARKDOWN = re.compile(r"([\\`*_\[\]<>#!|~&$@])")


def render(template: str, **values: Any) -> str:
    """The text of a template with its values placed.

    Raises:
        RenderError: The template is not there, is broken, or misses a value.
    """
    try:
        return _environment().get_template(template).render(**values)
    except jinja2.TemplateError as error:
        raise RenderError(f"{template}: {type(error).__name__}: {error}") from error


def quoted(value: object) -> str:
    r"""A scalar as YAML that every parser reads back as the same value of the same type.

    Raises:
        RenderError: Not a text, whole number, boolean or nothing; or text that is no Unicode.

    >>> quoted("yes"), quoted(8), quoted(True), quoted('a: "b"\n')
    ('"yes"', '8', 'true', '"a: \\"b\\"\\n"')
    """
    if value is not None and not isinstance(value, str | int):
        raise RenderError(f"{value!r} is no scalar that a manifest may hold")
    text = json.dumps(value, ensure_ascii=False)
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RenderError(f"{value!r} is not valid Unicode") from error
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def one_line(value: object) -> str:
    r"""Text that cannot leave the comment it stands in.

    >>> one_line("Better:\n- 2 % faster\r\n")
    'Better: - 2 % faster'
    """
    return _BREAKS.sub(" ", str(value)).strip()


def markdown(value: object) -> str:
    r"""Text that a Git host shows as it was written: no markup, no HTML, no table cell of its own.

    Not for the beginning of a line, where more characters mean something.

    >>> markdown("a|b <i>")
    'a\\|b \\<i\\>'
    """
    return _MARKDOWN.sub(r"\\\1", one_line(value))


def markdown_block(text: str, language: str = "") -> str:
    r"""Lines of code as a block of their own.

    >>> print(markdown_block("a ```\nb", "sh"))
    ````sh
    a ```
    b
    ````
    """
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def html(text: str) -> str:
    """Text as it stands in a page.

    >>> html('<a "b">')
    '&lt;a &#34;b&#34;&gt;'
    """
    return str(markupsafe.escape(text))


def _is_html(name: str | None) -> bool:
    return name is not None and name.endswith(".html.j2")


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("inference_autotuner.manifests"),
        undefined=jinja2.StrictUndefined,
        autoescape=_is_html,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "quoted": quoted,
        "one_line": one_line,
        "markdown": markdown,
        "markdown_block": markdown_block,
    }
    return environment
