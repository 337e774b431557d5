import signal
import socket
import subprocess
import threading
from urllib.parse import urlsplit

import pytest
import xllamacpp

from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.workflows import llamacpp_server
from inference_autotuner.workflows.llamacpp_flags import OPTIONS, ArgumentError, read_arguments
from inference_autotuner.workflows.llamacpp_server import build_params, main
from tests.workflows.real_engine import LAUNCHER, post, serving, small_model
from tests.workflows.timing import until

WORDS = {
    "cache_type_k": "q8_0",
    "cache_type_v": "q4_0",
    "default_template_kwargs": '{"thinking": true}',
    "fit_params": "off",
    "flash_attn_type": "on",
    "lazy_mode": "on",
    "load_mode": "mmap+mlock",
    "numa": "isolate",
    "priority": "2",
    "reasoning_format": "deepseek-legacy",
    "rope_scaling_type": "yarn",
    "split_mode": "row",
    "tensor_buft_overrides": "blk=CPU",
    "tensor_split": "3,1",
    "types": "ngram-simple,draft-simple",
}


def read(path, params):
    for name in path.split("."):
        params = getattr(params, name)
    return params


def fields(*arguments):
    return build_params(read_arguments(arguments))


@pytest.mark.parametrize("name", sorted(set(OPTIONS) - {"--chat-template-file"}))
def test_every_flag_reaches_a_field_of_the_engine(name):
    option = OPTIONS[name]
    last = option.field.rpartition(".")[2]
    arguments = [name] if option.parse is None else [name, WORDS.get(last, "7")]
    ((path, value),) = read_arguments(arguments)
    before, after = read(path, build_params([])), read(path, build_params([(path, value)]))
    assert after is not None
    assert type(after) is type(before)


@pytest.mark.parametrize(
    ("arguments", "path", "value"),
    [
        (["-t", "2"], "cpuparams.n_threads", 2),
        (["--flash-attn", "off"], "flash_attn_type.name", "LLAMA_FLASH_ATTN_TYPE_DISABLED"),
        (["-ctk", "q8_0"], "cache_type_k.name", "GGML_TYPE_Q8_0"),
        (["--no-cont-batching"], "cont_batching", False),
        (["--no-repack"], "no_extra_bufts", True),
        (["--repack"], "no_extra_bufts", False),
        (["--no-mmap"], "load_mode.name", "LLAMA_LOAD_MODE_NONE"),
        (["-lm", "dio"], "load_mode.name", "LLAMA_LOAD_MODE_DIRECT_IO"),
        (["--metrics"], "endpoint_metrics", True),
        (["-ngl", "all"], "n_gpu_layers", -2),
        (["--alias", "a,b"], "model_alias", {"a", "b"}),
        (["--host", "127.0.0.1,::1"], "hostnames", ["127.0.0.1", "::1"]),
        (["--timeout", "9"], "timeout_write", 9),
        (["--ctx_size", "64"], "n_ctx", 64),
        (["--ctx-size", "64", "-c", "128"], "n_ctx", 128),
        (["--ctx-size", "0"], "fit_params_min_ctx", -1),
        (["--seed", "-1"], "sampling.seed", 2**32 - 1),
    ],
)
def test_a_flag_means_what_it_means_to_llama_server(arguments, path, value):
    assert read(path, fields(*arguments)) == value


@pytest.mark.parametrize("count", ["0", "-1"])
def test_no_threads_are_all_cores(count, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 6)
    assert fields("--threads", count).cpuparams.n_threads == 6


def test_slots_are_four_with_one_cache_unless_they_are_counted_out():
    assert (fields().n_parallel, fields().kv_unified) == (4, True)
    assert (fields("-np", "2").n_parallel, fields("-np", "2").kv_unified) == (2, False)


def test_the_tensor_split_is_as_long_as_the_engine_wants():
    split = fields("--tensor-split", "3,1").tensor_split
    assert split[:3] == [3.0, 1.0, 0.0]
    assert len(split) == len(xllamacpp.CommonParams().tensor_split)


