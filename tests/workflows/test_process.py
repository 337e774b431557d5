import errno
import json
import os
import shlex
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from inference_autotuner.optimizer.errors import Blame, DeployError, Failure, Reason, StudyError
from inference_autotuner.workflows import engine_process, gpus, processes, warden
from inference_autotuner.workflows.deployer import Server
from inference_autotuner.workflows.engine_log import read_text
from inference_autotuner.workflows.engine_process import EngineProcess
from inference_autotuner.workflows.leases import Lease, read_leases
from inference_autotuner.workflows.marks import marked_processes
from inference_autotuner.workflows.ports import Port, reserve_port
from inference_autotuner.workflows.process import ProcessDeployer
from inference_autotuner.workflows.state import trial_folder
from tests.workflows.deployer_contract import DeployerContract, Site, ask
from tests.workflows.fake_engine import COMMAND, FAKE, make_order
from tests.workflows.timing import until


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setenv("AUTOTUNER_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("AUTOTUNER_GPUS", raising=False)
    monkeypatch.setattr(warden, "watch", lambda: None)
    deployer = ProcessDeployer()

    def order(flags: dict[str, Any], **fields: Any) -> Any:
        return make_order(flags, base=tmp_path, **fields)

    yield Site(deployer, order, _leftovers)
    deployer.sweep("s-h0")
    assert _leftovers() == []


def _leftovers() -> list[str]:
    found = [f"process {who.pid} of {mark.owner}" for who, mark in marked_processes().items()]
    threads = [t.name for t in threading.enumerate() if t.name == "engine-log"]
    return found + [lease.path.name for lease in read_leases()] + threads


def _helper_of(site: Site) -> int:
    until(lambda: any(line.startswith("helper ") for line in site.heard))
    return int(next(line for line in site.heard if line.startswith("helper ")).split()[1])


class TestProcessDeployer(DeployerContract):
    """The deployer for this machine is one."""


def test_a_server_that_ignores_sigterm_is_killed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_process, "_GRACE_S", 0.2)
    site.deploy({"ignore-term": True})
    site.deployer.release("s-h0", "t-0001")
    assert _leftovers() == []


def test_a_server_with_open_requests_is_released(site: Site) -> None:
    server = site.deploy({"hang-after": 1})
    assert isinstance(server, Server)
    asking = threading.Thread(target=_ask_in_vain, args=(server,))
    asking.start()
    site.deployer.release("s-h0", "t-0001")
    asking.join()
    assert _leftovers() == []


def _ask_in_vain(server: Server) -> None:
    with pytest.raises(OSError):  # noqa: PT011 -- reset, refused or cut off, as it happens
        ask(server)


@pytest.mark.parametrize("helper", ["session", "child"])
def test_helpers_that_left_the_group_or_lost_the_mark_go_with_their_server(
    site: Site, helper: str
) -> None:
    site.deploy({"helper": helper})
    pid = _helper_of(site)
    site.deployer.release("s-h0", "t-0001")
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_helpers_of_a_server_that_was_killed_go_at_its_release(site: Site) -> None:
    site.deploy({"helper": "session"})
    order, pid = site.order({}), _helper_of(site)
    os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
    until(lambda: not site.deployer.is_alive(order))
    failure = site.deployer.failure(order)
    assert (failure.blame, failure.reason) == (Blame.WORLD, Reason.HOST_OUT_OF_MEMORY)
    site.deployer.release("s-h0", "t-0001")
    assert _leftovers() == []


