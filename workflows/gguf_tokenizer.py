"""A tokenizer folder for genai-bench, from a GGUF file's own metadata: nothing is downloaded."""

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NoReturn

from inference_autotuner.optimizer.errors import Mistake, StudyError, TaskError
from inference_autotuner.workflows.pre_tokenizers import CUTS

_CONTROL, _USER_DEFINED, _UNKNOWN, _BYTE = 3, 4, 2, 6  # token types of the GGUF format
_FORMAT = 1  # raise it when the same file would give other tokenizer files
_SPACE = "▁"


@dataclass(frozen=True)
class Vocabulary:
    """What a GGUF file says of its tokenizer.

    Attributes:
        model: `gpt2` (byte-level BPE), `llama` (SentencePiece), or one we cannot build.
        cut: Name of the way text is cut before merging; empty when the file names none.
        tokens: Token texts by id.
        types: Token types by id.
        scores: SentencePiece scores by id; empty for BPE.
        merges: BPE merges, best first, each two pieces with a space between.
        special: Token ids by role: `bos`, `eos`, `unknown`, `padding`.
        add_bos: Whether text begins with the bos token.
        add_space: Whether SentencePiece puts a space before the text.
        chat_template: Jinja; empty when the file has none.
        context: Longest context of the model, tokens.
    """

    model: str
    cut: str
    tokens: Sequence[str]
    types: Sequence[int]
    scores: Sequence[float]
    merges: Sequence[str]
    special: Mapping[str, int]
    add_bos: bool
    add_space: bool
    chat_template: str
    context: int


def write_tokenizer(gguf: Path, folder: Path) -> Path:
    """Writes `tokenizer.json` and `tokenizer_config.json` for the file, once.

    Args:
        gguf: The model file.
        folder: Where the tokenizers of all files are kept, each in a folder of its own that is
            named after the file's path, size and time, and appears at once, complete.

    Returns:
        The file's folder, ready for `AutoTokenizer.from_pretrained`.

    Raises:
        TaskError: No such file, no GGUF file, or a tokenizer that cannot be built from it.
        StudyError: The `bench` extra is not installed.
    """
    own = folder / f"{gguf.stem}-{_fingerprint(gguf)}"
    if own.is_dir():
        return own
    vocabulary = read_vocabulary(gguf)
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(mkdtemp(prefix=".draft-", dir=folder))
    try:
        _build(vocabulary, gguf).save(str(draft / "tokenizer.json"))
        (draft / "tokenizer_config.json").write_text(json.dumps(_settings(vocabulary)), "utf-8")
        _publish(draft, own)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return own


def read_vocabulary(gguf: Path) -> Vocabulary:
    """The tokenizer's part of a GGUF file's metadata.

    Raises:
        TaskError: The file cannot be read, or has no tokenizer.
        StudyError: The `bench` extra is not installed.
    """
    fields = _read_fields(gguf)

    def get(name: str, default: Any) -> Any:
        field = fields.get(f"tokenizer.{name}")
        return default if field is None else field.contents()

    tokens = get("ggml.tokens", [])
    if not tokens:
        _refuse(gguf, "it holds no tokenizer")
    model = get("ggml.model", "")
    return Vocabulary(
        model=model,
        cut=get("ggml.pre", ""),
        tokens=tokens,
        types=get("ggml.token_type", [1] * len(tokens)),
        scores=get("ggml.scores", []),
        merges=get("ggml.merges", []),
        special={
            role: get(f"ggml.{role}_token_id", None)
            for role in ("bos", "eos", "unknown", "padding")
            if f"tokenizer.ggml.{role}_token_id" in fields
        },
        add_bos=bool(get("ggml.add_bos_token", model == "llama")),
        add_space=bool(get("ggml.add_space_prefix", True)),
        chat_template=get("chat_template", ""),
        context=_context(fields),
    )


def _read_fields(gguf: Path) -> Mapping[str, Any]:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise StudyError(
            "the tokenizer of a GGUF file needs the packages gguf and tokenizers: "
            "pip install 'inference-autotuner[bench]'"
        ) from error
    try:
        return GGUFReader(gguf).fields
    except (OSError, ValueError, IndexError, KeyError) as error:
        _refuse(gguf, f"it is no readable GGUF file ({error})", error)


def _context(fields: Mapping[str, Any]) -> int:
    architecture = fields.get("general.architecture")
    name = f"{architecture.contents()}.context_length" if architecture else ""
    return int(fields[name].contents()) if name in fields else 1_000_000


