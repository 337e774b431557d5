"""The reference page of the task file is what the models say."""

import os
from pathlib import Path

from inference_autotuner.optimizer.metrics import Metric
from inference_autotuner.optimizer.reference import EXAMPLE, task_reference
from inference_autotuner.optimizer.schema import json_schema
from inference_autotuner.optimizer.taskfile import load_task

PAGE = Path(__file__).parents[2] / "docs" / "task.md"


def test_the_page_is_written_from_the_models() -> None:
    """REGENERATE=1 writes it anew."""
    if os.environ.get("REGENERATE") == "1":
        PAGE.write_text(task_reference(), encoding="utf-8")
    assert PAGE.read_text(encoding="utf-8") == task_reference()


def test_the_example_is_a_task_without_mistakes_and_without_warnings() -> None:
    assert load_task(EXAMPLE, "example").warnings == ()


def test_every_field_and_metric_is_on_the_page() -> None:
    page = task_reference()
    for definition in json_schema()["$defs"].values():
        for name in definition.get("properties", {}):
            assert f"| `{name}` |" in page
    assert all(f"| `{metric}` |" in page for metric in Metric)


def test_every_row_of_a_table_has_its_columns() -> None:
    rows = [line for line in task_reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 50
    assert all(row.count("|") in (3, 5) for row in rows)
