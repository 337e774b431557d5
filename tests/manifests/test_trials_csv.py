import csv
import io
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference_autotuner.manifests.trials_csv import harmless, trials_csv
from tests.samples import sample_study


def rows_of(study, trials=None):
    text = trials_csv(study.task.spec, study.trials if trials is None else trials)
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_every_trial_is_a_row_that_reads_back():
    study = sample_study("Better")
    rows = rows_of(study)
    assert [int(row["trial"]) for row in rows] == [t.number for t in study.trials]
    for row, trial in zip(rows, study.trials, strict=True):
        assert (row["kind"], row["state"]) == (trial.kind, trial.state)
        assert row["param:threads"] == str(trial.params.get("threads", ""))
        assert float(row["seconds"]) == sum(trial.spans.values())
        if trial.values:
            assert (
                float(row["objective:output_throughput_mean".removesuffix("_mean")])
                == (trial.values[0])
            )
            assert float(row["violation:ttft p99"]) == trial.violations["ttft p99"]
            assert float(row["D(100,50) @4 ttft_p99"]) > 0


def test_a_trial_without_a_score_has_its_reason():
    rows = [row for row in rows_of(sample_study("Better")) if row["state"] == "infeasible"]
    assert rows
    assert rows[0]["reason"] == "OutOfMemory"
    assert rows[0]["objective:output_throughput"] == ""


def test_without_trials_the_columns_are_there():
    text = trials_csv(sample_study("empty").task.spec, [])
    assert text.startswith("trial,kind,state,param:threads,param:parallel")
    assert text.count("\r\n") == 1


@pytest.mark.parametrize("text", ["=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "＝1"])
def test_a_formula_is_made_a_text(text):
    assert harmless(text) == f"'{text}"


@pytest.mark.parametrize("value", [-1, 0.5, "-1", "-1.5e3", "on", ""])
def test_a_number_or_a_plain_text_stays_as_it_is(value):
    assert harmless(value) == value


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_no_cell_begins_like_a_formula(text):
    shown = str(harmless(text))
    assert shown[0] not in "=@\t\r\n" or shown.startswith("'")
    assert shown in (text, f"'{text}")


def test_nasty_params_and_messages_read_back():
    study = sample_study("one")
    nasty = '=cmd|"x"\n,;'
    trial = replace(study.trials[0], params={nasty: nasty}, message=nasty)
    (row,) = rows_of(study, [trial])
    assert row["message"] == f"'{nasty}"
    assert row[f"param:{nasty}"] == f"'{nasty}"
