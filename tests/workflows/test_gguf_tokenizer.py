import json
import os
from pathlib import Path

import gguf
import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from inference_autotuner.optimizer.errors import StudyError, TaskError
from inference_autotuner.workflows import gguf_tokenizer
from inference_autotuner.workflows.gguf_tokenizer import write_tokenizer
from inference_autotuner.workflows.pre_tokenizers import CUTS
from tests.workflows.real_engine import post, serving, small_model

TEXTS = (
    "Hello world",
    "The quick brown fox's 12345 jumps; it'll cost $3.50!",
    "  leading and   inner   spaces  ",
    "tabs\tand\n\nnewlines\r\n  indented\n",
    "naïve café déjà vu ÀÉ",
    "日本語のテキスト、한국어 текст",
    "def f(x):\n    return x**2  # sq\n",
    "emoji 🎉👩‍👩‍👧 ok",
    "I'M SHOUTING, They'Ve",
    "100000000 3.14159 0x1F",
    "a<|im_start|>user b",
    "",
    "… “quotes” — dash",
    "camelCaseWords HTTPServer",
    " ",
    "\n",
    "don't can’t x_y_z/__init__.py",
)
WIDTH = 32
# One name of each family; the names of one family share everything.
FAMILIES = sorted({cut: name for name, cut in sorted(CUTS.items())}.values())