def _build(vocabulary: Vocabulary, gguf: Path) -> Any:
    from tokenizers import AddedToken, processors

    builders = {"gpt2": _build_bpe, "llama": _build_sentencepiece}
    if vocabulary.model not in builders:
        _refuse(gguf, f"its tokenizer is of kind '{vocabulary.model}', which is not built here")
    tokenizer = builders[vocabulary.model](vocabulary, gguf)
    for token, kind in zip(vocabulary.tokens, vocabulary.types, strict=True):
        if kind in (_CONTROL, _USER_DEFINED, _UNKNOWN):
            added = AddedToken(token, special=kind != _USER_DEFINED, normalized=False)
            (tokenizer.add_special_tokens if added.special else tokenizer.add_tokens)([added])
    if vocabulary.add_bos and "bos" in vocabulary.special:
        bos = vocabulary.special["bos"]
        text = vocabulary.tokens[bos]
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[text, "$A"], pair=[text, "$A", text, "$B"], special_tokens=[(text, bos)]
        )
    return tokenizer


def _build_bpe(vocabulary: Vocabulary, gguf: Path) -> Any:
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

    cut = CUTS.get(vocabulary.cut or "default")
    if cut is None:
        _refuse(gguf, f"its pre-tokenizer '{vocabulary.cut}' is not known here")
    merges = [(left, right) for left, right in (m.split(" ", 1) for m in vocabulary.merges)]
    tokenizer = Tokenizer(
        models.BPE(_ids(vocabulary), merges, fuse_unk=False, ignore_merges=cut.whole_words)
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cut.patterns]
        + [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _build_sentencepiece(vocabulary: Vocabulary, gguf: Path) -> Any:
    from tokenizers import Tokenizer, decoders, models, normalizers

    unknown = vocabulary.special.get("unknown", 0)
    tokenizer = Tokenizer(
        models.BPE(
            _ids(vocabulary),
            _merges_by_score(vocabulary),
            unk_token=vocabulary.tokens[unknown],
            fuse_unk=True,
            byte_fallback=_BYTE in set(vocabulary.types),
        )
    )
    steps = [normalizers.Prepend(_SPACE)] if vocabulary.add_space else []
    tokenizer.normalizer = normalizers.Sequence([*steps, normalizers.Replace(" ", _SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(_SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
        + ([decoders.Strip(" ", 1, 0)] if vocabulary.add_space else [])
    )
    return tokenizer


def _ids(vocabulary: Vocabulary) -> dict[str, int]:
    return {token: number for number, token in enumerate(vocabulary.tokens)}


def _merges_by_score(vocabulary: Vocabulary) -> list[tuple[str, str]]:
    """SentencePiece joins the neighbors whose union scores best; as merges, best first."""
    ids = _ids(vocabulary)
    ranked = []
    for token, score in zip(vocabulary.tokens, vocabulary.scores, strict=True):
        for at in range(1, len(token)):
            left, right = token[:at], token[at:]
            if left in ids and right in ids:
                ranked.append((-score, ids[left], ids[right], left, right))
    return [(left, right) for *_, left, right in sorted(ranked)]


def _settings(vocabulary: Vocabulary) -> dict[str, Any]:
    names = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}
    special = {
        names[role]: vocabulary.tokens[number]
        for role, number in vocabulary.special.items()
        if number < len(vocabulary.tokens)
    }
    template = {"chat_template": vocabulary.chat_template} if vocabulary.chat_template else {}
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": vocabulary.context,
        "clean_up_tokenization_spaces": False,
        **special,
        **template,
    }


def _fingerprint(gguf: Path) -> str:
    try:
        status = gguf.stat()
    except OSError as error:
        _refuse(gguf, f"it cannot be read ({error.strerror})", error)
    source = (_FORMAT, str(gguf.resolve()), status.st_size, status.st_mtime_ns)
    return hashlib.sha256(repr(source).encode()).hexdigest()[:10]


def _publish(draft: Path, own: Path) -> None:
    try:
        draft.rename(own)
    except OSError:
        if not own.is_dir():  # else somebody was quicker, with the same outcome
            raise


def _refuse(gguf: Path, why: str, cause: BaseException | None = None) -> NoReturn:
    message = f"no tokenizer can be made from {gguf}: {why}; name one under spec.model.tokenizer"
    raise TaskError([Mistake("spec.model.name", message)]) from cause
