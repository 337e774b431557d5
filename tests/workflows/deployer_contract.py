"""What every deployer must do. A new one gives one fixture."""

import json
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from inference_autotuner.optimizer.errors import Blame, DeployError, Failure, Reason
from inference_autotuner.workflows.deployer import Deployer, Order, Server
from tests.workflows.timing import soon, until


@dataclass
class Site:
    """A deployer and orders for it.

    Attributes:
        deployer: The one that is tested.
        order: Makes an order from flags of the fake engine, and fields of the order.
        leftovers: Names everything of ours that is still there.
        heard: Lines of engines' logs.
        roomy: Trials that were given what they hold.
    """

    deployer: Deployer
    order: Callable[..., Order]
    leftovers: Callable[[], list[str]]
    heard: list[str] = field(default_factory=list)
    roomy: list[str] = field(default_factory=list)

    def deploy(self, flags: Mapping[str, Any] | None = None, **fields: Any) -> Server | Failure:
        order = self.order(flags or {}, **fields)
        return self.deployer.deploy(
            order,
            on_line=self.heard.append,
            on_room=lambda: self.roomy.append(order.trial),
            is_cancelled=lambda: False,
        )


def ask(server: Server, path: str = "/v1/completions") -> Any:
    """What a server answers."""
    body = json.dumps({"model": server.served_name, "prompt": "a", "max_tokens": 2}).encode()
    request = urllib.request.Request(server.url + path, body if "completions" in path else None)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)


def _is_refused(server: Server) -> bool:
    try:
        ask(server, "/health")
    except urllib.error.URLError:
        return True
    return False


