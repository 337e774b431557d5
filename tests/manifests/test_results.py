import re
import subprocess
from dataclasses import replace

import pytest
import yaml

from inference_autotuner.manifests.results import SERVING_FILES, result_files
from inference_autotuner.manifests.wording import percent
from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.verdict import Verdict, VerdictKind
from tests.samples import FACTS, SAMPLES, run_study, sample_study, sample_task, verdict_of

ALWAYS = {"report.html", "verdict.yaml", "trials.csv", "README.md"}
PROGRAM_FILES = {"serve.sh", "manifest.yaml"}


def files_of(name):
    study = sample_study(name)
    return result_files(study.task, study.trials, study.verdict, FACTS)


def ome_task():
    return sample_task(
        model={"name": "smollm2-135m", "servedName": "smollm2"},
        engine={"name": "llamacpp", "runtime": "llama-cpp-cpu", "args": {"ctx-size": 4096}},
        deployment={"mode": "ome", "namespace": "tuning"},
    )


def files_in_mode(mode):
    """The study with a winner, as another mode would have run it."""
    study = sample_study("Better")
    image = {"name": "llamacpp", "image": "own/engine:1", "args": {"ctx-size": 4096}}
    task = {
        "process": study.task,
        "kubernetes": sample_task(engine=image, deployment={"mode": "kubernetes"}),
        "ome": ome_task(),
    }[mode]
    return study, result_files(task, study.trials, study.verdict, FACTS)


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request):
    return sample_study(request.param), files_of(request.param)


def test_a_script_and_a_manifest_are_there_where_there_is_something_to_serve(sample):
    study, files = sample
    extra = PROGRAM_FILES if study.verdict.params is not None else set()
    assert set(files) == ALWAYS | extra


@pytest.mark.parametrize(
    ("mode", "extra"),
    [
        ("process", PROGRAM_FILES),
        ("kubernetes", PROGRAM_FILES),
        ("ome", {"manifest.yaml", "patch.yaml"}),
    ],
)
def test_each_mode_has_the_files_that_serve_there(mode, extra):
    study, files = files_in_mode(mode)
    assert set(files) == ALWAYS | extra
    assert extra <= set(SERVING_FILES)
    listed = set(re.findall(r"^\| `(\S+)` \|", files["README.md"], re.M))
    assert listed == set(files) - {"README.md"}
    for name in set(SERVING_FILES) - extra:
        for file in ("README.md", "report.html"):
            assert name not in files[file]


def test_with_ome_the_answer_is_the_args_and_no_program_to_start():
    study, files = files_in_mode("ome")
    flags = get_engine("llamacpp").render({"ctx-size": 4096, **study.verdict.params})
    assert "llama-server" not in files["README.md"]
    assert "--ctx-size 4096\n" in files["README.md"]
    assert "args of the InferenceService, as measured." in files["report.html"]
    assert yaml.safe_load(files["verdict.yaml"])["engine"]["args"] == list(flags)
    manifest = yaml.safe_load(files["manifest.yaml"])
    assert manifest["spec"]["engine"]["runner"]["args"] == list(flags)


def test_with_ome_an_answer_without_args_is_an_answer():
    task = ome_task()
    task = task.model_copy(
        update={
            "spec": task.spec.model_copy(
                update={"engine": task.spec.engine.model_copy(update={"args": {}})}
            )
        }
    )
    trials = run_study(task)[:1]
    files = result_files(task, trials, verdict_of(task, trials), {})
    assert "with the args of its runtime." in files["README.md"]
    assert "args" not in yaml.safe_load(files["manifest.yaml"])["spec"]["engine"]["runner"]


@pytest.mark.parametrize("name", ["NothingFeasible", "crashes", "empty"])
def test_without_an_answer_there_is_nothing_to_serve_with(name):
    assert not set(files_of(name)) & set(SERVING_FILES)


@pytest.mark.parametrize("name", ["Inconclusive", "KeepCurrent"])
def test_without_a_winner_the_baseline_is_served_and_said_so(name):
    files = files_of(name)
    for file in PROGRAM_FILES:
        head = " ".join(files[file].split("\n\n")[0].replace("#", "").split())
        assert "These are the baseline's flags." in head
    assert "--threads" not in files["serve.sh"]
    assert "## Keep the baseline" in files["README.md"]


