import os
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference_autotuner.manifests.command import Variable
from inference_autotuner.manifests.serve_script import argument_lines, render_serve_script
from inference_autotuner.optimizer.engine import engine_names, get_engine
from inference_autotuner.optimizer.errors import RenderError
from tests.samples import sample_task

MODEL = "/mod els/it's.gguf"
NASTY = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(
    lambda text: "{{" not in text
)


def script_of(task, params=None, sentence="Better: x", model=MODEL):
    engine = get_engine(task.spec.engine.name)
    return render_serve_script(
        task,
        engine,
        params or {},
        study="smollm2-chat-h0123456789",
        sentence=sentence,
        date="2026-11-24",
        model=model,
    )


def printing_task(folder, **engine):
    """A task whose engine prints its arguments and environment, separated by NUL."""
    program = folder / "print args"
    if not program.exists():
        program.write_text('#!/bin/sh\nprintf "%s\\0" "$@"; printf "X=%s\\0" "${X-}"\n')
        program.chmod(0o755)
    return sample_task(engine={"name": "llamacpp", "binary": str(program), **engine})


def run(script, **environment):
    return subprocess.run(
        ["sh"],
        input=script,
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        timeout=20,
    )


def words(script, **environment):
    done = run(script, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\0")[:-1]


@pytest.mark.parametrize("name", engine_names())
def test_the_script_of_every_engine_is_valid_shell(name):
    task = sample_task(engine={"name": name}, parameters={"x": [1]})
    checked = subprocess.run(["sh", "-n"], input=script_of(task, {"x": 1}), text=True, timeout=20)
    assert checked.returncode == 0


def test_it_starts_the_engine_with_the_winners_args(tmp_path):
    task = printing_task(tmp_path, args={"ctx-size": 4096})
    found = words(script_of(task, {"threads": 1}))
    assert found[:2] == ["--model", MODEL]
    assert found[found.index("--threads") + 1] == "1"
    assert found[found.index("--ctx-size") + 1] == "4096"
    assert found[found.index("--port") + 1] == "8080"


def test_model_host_and_port_can_be_overridden(tmp_path):
    script = script_of(printing_task(tmp_path))
    found = words(script, SERVE_MODEL="/b c.gguf", SERVE_HOST="0.0.0.0", SERVE_PORT="9000")
    assert found[:6] == ["--model", "/b c.gguf", "--host", "0.0.0.0", "--port", "9000"]


@settings(max_examples=25, deadline=None)
@given(arg=NASTY, value=NASTY, sentence=st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_reaches_the_engine_as_it_is(tmp_path_factory, arg, value, sentence):
    folder = tmp_path_factory.getbasetemp()
    task = printing_task(folder, args={"chat-template": arg}, env={"X": value})
    found = words(script_of(task, sentence=sentence))
    assert found[found.index("--chat-template") + 1] == arg
    assert found[-1] == f"X={value}"


def test_a_secret_must_be_set_by_who_starts_it(tmp_path):
    task = printing_task(tmp_path, args={"api-key": "sk-0123456789"}, env={"X_TOKEN": "tok-12345"})
    script = script_of(task)
    assert "sk-0123456789" not in script
    assert "tok-12345" not in script
    assert "X_TOKEN" in run(script).stderr
    found = words(script, X_TOKEN="a", SERVE_API_KEY="b c")
    assert found[found.index("--api-key") + 1] == "b c"


def test_where_the_program_is_not_installed_our_own_launcher_serves(tmp_path):
    (tmp_path / "python3").write_text('#!/bin/sh\nprintf "%s\\0" "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    found = words(script_of(sample_task()), PATH=f"{tmp_path}:/usr/bin:/bin")
    assert found[:3] == ["-m", get_engine("llamacpp").fallback_module, "--model"]


def test_where_nothing_can_serve_one_line_says_what_to_do(tmp_path):
    (tmp_path / "python3").write_text(f'#!/bin/sh\nexec {sys.executable} -I -S "$@"\n')
    (tmp_path / "python3").chmod(0o755)
    done = run(script_of(sample_task()), PATH=f"{tmp_path}:/usr/bin:/bin")
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "llama-server is not installed" in line
    assert "activate the environment" in line


def test_the_head_names_study_verdict_and_date():
    head = script_of(sample_task()).split("set -eu")[0]
    for text in ("smollm2-chat-h0123456789", "Better: x", "2026-11-24"):
        assert text in head


def test_a_nul_is_refused():
    with pytest.raises(RenderError, match="NUL"):
        argument_lines(["a\0b"])


def test_a_negative_number_stays_beside_its_flag():
    assert argument_lines(["--a", "-1", Variable("B")]) == ['--a -1 "$B"']
