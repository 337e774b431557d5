import base64
import hashlib
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache

import pytest

from inference_autotuner.manifests.environment import render
from inference_autotuner.manifests.report import render_report
from inference_autotuner.optimizer.trial import TrialState
from tests.manifests.pages import Page
from tests.samples import (
    FACTS,
    SAMPLES,
    run_study,
    sample_study,
    sample_task,
    steady_server,
    verdict_of,
)

EVIL = "</pre></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"


@cache
def report_of(name):
    study = sample_study(name)
    return render_report(study.task, study.trials, study.verdict, FACTS)


@pytest.fixture(scope="module", params=SAMPLES)
def sample(request):
    return sample_study(request.param), report_of(request.param)


@pytest.fixture(scope="module")
def better():
    return report_of("Better")


def test_the_samples_end_with_every_kind_of_verdict():
    for name in ("Better", "Inconclusive", "KeepCurrent", "NothingFeasible"):
        assert sample_study(name).verdict.kind == name


def test_a_baseline_that_ranges_widely_is_told_beside_the_verdict():
    task = sample_task()
    trials = run_study(task, steady_server(scatter=0.4))
    html = render_report(task, trials, verdict_of(task, trials), FACTS)
    said = re.search(r"The baseline alone ranged ([\d.]+) … ([\d.]+) output tok/s", html)
    assert said
    assert float(said[2]) > 1.3 * float(said[1])
    assert "confirm.repeats" in html


def test_a_baseline_that_is_steady_needs_no_note(sample):
    assert "The baseline alone ranged" not in sample[1]


def test_every_report_is_well_formed(sample):
    page = Page(sample[1])
    assert len(page.ids) == len(set(page.ids))
    assert page.all("html") == [{"lang": "en"}]


def test_whatever_a_report_refers_to_is_in_it(sample):
    page = Page(sample[1])
    targets = [t for _, a in page.tags for t in (a.get("aria-labelledby") or "").split()]
    targets += [a["href"][1:] for _, a in page.tags if "href" in a]
    targets += re.findall(r"url\(#([^)]+)\)", sample[1])
    assert set(targets) <= set(page.ids)


def test_a_report_fetches_nothing(sample):
    page = Page(sample[1])
    assert not re.search(r"https?://", sample[1])
    assert not [a for _, a in page.tags if "src" in a]
    assert not page.all("link")
    assert "@import" not in sample[1]


def test_the_verdict_comes_first_in_words(sample):
    study, html = sample
    shown = Page(html).text
    before = shown[: shown.index(str(study.verdict.kind) + ":", 60)]
    assert len(before.split()) < 30
    assert study.verdict.summary in shown


def test_every_trial_has_a_row_with_its_reason(sample):
    study, html = sample
    table = html[html.find('class="trials"') :]
    text = Page(html).text
    for trial in study.trials:
        assert f'data-sort="{trial.number}">{trial.number}</th>' in table
        if trial.reason:
            assert f"{trial.reason}: {trial.message}" in text


def test_headings_are_nested(sample):
    levels = [int(tag[1]) for tag, _ in Page(sample[1]).tags if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(levels, levels[1:], strict=False))


def test_every_figure_names_and_describes_itself(sample):
    page = Page(sample[1])
    for attributes in page.all("svg"):
        title, description = attributes["aria-labelledby"].split()
        assert attributes["role"] == "img"
        for part in (title, description):
            assert re.search(rf'id="{part}">[^<]{{10,}}<', sample[1])


def test_every_table_scrolls_in_its_own_region_that_the_keyboard_reaches(sample):
    page = Page(sample[1])
    regions = [a for a in page.all("div") if a.get("role") == "region"]
    assert len(regions) == len(page.all("table"))
    assert all(a["tabindex"] == "0" and a["aria-label"] for a in regions)


def test_a_report_of_a_winner_has_every_picture(better):
    names = [a["aria-labelledby"].split("-")[0] for a in Page(better).all("svg")]
    assert names == ["finalists", "tradeoff", "undo", "progress", "flags"]


def test_every_further_objective_is_drawn_against_the_first():
    names = [a["aria-labelledby"].split("-")[0] for a in Page(report_of("objectives")).all("svg")]
    assert [n for n in names if n.startswith("tradeoff")] == ["tradeoff", "tradeoff1", "tradeoff2"]


def test_a_report_without_a_measurement_has_no_picture():
    assert Page(report_of("crashes")).all("svg") == []
    assert Page(report_of("empty")).all("svg") == []


def test_a_report_of_a_winner_gives_its_command(better):
    assert "llama-server \\\n  --model models/smollm2-135m-q4_1.gguf" in Page(better).text
    assert "--threads 1" in Page(better).text


def test_where_nothing_is_feasible_the_nearest_trial_is_shown_slo_by_slo():
    text = Page(report_of("NothingFeasible")).text
    assert "What comes nearest" in text
    assert "≤ 500 ms" in text
    assert "missed by" in text
    assert "Use it" not in text


def test_less_latency_is_shown_as_good():
    html = report_of("objectives")
    assert re.search(r'class="number good" data-sort="-0\.\d+">−\d+ %', html)


