"""What the examples become on a cluster: checked in beside them, and compared.

`REGENERATE=1 pytest tests/workflows/test_rendered_examples.py` accepts what is rendered now.
"""

import os
from pathlib import Path

import pytest

from inference_autotuner.ui.rendering import rendered
from inference_autotuner.workflows.taskfiles import read_task

EXAMPLES = Path(__file__).parents[2] / "examples"
TASKS = ["one-node-cluster/kubernetes.yaml", "one-node-cluster/ome.yaml", "sglang-chat/task.yaml"]


@pytest.mark.parametrize("name", TASKS)
def test_an_example_renders_as_it_is_checked_in(name: str) -> None:
    path = EXAMPLES / name
    expected = path.parent / "expected" / path.name
    text = rendered(read_task(path).task, None, None)
    if os.environ.get("REGENERATE"):
        expected.parent.mkdir(exist_ok=True)
        expected.write_text(text, "utf-8")
    assert text == expected.read_text("utf-8")