def tiny_model(path, write_vocabulary):
    """A llama of one small random layer, with a vocabulary of our choice."""
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_context_length(512)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(1)
    writer.add_feed_forward_length(WIDTH)
    writer.add_head_count(2)
    writer.add_layer_norm_rms_eps(1e-5)
    size = write_vocabulary(writer)
    writer.add_vocab_size(size)
    random = np.random.default_rng(0)
    squares = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
    shapes = {"token_embd": (size, WIDTH), "output_norm": (WIDTH,)}
    shapes |= {f"blk.0.{name}": (WIDTH, WIDTH) for name in squares}
    shapes |= {f"blk.0.{name}": (WIDTH,) for name in ("attn_norm", "ffn_norm")}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", random.normal(0, 0.02, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def byte_level(cut, add_bos=False):
    """Merges that reach across every boundary, so that only the cut keeps words apart."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    trained.train_from_iterator(
        TEXTS * 3,
        trainers.BpeTrainer(
            vocab_size=1200,
            min_frequency=2,
            max_token_length=6,
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            special_tokens=["<unk>", "<|im_start|>", "<|im_end|>"],
        ),
    )
    model = json.loads(trained.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)

    def write(writer):
        writer.add_tokenizer_model("gpt2")
        if cut:
            writer.add_tokenizer_pre(cut)
        writer.add_token_list(tokens)
        writer.add_token_types([3, 3, 3] + [1] * (len(tokens) - 3))
        writer.add_token_merges([" ".join(merge) for merge in model["merges"]])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_add_bos_token(add_bos)
        return len(tokens)

    return write


def sentencepiece(add_space):
    """Bytes, letters and pieces of words, the shorter the likelier."""
    words = "▁the ▁quick ▁brown ▁a ▁He ▁in ▁ret he th ll or ld wo lo ck ow ▁w ▁t ▁b ▁r re ui ne er"
    letters = sorted({letter for text in TEXTS for letter in text if letter.isascii()} | {"▁", "é"})
    pieces = [letter for letter in letters if letter not in " \n\r\t"] + sorted(
        {word[:end] for word in words.split() for end in range(2, len(word) + 1)}, key=len
    )
    tokens = ["<unk>", "<s>", "</s>", *[f"<0x{n:02X}>" for n in range(256)], *pieces]

    def write(writer):
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_list([*tokens, "<|im_start|>"])
        writer.add_token_types([2, 3, 3] + [6] * 256 + [1] * len(pieces) + [4])
        writer.add_token_scores([0.0] * 259 + [-float(n) for n in range(len(pieces))] + [-1e4])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_unk_token_id(0)
        writer.add_add_space_prefix(add_space)
        return len(tokens) + 1

    return write


def differences(model, folder):
    """Texts that llama.cpp counts otherwise, with both token lists."""
    ours = Tokenizer.from_file(str(write_tokenizer(model, folder) / "tokenizer.json"))
    flags = ("--threads", "1", "--parallel", "1", "--ctx-size", "256", "--no-warmup")
    found = []
    with serving(model, *flags) as (url, _):
        for text in TEXTS:
            for special in (False, True):
                request = {"content": text, "add_special": special}
                theirs = post(f"{url}/tokenize", request)["tokens"]
                mine = ours.encode(text, add_special_tokens=special).ids
                if mine != theirs:
                    found.append((text, special, mine, theirs))
    return found


def test_the_real_model_counts_tokens_as_its_server_does(tmp_path):
    assert differences(small_model(), tmp_path) == []


@pytest.mark.parametrize("cut", FAMILIES)
def test_text_is_cut_as_llama_cpp_cuts_it(cut, tmp_path):
    model = tiny_model(tmp_path / "m.gguf", byte_level(None if cut == "default" else cut, True))
    assert differences(model, tmp_path / "tokenizers") == []


@pytest.mark.parametrize("add_space", [True, False])
def test_sentencepiece_is_rebuilt_from_its_scores(add_space, tmp_path):
    model = tiny_model(tmp_path / "m.gguf", sentencepiece(add_space))
    assert differences(model, tmp_path / "tokenizers") == []


def test_transformers_loads_the_folder_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = write_tokenizer(small_model(), tmp_path)
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert settings["eos_token"] == "<|im_end|>"
    assert settings["model_max_length"] == 8192
    assert "<|im_start|>" in settings["chat_template"]
    assert "add_generation_prompt" in settings["chat_template"]


def test_a_text_goes_there_and_back(tmp_path):
    for name, vocabulary in (("b", byte_level("gpt-2")), ("s", sentencepiece(True))):
        model = tiny_model(tmp_path / f"{name}.gguf", vocabulary)
        tokenizer = Tokenizer.from_file(str(write_tokenizer(model, tmp_path) / "tokenizer.json"))
        assert (
            tokenizer.decode(tokenizer.encode("the quick brown fox").ids) == "the quick brown fox"
        )


def test_the_same_file_is_read_once_and_a_changed_one_again(tmp_path, monkeypatch):
    model = tiny_model(tmp_path / "m.gguf", byte_level("gpt-2"))
    first = write_tokenizer(model, tmp_path / "t")
    read = gguf_tokenizer.read_vocabulary
    monkeypatch.setattr(gguf_tokenizer, "read_vocabulary", lambda path: pytest.fail("read again"))
    assert write_tokenizer(model, tmp_path / "t") == first
    monkeypatch.setattr(gguf_tokenizer, "read_vocabulary", read)
    os.utime(model, ns=(1, 1))
    second = write_tokenizer(model, tmp_path / "t")
    assert second != first
    assert sorted(p.name for p in (tmp_path / "t").iterdir()) == sorted([first.name, second.name])


def test_two_files_of_one_name_have_two_tokenizers(tmp_path):
    models_ = [tmp_path / name / "m.gguf" for name in "ab"]
    for model in models_:
        model.parent.mkdir()
        tiny_model(model, byte_level("gpt-2"))
    one, other = (write_tokenizer(model, tmp_path / "t") for model in models_)
    assert one != other


def test_a_build_that_fails_leaves_nothing_that_looks_finished(tmp_path, monkeypatch):
    model = tiny_model(tmp_path / "m.gguf", byte_level("gpt-2"))
    monkeypatch.setattr(gguf_tokenizer, "_settings", lambda vocabulary: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        write_tokenizer(model, tmp_path / "t")
    assert list((tmp_path / "t").iterdir()) == []


def test_who_comes_second_takes_what_the_first_has_made(tmp_path, monkeypatch):
    model = tiny_model(tmp_path / "m.gguf", byte_level("gpt-2"))
    build = gguf_tokenizer._build

    def somebody_is_quicker(vocabulary, path):
        monkeypatch.setattr(gguf_tokenizer, "_build", build)
        write_tokenizer(model, tmp_path / "t")
        return build(vocabulary, path)

    monkeypatch.setattr(gguf_tokenizer, "_build", somebody_is_quicker)
    folder = write_tokenizer(model, tmp_path / "t")
    assert [path.name for path in (tmp_path / "t").iterdir()] == [folder.name]


def refused(model, folder):
    with pytest.raises(TaskError) as caught:
        write_tokenizer(model, folder)
    (mistake,) = caught.value.mistakes
    assert mistake.path == "spec.model.name"
    assert "spec.model.tokenizer" in mistake.message
    return mistake.message


def test_an_unknown_cut_is_refused_by_name(tmp_path):
    model = tiny_model(tmp_path / "m.gguf", byte_level("from-next-year"))
    assert "'from-next-year'" in refused(model, tmp_path)


def test_another_kind_of_tokenizer_is_refused_by_name(tmp_path):
    def wordpiece(writer):
        writer.add_tokenizer_model("bert")
        writer.add_token_list(["a", "b"])
        return 2

    assert "'bert'" in refused(tiny_model(tmp_path / "m.gguf", wordpiece), tmp_path)


def test_a_file_without_a_tokenizer_is_refused(tmp_path):
    assert "no tokenizer" in refused(tiny_model(tmp_path / "m.gguf", lambda writer: 8), tmp_path)


@pytest.mark.parametrize("content", [b"", b"GGUF", b"GGUF\x03\x00\x00\x00", b"x" * 4096])
def test_a_file_that_is_no_gguf_is_refused(content, tmp_path):
    (tmp_path / "m.gguf").write_bytes(content)
    assert "no readable GGUF file" in refused(tmp_path / "m.gguf", tmp_path)


def test_a_file_that_is_cut_off_is_refused(tmp_path):
    whole = tiny_model(tmp_path / "w.gguf", byte_level("gpt-2")).read_bytes()
    for share in (0.01, 0.1, 0.5):
        (tmp_path / "m.gguf").write_bytes(whole[: int(len(whole) * share)])
        refused(tmp_path / "m.gguf", tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    assert "cannot be read" in refused(Path("/no/such.gguf"), tmp_path)


def test_without_the_extra_it_says_what_to_install(tmp_path, monkeypatch):
    model = tiny_model(tmp_path / "m.gguf", byte_level("gpt-2"))
    monkeypatch.setitem(__import__("sys").modules, "gguf", None)
    with pytest.raises(StudyError, match="pip install"):
        write_tokenizer(model, tmp_path)