def test_markup_in_whatever_people_or_engines_wrote_is_only_text():
    task = sample_task(description=EVIL, engine={"name": "llamacpp", "args": {"alias": EVIL}})
    trials = run_study(task)
    trials[2] = replace(
        trials[2],
        state=TrialState.FAILED,
        measurement=None,
        message=EVIL,
        log_tail=EVIL,
        params={"threads": EVIL},
    )
    trials[3] = replace(trials[3], params={"chat-template": EVIL}, resolved={EVIL: EVIL})
    verdict = replace(verdict_of(task, trials), summary=EVIL)
    html = render_report(task, trials, verdict, {EVIL: EVIL})
    page = Page(html)
    assert len(page.all("script")) == 1
    assert page.all("img") == []
    assert not [a for _, a in page.tags if any(name.startswith("on") for name in a)]
    assert page.text.count("<script>alert(1)</script>") >= 8


def test_the_pages_own_policy_forbids_every_script_but_ours(better):
    script = re.search(r"<script>(.*)</script>", better, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(a["content"] for a in Page(better).all("meta") if "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert f"script-src 'sha256-{digest}'" in policy


def test_a_secret_of_the_task_is_withheld_wherever_it_turns_up():
    secret = 'sk-01"23<45'
    task = sample_task(engine={"name": "llamacpp", "args": {"api-key": secret}})
    trials = run_study(task)
    trials[1] = replace(trials[1], message=f"key {secret}", log_tail=f"--api-key {secret}")
    html = render_report(task, trials, verdict_of(task, trials), {"key": secret})
    assert secret not in Page(html).text
    assert "(withheld)" in html
    assert "$SERVE_API_KEY" in html


def test_a_study_that_still_runs_says_so():
    study = sample_study("Better")
    trials = [*study.trials[:9], replace(study.trials[9], state=TrialState.RUNNING, ended_s=None)]
    trials[-1] = replace(trials[-1], measurement=None, values=(), violations={})
    html = render_report(study.task, trials, verdict_of(study.task, trials), FACTS)
    assert "The study has not ended" in html


def test_a_winner_that_may_change_answers_comes_with_a_warning():
    study = sample_study("Better")
    flag = replace(study.verdict.flags[0], flag="cache-type-k", value="q8_0", is_kept=True)
    verdict = replace(study.verdict, flags=(flag,))
    html = render_report(study.task, study.trials, verdict, FACTS)
    assert "cache-type-k may change what the model answers" in html


def test_a_broken_text_is_shown_as_far_as_it_goes():
    study = sample_study("one")
    html = render_report(study.task, study.trials, study.verdict, {"name": "half \ud800"})
    assert "half ?" in html


def test_numbers_that_are_none_do_not_break_a_report():
    study = sample_study("Better")
    trials = [replace(t, values=(float("nan"),)) if t.number in (0, 3) else t for t in study.trials]
    html = render_report(study.task, trials, verdict_of(study.task, trials), FACTS)
    Page(html)


def test_the_largest_study_is_written_down_whole():
    study = sample_study("Better")
    explored = study.trials[:16]
    trials = [replace(explored[n % 16], number=n) for n in range(300)]
    html = render_report(study.task, trials, study.verdict, FACTS)
    assert html.count('scope="row" class="number"') == 300
    assert len(html) < 1_500_000


def test_no_color_of_a_figure_is_fixed(better):
    figures = "".join(re.findall(r"<svg.*?</svg>", better, re.S))
    assert not re.search(r"#[0-9a-f]{6}\b", re.sub(r'(href|id|clip-path)="[^"]*"', "", figures))
    used = set(re.findall(r"var\((--\w+)\)", figures))
    assert used <= set(re.findall(r"(--\w+):", better))


def schemes():
    """Variables of the style sheet for light, dark and paper."""
    blocks = re.findall(r":root \{(.*?)\}", render("report.css.j2"), re.S)
    assert len(blocks) == 3
    return [dict(re.findall(r"(--\w+): (#[0-9a-f]{6})", block)) for block in blocks]


def contrast(one, other):
    """By WCAG 2: 1 to 21."""

    def luminance(color):
        channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", schemes(), ids=["light", "dark", "paper"])
def test_every_color_of_a_text_or_mark_can_be_read_on_both_grounds(scheme):
    grounds = [scheme["--page"], scheme["--panel"]]
    for name in scheme.keys() - {"--page", "--panel", "--line", "--grid"}:
        assert min(contrast(scheme[name], ground) for ground in grounds) >= 4.5, name


def test_another_process_writes_the_same_bytes():
    program = (
        "import hashlib\n"
        "from tests.manifests.test_report import report_of\n"
        "print(hashlib.sha256(report_of('Better').encode()).hexdigest())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONHASHSEED": "7"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    own = hashlib.sha256(report_of("Better").encode()).hexdigest()
    assert done.stdout.strip() == own


def test_what_writes_reports_loads_matplotlib_only_to_draw():
    program = (
        "import sys, inference_autotuner.manifests.results\nassert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