class DeployerContract:
    """Subclasses have a fixture `site`, which checks at its end that nothing is left."""

    def test_a_server_completes_at_its_url_under_its_name(self, site: Site) -> None:
        server = site.deploy({})
        assert isinstance(server, Server)
        assert ask(server)["choices"]
        assert not server.url.endswith("/v1")
        assert len(site.roomy) == 1

    def test_a_server_runs_with_the_flags_of_its_order(self, site: Site) -> None:
        server = site.deploy({"loading": 0.2, "chat-only": True})
        assert isinstance(server, Server)
        assert {"--loading", "0.2", "--chat-only"} <= set(server.engine_args)

    def test_what_the_server_says_of_itself_is_told(self, site: Site) -> None:
        server = site.deploy({})
        assert isinstance(server, Server)
        assert server.resolved == {"model": "org/model", "owner": "s-h0/t-0001", "state": "serving"}

    def test_a_server_that_says_nothing_of_itself_serves_all_the_same(self, site: Site) -> None:
        server = site.deploy({"no-props": True})
        assert isinstance(server, Server)
        assert server.resolved == {"state": "serving"}

    def test_two_servers_run_beside_each_other(self, site: Site) -> None:
        first, second = site.deploy({}, trial="t-0001"), site.deploy({}, trial="t-0002")
        assert isinstance(first, Server)
        assert isinstance(second, Server)
        site.deployer.release("s-h0", "t-0001")
        assert _is_refused(first)
        assert ask(second)["choices"]

    def test_a_server_lives_from_its_deployment_to_its_release(self, site: Site) -> None:
        order = site.order({})
        assert not site.deployer.is_alive(order)
        site.deploy({})
        assert site.deployer.is_alive(order)
        site.deployer.release(order.study, order.trial)
        assert not site.deployer.is_alive(order)

    def test_releasing_leaves_nothing_however_often(self, site: Site) -> None:
        server = site.deploy({})
        assert isinstance(server, Server)
        site.deployer.release("s-h0", "t-0001")
        assert site.leftovers() == []
        site.deployer.release("s-h0", "t-0001")
        site.deployer.release("s-h0", "t-9999")
        assert _is_refused(server)

    def test_an_order_that_is_deployed_again_gets_a_fresh_server(self, site: Site) -> None:
        site.deploy({"die-after": 100})
        again = site.deploy({})
        assert isinstance(again, Server)
        assert "--die-after" not in again.engine_args
        site.deployer.release("s-h0", "t-0001")
        assert site.leftovers() == []

    def test_params_that_cannot_run_are_told_apart_by_the_log(self, site: Site) -> None:
        failure = site.deploy({"say": "torch: CUDA out of memory", "exit": 1})
        assert isinstance(failure, Failure)
        assert (failure.blame, failure.reason) == (Blame.PARAMS, Reason.OUT_OF_MEMORY)
        assert site.leftovers() == []
        assert "CUDA out of memory" in site.deployer.log_tail(site.order({}))

    def test_an_exit_without_a_word_is_a_crash(self, site: Site) -> None:
        failure = site.deploy({"exit": 3})
        assert isinstance(failure, Failure)
        assert (failure.blame, failure.reason) == (Blame.PARAMS, Reason.CRASHED)
        assert "3" in failure.message

    def test_a_server_that_never_gets_ready_says_what_it_did_last(self, site: Site) -> None:
        failure = site.deploy({"loading": 600, "say": "loading layer 7"}, ready_timeout_s=1)
        assert isinstance(failure, Failure)
        assert (failure.blame, failure.reason) == (Blame.PARAMS, Reason.NEVER_READY)
        assert "503" in failure.message
        assert "its log ends: serving" in failure.message
        assert site.leftovers() == []

    def test_a_server_that_hangs_every_request_is_never_ready(self, site: Site) -> None:
        failure = site.deploy({"hang": True}, ready_timeout_s=1)
        assert isinstance(failure, Failure)
        assert failure.reason is Reason.NEVER_READY
        assert site.leftovers() == []

    def test_a_server_that_dies_under_load_explains_itself(self, site: Site) -> None:
        server = site.deploy({"die-after": 2, "say": "I have had enough"})
        assert isinstance(server, Server)
        ask(server)
        order = site.order({})
        until(lambda: not site.deployer.is_alive(order))
        failure = site.deployer.failure(order)
        assert failure.reason is Reason.CRASHED_UNDER_LOAD
        assert failure.message.startswith("it ended with exit code 7: I have had enough")
        site.deployer.release(order.study, order.trial)
        assert site.deployer.failure(order) == failure
        assert site.leftovers() == []

    def test_a_cancelled_deployment_is_interrupted_and_leaves_nothing(self, site: Site) -> None:
        order = site.order({"loading": 600})
        with pytest.raises(DeployError) as caught:
            site.deployer.deploy(
                order,
                on_line=site.heard.append,
                on_room=lambda: None,
                is_cancelled=soon(0.5),
            )
        assert caught.value.reason is Reason.INTERRUPTED
        assert site.leftovers() == []

    def test_a_missing_model_stops_the_study_before_anything_starts(self, site: Site) -> None:
        failure = site.deploy({}, model="./missing.gguf")
        assert isinstance(failure, Failure)
        assert (failure.blame, failure.reason) == (Blame.TASK, Reason.MODEL_NOT_FOUND)
        assert site.deployer.log_tail(site.order({})) == ""

    def test_a_log_is_heard_and_its_end_is_kept(self, site: Site) -> None:
        order = site.order({})
        assert site.deployer.log_tail(order) == ""
        site.deploy({"say": "hello"})
        until(lambda: "hello" in site.heard)
        site.deployer.release(order.study, order.trial)
        assert "hello" in site.deployer.log_tail(order)

    def test_a_log_tail_is_short(self, site: Site) -> None:
        site.deploy({"flood": 1})
        tail = site.deployer.log_tail(site.order({}))
        assert len(tail.encode()) <= 4096
        assert tail.rstrip().endswith("serving")

    def test_a_sweep_touches_no_server_of_a_living_tuner(self, site: Site) -> None:
        server = site.deploy({})
        assert isinstance(server, Server)
        assert site.deployer.sweep(None) == []
        assert site.deployer.sweep("another-h0") == []
        assert ask(server)["choices"]

    def test_a_sweep_of_its_own_study_releases_its_servers(self, site: Site) -> None:
        site.deploy({})
        site.deployer.sweep("s-h0")
        assert site.leftovers() == []

    def test_trials_in_threads_do_not_disturb_each_other(self, site: Site) -> None:
        found: list[Server | Failure] = []

        def trial(name: str) -> None:
            for _ in range(2):
                found.append(site.deploy({}, trial=name))
                site.deployer.release("s-h0", name)

        threads = [threading.Thread(target=trial, args=(f"t-{number:04d}",)) for number in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [type(each) for each in found] == [Server] * 6
        assert site.leftovers() == []