def test_a_foreign_server_on_our_port_is_never_measured(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = reserve_port()
    foreign = subprocess.Popen([*COMMAND, "--port", str(port.number)], stdout=subprocess.PIPE)
    assert foreign.stdout
    foreign.stdout.readline()
    monkeypatch.setattr(engine_process, "reserve_port", lambda: Port(port.number, port._lock))
    try:
        failure = site.deploy({"slow-start": 600})
        foreign_lives = foreign.poll() is None
    finally:
        foreign.kill()
        foreign.wait()
        foreign.stdout.close()
    assert isinstance(failure, Failure)
    assert (failure.blame, failure.reason) == (Blame.WORLD, Reason.PORT_IN_USE)
    assert foreign_lives


def test_a_port_that_was_taken_meanwhile_is_the_worlds_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = reserve_port()
    monkeypatch.setattr(engine_process, "reserve_port", lambda: Port(port.number, port._lock))
    with socket.create_server(("127.0.0.1", port.number)):
        failure = site.deploy({"slow-start": 600}, ready_timeout_s=1)
    assert isinstance(failure, Failure)
    assert (failure.blame, failure.reason) == (Blame.WORLD, Reason.PORT_IN_USE)


def test_the_port_can_be_listened_on_after_the_release(site: Site) -> None:
    server = site.deploy({})
    assert isinstance(server, Server)
    site.deployer.release("s-h0", "t-0001")
    with socket.create_server(("127.0.0.1", int(server.url.rpartition(":")[2]))):
        pass


def test_the_exact_command_is_written_down_without_secrets(site: Site) -> None:
    server = site.deploy({}, env={"HF_TOKEN": "hf_secret", "THREADS": "2"})
    assert isinstance(server, Server)
    path = trial_folder("s-h0", "t-0001") / "command.json"
    stored = json.loads(path.read_text())
    assert stored["command"] == [*COMMAND, *server.engine_args]
    assert stored["environment"]["THREADS"] == "2"
    assert stored["environment"]["FAKE_ENGINE"] == "yes"
    assert "hf_secret" not in path.read_text()


def test_a_lease_names_process_and_port(site: Site) -> None:
    server = site.deploy({})
    assert isinstance(server, Server)
    (lease,) = read_leases()
    assert server.url.endswith(f":{lease.port}")
    assert lease.engine in marked_processes()


def test_a_lease_is_written_before_its_process_starts(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases: list[Lease] = []
    spawn = EngineProcess._spawn

    def look_first(*arguments: Any) -> Any:
        leases.extend(read_leases())
        return spawn(*arguments)

    monkeypatch.setattr(EngineProcess, "_spawn", look_first)
    server = site.deploy({})
    assert isinstance(server, Server)
    assert [(lease.owner, lease.engine) for lease in leases] == [("s-h0/t-0001", None)]
    assert server.url.endswith(f":{leases[0].port}")


def test_a_server_has_a_session_of_its_own(site: Site) -> None:
    """What a terminal sends to the tuner's group is not for the server."""
    site.deploy({})
    (lease,) = read_leases()
    assert lease.engine
    assert os.getsid(lease.engine.pid) == lease.engine.pid


def test_a_server_that_lost_its_mark_is_released_all_the_same(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "serve.sh"
    script.write_text(f'#!/bin/sh\nexec env -i {shlex.join(COMMAND)} "$@"\n')
    script.chmod(0o755)
    assert isinstance(site.deploy({}, binary="./serve.sh"), Server)
    assert marked_processes() == {}
    (lease,) = read_leases()
    site.deployer.release("s-h0", "t-0001")
    assert lease.engine
    assert not processes.is_running(lease.engine)


def test_a_flood_in_the_log_is_no_fault_and_fills_no_disk(site: Site) -> None:
    assert isinstance(site.deploy({"flood": 30}), Server)
    log = trial_folder("s-h0", "t-0001") / "engine.log"
    until(lambda: log.stat().st_size < 10 << 20)
    assert read_text(log).rstrip().endswith("serving")


@pytest.mark.parametrize("content", [None, "", "no program\n"])
def test_a_program_that_cannot_be_run_is_the_tasks_fault(
    site: Site, tmp_path: Path, content: str | None
) -> None:
    binary = tmp_path / "serve"
    binary.write_text("#!/no/such/interpreter\n" if content is None else content)
    binary.chmod(0o755)
    failure = site.deploy({}, binary="./serve")
    assert isinstance(failure, Failure)
    assert (failure.blame, failure.reason) == (Blame.TASK, Reason.ENGINE_NOT_FOUND)
    assert str(binary) in failure.message
    assert _leftovers() == []


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.ENOSPC, Reason.DISK_FULL), (errno.ENOMEM, Reason.HOST_OUT_OF_MEMORY)],
)
def test_a_machine_that_refuses_is_the_worlds_fault(
    site: Site, monkeypatch: pytest.MonkeyPatch, number: int, reason: Reason
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(engine_process, "write_lease", refuse)
    with pytest.raises(DeployError, match=os.strerror(number)) as caught:
        site.deploy({})
    assert caught.value.reason is reason
    assert _leftovers() == []


def test_a_disk_that_fills_up_after_the_start_leaves_no_process(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, written = engine_process.write_lease, []

    def refuse_second(lease: Any) -> None:
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(lease)
        write(lease)

    monkeypatch.setattr(engine_process, "write_lease", refuse_second)
    with pytest.raises(DeployError, match="No space") as caught:
        site.deploy({})
    assert caught.value.reason is Reason.DISK_FULL
    assert _leftovers() == []


def test_an_engine_that_ends_on_a_full_disk_is_not_to_blame(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inference_autotuner.workflows.process.is_full", lambda folder: True)
    failure = site.deploy({"exit": 1})
    assert isinstance(failure, Failure)
    assert (failure.blame, failure.reason) == (Blame.WORLD, Reason.DISK_FULL)


def test_an_engine_behind_a_script_is_ours(site: Site, tmp_path: Path) -> None:
    script = tmp_path / "serve.sh"
    script.write_text(f'#!/bin/sh\n{shlex.join(COMMAND)} "$@"\necho ended\n')
    script.chmod(0o755)
    assert isinstance(site.deploy({}, binary="./serve.sh"), Server)
    assert len(marked_processes()) == 2
    site.deployer.release("s-h0", "t-0001")
    assert _leftovers() == []


def test_what_cannot_be_killed_keeps_its_lease_and_is_named(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.deploy({})
    with monkeypatch.context() as patch:
        patch.setattr(processes, "_signal", lambda *_: None)
        patch.setattr(engine_process, "_GRACE_S", 0.0)
        patch.setattr("inference_autotuner.workflows.sweep.PATIENCE_S", 0.1)
        with pytest.raises(StudyError, match=r"process \d+ .*outlives SIGKILL.*dmesg"):
            site.deployer.release("s-h0", "t-0001")
    assert len(read_leases()) == 1
    site.deployer.release("s-h0", "t-0001")
    assert _leftovers() == []


def test_a_log_that_knows_why_it_hangs_is_believed(site: Site) -> None:
    flags = {"hang": True, "say": "CUDA out of memory, waiting for more"}
    failure = site.deploy(flags, ready_timeout_s=1)
    assert isinstance(failure, Failure)
    assert failure.reason is Reason.OUT_OF_MEMORY


def test_an_engine_without_a_word_on_its_configuration_is_not_asked(site: Site) -> None:
    server = site.deploy({}, engine=replace(FAKE, config_path=None, log_values={}))
    assert isinstance(server, Server)
    assert server.resolved == {}


SMI = """#!/bin/sh
case "$1" in
*query-gpu*) printf '0, GPU-a\\n1, GPU-b\\n' ;;
*) cat "{apps}" ;;
esac
"""


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AUTOTUNER_LOCKS", str(tmp_path / "locks"))
    monkeypatch.setenv("AUTOTUNER_GPUS", "0,1")


def _devices(server: Server | Failure) -> Any:
    assert isinstance(server, Server)
    return ask(server, "/props")["environment"].get("CUDA_VISIBLE_DEVICES")


def test_parallel_servers_get_different_gpus(site: Site, two_gpus: None) -> None:
    first = site.deploy({}, trial="t-0001", gpus=1)
    second = site.deploy({}, trial="t-0002", gpus=1)
    assert (_devices(first), _devices(second)) == ("0", "1")
    assert {lease.gpus for lease in read_leases()} == {("0",), ("1",)}
    site.deployer.release("s-h0", "t-0001")
    assert _devices(site.deploy({}, trial="t-0003", gpus=1)) == "0"


def test_a_server_without_gpus_sees_none_where_there_are_some(site: Site, two_gpus: None) -> None:
    assert _devices(site.deploy({}, gpus=0)) == ""


def test_a_machine_without_gpus_sets_nothing(site: Site) -> None:
    assert _devices(site.deploy({}, gpus=4)) is None


def test_more_gpus_than_there_are_is_a_result_for_the_search(site: Site, two_gpus: None) -> None:
    failure = site.deploy({}, gpus=3)
    assert isinstance(failure, Failure)
    assert (failure.blame, failure.reason) == (Blame.PARAMS, Reason.UNSUPPORTED)
    assert "wants 3 GPUs and this machine has 2" in failure.message


def test_a_server_that_waits_for_gpus_says_so_and_can_be_cancelled(
    site: Site, two_gpus: None
) -> None:
    site.deploy({}, trial="t-0001", gpus=2)
    order = site.order({}, trial="t-0002", gpus=1)
    with pytest.raises(DeployError, match="waited for GPUs") as caught:
        site.deployer.deploy(
            order,
            on_line=site.heard.append,
            on_room=lambda: site.roomy.append("t-0002"),
            is_cancelled=lambda: any("GPUs" in line for line in site.heard),
        )
    assert caught.value.reason is Reason.INTERRUPTED
    assert "waiting for GPUs: 1 wanted, 0 of 2 free" in site.heard
    assert site.roomy == ["t-0001"]


def test_a_gpu_stays_taken_while_a_process_of_its_server_lives(
    site: Site, two_gpus: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even when the tuner's own hold on it is gone, as after its death."""
    site.deploy({}, gpus=2)
    engine = site.deployer._engines["s-h0", "t-0001"]  # type: ignore[attr-defined]
    engine._grant.release()
    assert gpus.acquire(gpus.machine_gpus(), 1, on_wait=print, is_cancelled=_at_second()) is None


def _at_second() -> Any:
    answers = iter([False, False, True, True])
    return lambda: next(answers)


def test_gpu_memory_is_given_back_before_the_release_is_over(
    site: Site, two_gpus: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(SMI.format(apps=tmp_path / "apps"))
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(engine_process, "_GPU_MEMORY_S", 0.1)
    site.deploy({}, gpus=1)
    (lease,) = read_leases()
    assert lease.engine
    (tmp_path / "apps").write_text(f"{lease.engine.pid}\n")
    with pytest.raises(StudyError, match="GPU memory"):
        site.deployer.release("s-h0", "t-0001")
    (tmp_path / "apps").write_text("")
    site.deployer.release("s-h0", "t-0001")
    assert _leftovers() == []