def test_a_chat_template_is_read_from_its_file(tmp_path):
    (tmp_path / "t.jinja").write_text("{{ messages }}")
    assert fields("--chat-template-file", str(tmp_path / "t.jinja")).chat_template == (
        "{{ messages }}"
    )


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--no-such-flag"], "error: invalid argument: --no-such-flag"),
        (["stray"], "error: invalid argument: stray"),
        (["--threads"], "error: expected value for argument --threads"),
        (["--threads", "two"], "'two' is no whole number"),
        (["--parallel", "0"], "invalid value for n_parallel"),
        (["--port", "70000"], "70000 is outside 0 to 65535"),
        (["--flash-attn", "maybe"], "'maybe' is not one of on,"),
        (["--cache-type-k", "q3_k"], "'q3_k' is not one of f32,"),
        (["--spec-type", "magic"], "'magic' is not one of none,"),
        (["--chat-template-file", "/none"], "No such file"),
        (["--chat-template-kwargs", "[1"], "error while handling argument"),
    ],
)
def test_what_llama_server_refuses_is_refused(arguments, says, capsys):
    with pytest.raises(ArgumentError):
        read_arguments(arguments)
    assert main(arguments) == 1
    assert says in capsys.readouterr().err


def test_a_model_is_required(capsys):
    assert main(["--threads", "1"]) == 1
    assert "--model is required" in capsys.readouterr().err


def test_a_variable_that_llama_server_would_read_is_not_silently_ignored(monkeypatch, capsys):
    monkeypatch.setenv("LLAMA_ARG_THREADS", "2")
    assert main(["--model", "x.gguf"]) == 1
    assert "LLAMA_ARG_THREADS" in capsys.readouterr().err


def test_the_environment_is_left_as_it_is(monkeypatch):
    monkeypatch.setattr(xllamacpp, "Server", lambda params: (_ for _ in ()).throw(RuntimeError()))
    import os

    before = dict(os.environ)
    main(["--model", "x.gguf", "--threads", "2"])
    assert dict(os.environ) == before


def test_every_flag_that_a_new_task_proposes_is_taken():
    engine = get_engine("llamacpp")
    assert engine.fallback_module == llamacpp_server.__name__
    for name, values in engine.search_space.items():
        for value in values:
            read_arguments(engine.render({name: value}))


def test_a_refused_configuration_ends_with_one_and_its_cause():
    arguments = ["--model", str(small_model()), "--parallel", "300", "--port", "0"]
    ended = subprocess.run([*LAUNCHER, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stdout == ""
    assert "n_seq_max must be <= 256" in ended.stderr


def test_a_model_that_is_not_there_ends_with_one_and_its_name():
    arguments = ["--model", "/no/such/model.gguf", "--port", "0"]
    ended = subprocess.run([*LAUNCHER, *arguments], capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert "/no/such/model.gguf" in ended.stderr


def test_it_serves_and_sigterm_ends_it_while_a_request_is_open():
    flags = ["--threads", "1", "--parallel", "1", "--ctx-size", "2048", "--no-warmup", "--slots"]
    with serving(small_model(), *flags) as (url, process):
        assert post(f"{url}/tokenize", {"content": "Hello"})["tokens"]
        request = threading.Thread(target=_ask_for_much, args=(url,), daemon=True)
        request.start()
        until(lambda: any(slot["is_processing"] for slot in _get(f"{url}/slots")))
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == -signal.SIGTERM
        request.join(10)
        _bind(url)


def test_sigterm_ends_it_while_the_model_loads():
    process = subprocess.Popen(
        [*LAUNCHER, "--model", str(small_model()), "--port", "0"],
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    with process.stderr:
        until(lambda: b"load" in process.stderr.readline())
        process.terminate()
        assert process.wait(timeout=10) == -signal.SIGTERM


def _ask_for_much(url):
    try:
        post(f"{url}/completion", {"prompt": "Once", "n_predict": 1800, "ignore_eos": True})
    except OSError:
        return


def _get(url):
    import json
    import urllib.request

    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def _bind(url):
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", urlsplit(url).port))
