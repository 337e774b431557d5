"""The engine that docs/engines.md shows keeps the contract of all engines."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inference_autotuner.optimizer import engines
from inference_autotuner.optimizer.engine import Engine, Launch, get_engine, identity
from inference_autotuner.optimizer.errors import Blame, Reason
from tests.optimizer.engines.contract import EngineContract

PAGE = Path(__file__).parents[1] / "docs" / "engines.md"
NAME = "tinyserve"
_MODULE = f"{engines.__name__}.{NAME}"


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """The page's first block of Python, as a file among the engines."""
    source = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S)
    assert source
    (tmp_path / f"{NAME}.py").write_text(source[1], encoding="utf-8")
    monkeypatch.setattr(engines, "__path__", [*engines.__path__, str(tmp_path)])
    yield get_engine(NAME)
    sys.modules.pop(_MODULE, None)
    vars(engines).pop(NAME, None)


class TestExample(EngineContract):
    @pytest.fixture
    def engine(self, engine: Engine) -> Engine:
        return engine


def test_the_example_writes_the_command_line_that_its_flags_promise(engine: Engine) -> None:
    launch = Launch("m", None, "h", 1, {"graphs": False, "graph-sizes": [1, 2], "b": 8})
    line = " ".join(engine.command_line(launch))
    assert line == "--model m --host h --port 1 --batch-size 8 --graph-sizes 1,2 --no-graphs"
    assert identity(engine, launch.args) == ("--batch-size", "8", "--no-graphs")


def test_the_example_tells_a_full_gpu_from_its_log(engine: Engine) -> None:
    failure = engine.classify("error: cache of 90.1 GB does not fit\n", 1)
    assert (failure.blame, failure.reason) == (Blame.PARAMS, Reason.OUT_OF_MEMORY)
