from dataclasses import replace

from inference_autotuner.manifests.command import (
    HOST,
    MODEL,
    PORT,
    Variable,
    closed_words,
    open_words,
    served_model,
    winning_launch,
)
from inference_autotuner.optimizer.engine import engine_names, get_engine
from inference_autotuner.optimizer.trial import Trial, TrialKind, TrialState
from tests.samples import sample_task

LLAMA = get_engine("llamacpp")


def launch_of(task, params, model="/models/a.gguf"):
    return winning_launch(task.spec, params, model=model, host="127.0.0.1", port=8080)


def test_params_win_over_fixed_args():
    task = sample_task(engine={"name": "llamacpp", "args": {"threads": 2, "ctx-size": 64}})
    args = launch_of(task, {"threads": 1}).args
    assert args == {"threads": 1, "ctx-size": 64}


def test_without_secrets_the_closed_line_is_the_engines_own():
    task = sample_task()
    launch = launch_of(task, {"threads": 1})
    assert closed_words(LLAMA, task.spec, launch) == LLAMA.command_line(launch)


def test_model_host_and_port_are_open_for_every_engine():
    for name in engine_names():
        engine = get_engine(name)
        task = sample_task(engine={"name": name}, parameters={"x": [1]})
        words = open_words(engine, task.spec, launch_of(task, {}, model="org/name"))
        assert {MODEL, HOST, PORT} <= set(words)


def test_a_param_that_equals_the_port_stays_what_it_is():
    task = sample_task(engine={"name": "llamacpp", "args": {"ctx-size": 8080}})
    words = open_words(LLAMA, task.spec, launch_of(task, {}))
    assert words.count(PORT) == 1
    assert words[words.index("--ctx-size") + 1] == "8080"


def test_the_served_name_does_not_follow_another_model():
    task = sample_task(
        model={"name": "org/name", "servedName": "org/name"},
        engine={"name": "vllm"},
        parameters={"max-num-seqs": [1]},
    )
    words = open_words(get_engine("vllm"), task.spec, launch_of(task, {}, model="org/name"))
    assert words.count(MODEL) == 1
    assert "org/name" in words


def test_a_secret_flag_becomes_a_variable():
    task = sample_task(engine={"name": "llamacpp", "args": {"api-key": "sk-0123456789"}})
    words = closed_words(LLAMA, task.spec, launch_of(task, {}))
    assert words[words.index("--api-key") + 1] == Variable("SERVE_API_KEY")
    assert "sk-0123456789" not in words


def test_the_model_is_the_one_that_the_engine_got():
    task = sample_task()
    line = LLAMA.command_line(launch_of(task, {"threads": 1}, model="/abs/models/a.gguf"))
    trial = Trial(
        1, TrialKind.EXPLORE, {"threads": 1}, TrialState.MEASURED, engine_args=tuple(line)
    )
    assert served_model(LLAMA, task.spec, trial) == "/abs/models/a.gguf"


def test_the_model_is_the_tasks_where_no_command_line_is_known():
    task = sample_task()
    trial = Trial(1, TrialKind.EXPLORE, {"threads": 1}, TrialState.MEASURED)
    assert served_model(LLAMA, task.spec, trial) == task.spec.model.name
    changed = replace(trial, engine_args=("--something", "else"))
    assert served_model(LLAMA, task.spec, changed) == task.spec.model.name
