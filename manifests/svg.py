"""Matplotlib figures as SVG of a page: its colors and font, described, always the same bytes.

Matplotlib is imported only when something is drawn.
"""

import io
import re
import textwrap
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH_PT = 350.0
"""One unit is one pixel on a phone: text of 10 units is still read there."""

# Colors that nobody would choose, each standing for a variable of the page's style sheet.
INK = "#010203"
MUTED = "#010204"
GRID = "#010205"
WINNER = "#010206"
BASELINE = "#010207"
HOLDS = "#010208"
MISSES = "#010209"
PAGE = "#01020a"
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    WINNER: "--winner",
    BASELINE: "--baseline",
    HOLDS: "--holds",
    MISSES: "--misses",
    PAGE: "--page",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "inference-autotuner",
    "text.parse_math": False,  # a flag's value may hold a dollar sign
    "font.family": ["DejaVu Sans"],  # comes with matplotlib: the same layout everywhere
    "font.size": 10,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.formatter.useoffset": False,
    "axes.formatter.limits": (-9, 9),
    "axes.axisbelow": True,
    "axes.xmargin": 0.06,
    "axes.ymargin": 0.08,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "lines.markersize": 6,
    "lines.markeredgewidth": 0.8,
    "text.color": INK,
    "xtick.color": GRID,
    "ytick.color": GRID,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_SVG = "{http://www.w3.org/2000/svg}"
_LINK = "{http://www.w3.org/1999/xlink}href"
_TIP = "tip-"
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]+")


@contextmanager
def drawing() -> Iterator[None]:
    """Our style for everything that is drawn and written inside."""
    import matplotlib

    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        # The page's own font has the character; only its width is guessed.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        yield


def new_figure(height_pt: float) -> "Figure":
    """An empty figure of the page's width."""
    from matplotlib.figure import Figure

    return Figure(figsize=(WIDTH_PT / 72, height_pt / 72), layout="constrained")


def label(text: str, longest: int = 40) -> str:
    """Text that fits into a figure.

    >>> label("speculative-algorithm=EAGLE", 12)
    'speculative…'
    """
    clean = _CONTROL.sub(" ", text)
    return clean if len(clean) <= longest else clean[: longest - 1] + "…"


def lines_of(text: str, width: int, most: int = 2) -> str:
    r"""Text over a few lines of a figure, the last one cut where it is too long.

    >>> lines_of("threads=2 parallel=4 batch-size=256 ubatch-size=64", 22)
    'threads=2 parallel=4\nbatch-size=256 ubatch…'
    """
    lines = textwrap.wrap(_CONTROL.sub(" ", text), width, break_on_hyphens=False)
    rest = " ".join(lines[most - 1 :])
    return "\n".join([*lines[: most - 1], label(rest, width)])


def tip_id(number: int) -> str:
    """The gid of an artist that shows the tip of that number under the pointer."""
    return f"{_TIP}{number}"


def keep_grid(axes: "Axes", axis: Literal["both", "x", "y"]) -> None:
    """Faint lines across one axis, and no ticks."""
    axes.grid(True, axis=axis)
    axes.tick_params(length=0, pad=6)  # room for the marks on the axis


def to_svg(
    figure: "Figure", *, name: str, title: str, description: str, tips: Sequence[str] = ()
) -> str:
    """A figure as an `<svg>` element that names and describes itself.

    Args:
        figure: What was drawn, inside `drawing()`.
        name: Begins every id of the figure; no two figures of a page share it.
        title: What it shows, a few words.
        description: What can be seen in it, for who cannot see it.
        tips: Texts of `tip_id`, in order.
    """
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata, transparent=True)
    root = ElementTree.fromstring(buffer.getvalue())
    _drop_style(root)
    for element in list(root.iter()):
        _restyle(element, name)
        _add_tip(element, tips)
    _name(root, name, title, description)
    return ElementTree.tostring(root, encoding="unicode")


def _drop_style(root: ElementTree.Element) -> None:
    """Matplotlib's style sheet would hold for the whole page."""
    for parent in root.iter():
        for child in [c for c in parent if c.tag in (f"{_SVG}style", f"{_SVG}metadata")]:
            parent.remove(child)


def _restyle(element: ElementTree.Element, name: str) -> None:
    element.tag = element.tag.removeprefix(_SVG)
    attributes = element.attrib
    if target := attributes.pop(_LINK, None):
        attributes["href"] = target.replace("#", f"#{name}-")
    if "clip-path" in attributes:
        attributes["clip-path"] = attributes["clip-path"].replace("#", f"#{name}-")
    own = attributes.pop("id", "")
    if element.tag != "g" and own:
        attributes["id"] = f"{name}-{own}"
    elif own.startswith(_TIP):
        attributes["id"] = own
    if "style" in attributes:
        attributes["style"] = _page_style(attributes["style"])
    if element.tag != "text":
        element.text = None
    element.tail = None


def _page_style(style: str) -> str:
    for color, variable in _VARIABLES.items():
        style = style.replace(color, f"var({variable})")
    return re.sub(r"font-family:[^;]*;? ?", "", style)


def _add_tip(element: ElementTree.Element, tips: Sequence[str]) -> None:
    own = element.get("id", "")
    if element.tag == "g" and own.startswith(_TIP):
        del element.attrib["id"]
        tip = ElementTree.Element("title")
        tip.text = _CONTROL.sub(" ", tips[int(own.removeprefix(_TIP))])
        element.insert(0, tip)


def _name(root: ElementTree.Element, name: str, title: str, description: str) -> None:
    for gone in ("width", "height", "version"):
        root.attrib.pop(gone, None)
    root.attrib |= {
        "class": "figure",
        "role": "img",
        "aria-labelledby": f"{name}-title {name}-description",
    }
    for position, (kind, tag, text) in enumerate(
        (("title", "title", title), ("description", "desc", description))
    ):
        element = ElementTree.Element(tag, id=f"{name}-{kind}")
        element.text = _CONTROL.sub(" ", text)
        root.insert(position, element)