def test_script_and_manifest_serve_with_the_winners_flags():
    study, files = sample_study("Better"), files_of("Better")
    expected = get_engine("llamacpp").render({"ctx-size": 4096, **study.verdict.params})
    (container,) = next(yaml.safe_load_all(files["manifest.yaml"]))["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["args"][-len(expected) :] == list(expected)
    assert "  --threads 1" in files["serve.sh"]
    assert "baseline's flags" not in files["serve.sh"]


def test_what_is_served_is_spelled_as_in_the_verdict():
    study = sample_study("Better")
    trials = [replace(t, params={**t.params, "cache-type-k": "f16"}) for t in study.trials]
    files = result_files(study.task, trials, study.verdict, FACTS)
    for name in (*PROGRAM_FILES, "README.md", "verdict.yaml"):
        assert "cache-type-k" not in files[name]


def test_the_version_is_the_one_that_the_engine_said():
    study = sample_study("Better")
    trials = [replace(t, resolved={}) for t in study.trials]
    trials[0] = replace(trials[0], resolved={"build": "b99999-abc"})
    files = result_files(study.task, trials, study.verdict, FACTS)
    assert "Engine: llama.cpp b99999-abc, mode process" in files["README.md"]
    trials[0] = replace(trials[0], resolved={})
    files = result_files(study.task, trials, study.verdict, FACTS)
    assert f"Engine: llama.cpp {get_engine('llamacpp').version}" in files["README.md"]


def test_the_numbers_agree_with_the_verdict():
    study = sample_study("Better")
    (row,) = re.findall(r"\| output tok/s \|.*\|", files_of("Better")["README.md"])
    change = row.split(" | ")[3]
    assert change == percent(study.verdict.gain.point)


def test_every_file_is_valid_in_its_own_language(sample):
    _, files = sample
    assert yaml.safe_load(files["verdict.yaml"])["kind"] == "Verdict"
    if "serve.sh" in files:
        assert len(list(yaml.safe_load_all(files["manifest.yaml"]))) == 2
        done = subprocess.run(["sh", "-n"], input=files["serve.sh"], text=True, timeout=20)
        assert done.returncode == 0


def test_the_same_study_gives_the_same_files():
    study = sample_study("one")
    again = result_files(study.task, list(study.trials), study.verdict, dict(FACTS))
    assert again == files_of("one")


def test_the_model_is_served_from_where_the_study_did():
    study = sample_study("Better")
    engine = get_engine("llamacpp")
    path = "/home/somebody/models/smollm2-135m-q4_1.gguf"
    trials = [
        replace(t, engine_args=("--model", path, *_address(), *engine.render(_args(t))))
        for t in study.trials
    ]
    files = result_files(study.task, trials, study.verdict, FACTS)
    assert f"SERVE_MODEL={path}" in files["serve.sh"]
    assert f"--model {path}" in files["report.html"]
    assert '"/models/smollm2-135m-q4_1.gguf"' in files["manifest.yaml"]


def _address():
    return "--host", "127.0.0.1", "--port", "43210"


def _args(trial):
    return {"ctx-size": 4096, **trial.params}


def test_the_verdict_file_has_a_fixed_form():
    found = yaml.safe_load(files_of("Better")["verdict.yaml"])
    assert list(found) == [
        *("apiVersion", "kind", "metadata", "verdict", "summary", "params", "engine", "objective"),
        *("gain", "flags", "margins", "runs", "baselineRuns", "finalists", "nearest", "reasons"),
    ]
    assert found["verdict"] == "Better"
    assert found["metadata"]["ended"].endswith("+00:00")
    assert found["params"]["threads"] == 1
    assert set(found["gain"]) == {"point", "low", "high"}
    assert set(found["flags"][0]) == {"flag", "value", "baseline", "isKept", "cost"}
    assert found["engine"]["args"][:2] == ["--model", "models/smollm2-135m-q4_1.gguf"]


def test_names_of_flags_and_reasons_stay_as_they_are_in_the_verdict_file():
    study = sample_study("one")
    verdict = Verdict(
        VerdictKind.INCONCLUSIVE, "x", {"a_b": "on", "c-d": 1e-5}, reasons={"Out_x": 1}
    )
    text = result_files(study.task, study.trials, verdict, {})["verdict.yaml"]
    found = yaml.safe_load(text)
    assert found["params"] == {"a_b": "on", "c-d": 1e-5}
    assert found["reasons"] == {"Out_x": 1}


def test_the_readme_has_the_verdict_the_numbers_and_the_command():
    text = files_of("Better")["README.md"]
    assert text.startswith("# smollm2-chat: Better\n\n**Better:** threads=1")
    assert "| objective | baseline | winner | change |" in text
    assert "```sh\nllama-server \\\n" in text


def test_tables_of_the_readme_have_as_many_cells_in_every_row(sample):
    for block in re.findall(r"(?:^\|.*\n)+", sample[1]["README.md"], re.M):
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()}
        assert len(widths) == 1


def test_markup_in_a_task_is_only_text_in_the_readme():
    task = sample_task(description="<b>x</b> [a](b) | `c`")
    trials = run_study(task)[:1]
    text = result_files(task, trials, verdict_of(task, trials), {})["README.md"]
    assert "\\<b\\>x\\</b\\> \\[a\\](b) \\| \\`c\\`" in text


def test_a_flags_value_stays_in_its_cell_of_the_readme():
    study = sample_study("Better")
    flag = replace(study.verdict.flags[0], value="a|b")
    verdict = replace(study.verdict, flags=(flag,))
    text = result_files(study.task, study.trials, verdict, {})["README.md"]
    assert "| batch-size | default | a\\|b |" in text


def test_no_file_holds_a_secret():
    task = sample_task(
        engine={
            "name": "llamacpp",
            "args": {"api-key": "sk-0123456789"},
            "env": {"HF_TOKEN": "hf_abcdefgh"},
        }
    )
    trials = run_study(task)
    trials[1] = replace(trials[1], message="refused sk-0123456789")
    for text in result_files(task, trials, verdict_of(task, trials), {"k": "hf_abcdefgh"}).values():
        assert "sk-0123456789" not in text
        assert "hf_abcdefgh" not in text
