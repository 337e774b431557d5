"""How a BPE model cuts text before it merges bytes, by the name that GGUF files give it.

Each name stands for a list of patterns that are applied one after the other, as llama.cpp does.
The names and patterns are facts about published models; a test compares the outcome with
llama.cpp's own tokenizer.
"""

from collections.abc import Mapping
from dataclasses import dataclass

_WORDS = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"""
_SHORT_FORMS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_UPPER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_LOWER = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_LEAD = r"[^\r\n\p{L}\p{N}]?"


def _modern(digits: str, letter: str = r"\p{L}") -> str:
    """The cut of Llama 3 and its descendants, which differ in how many digits stay together."""
    mark = r"\p{M}" if "M" in letter else ""
    return (
        rf"{_SHORT_FORMS}|{_LEAD}{letter}+|{digits}| ?[^\s\p{{L}}{mark}\p{{N}}]+[\r\n]*|{_SPACES}"
    )


def _cased(digits: str, ending: str) -> str:
    """A new piece where a lower-case letter meets an upper-case one."""
    return (
        rf"{_LEAD}{_UPPER}*{_LOWER}+{ending}|{_LEAD}{_UPPER}+{_LOWER}*{ending}"
        rf"|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    )


@dataclass(frozen=True)
class Cut:
    """One way to cut text.

    Attributes:
        patterns: Regular expressions, applied one after the other.
        whole_words: A piece that is a token is taken as it is, whatever the merges say.
    """

    patterns: tuple[str, ...]
    whole_words: bool = False


_FAMILIES: tuple[tuple[str, Cut], ...] = (
    (
        "gpt-2 phi-2 mpt olmo jais trillion granite-docling gigachat exaone4 mellum",
        Cut((_WORDS,)),
    ),
    (
        "starcoder refact command-r smollm codeshell exaone minerva-7b",
        Cut((r"\p{N}", _WORDS)),
    ),
    ("llama-bpe llama3 llama-v3 falcon3 pixtral", Cut((_modern(r"\p{N}{1,3}"),), True)),
    ("dbrx smaug-bpe chatglm-bpe glm4", Cut((_modern(r"\p{N}{1,3}"),))),
    ("qwen2 stablelm2 deepseek-r1-qwen hunyuan megrez", Cut((_modern(r"\p{N}"),))),
    ("qwen35", Cut((_modern(r"\p{N}", r"[\p{L}\p{M}]"),))),
    ("tekken", Cut((_cased(r"\p{N}", ""),), True)),
    ("gpt-4o llama4", Cut((_cased(r"\p{N}{1,3}", _SHORT_FORMS + "?"),))),
    ("falcon", Cut((r"[\p{P}$+<=>^~|`]+", _WORDS, r"[0-9]{3}"))),
    (
        "deepseek-coder",
        Cut((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[一-龥ࠀ-一가-퟿]+", r"\p{N}")),
    ),
    (
        "deepseek-v3 hunyuan-dense",
        Cut(
            (
                r"\p{N}{1,3}",
                "[一-龥぀-ゟ゠-ヿ]+",
                r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+"
                r"|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|" + _SPACES,
            )
        ),
    ),
    ("default", Cut((r"[\p{P}$+<=>^~|]+", _WORDS, r"\p{N}+", r"[0-9]{3}"))),
)

CUTS: Mapping[str, Cut] = {name: cut for names, cut in _FAMILIES for name in names.split()}
