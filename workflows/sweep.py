"""Ends what tuners left behind: their processes by mark, then their lease files."""

from collections.abc import Callable, Iterable

from inference_autotuner.workflows import processes
from inference_autotuner.workflows.leases import Lease, read_leases, remove_lease
from inference_autotuner.workflows.marks import Mark, marked_processes
from inference_autotuner.workflows.processes import Identity

GRACE_S = 2.0
PATIENCE_S = 20.0


def sweep(study: str | None = None, *, dead: Identity | None = None) -> list[str]:
    """Removes what no living tuner answers for.

    Args:
        study: Only of this study; None for all.
        dead: A tuner that counts as gone although it may still run: it said so.

    Returns:
        What was removed, one line each.

    Raises:
        UnkillableError: A process outlives SIGKILL. Its lease stays, for the next sweep.
    """

    def is_wanted(owner_study: str, is_gone: bool) -> bool:
        return is_gone and study in (None, owner_study)

    def wants(mark: Mark) -> bool:
        is_gone = mark.tuner == dead or not processes.is_running(mark.tuner)
        return is_wanted(mark.study, is_gone)

    ended = end_marked(wants, grace_s=GRACE_S)
    removed = _describe(ended)
    for lease in read_leases():
        if is_wanted(lease.study, lease.tuner == dead or lease.is_left_behind):
            remove_lease(lease)
            removed.append(f"lease of {lease.owner} ({_server(lease)})")
    return removed


def end_marked(
    wants: Callable[[Mark], bool], *, roots: Iterable[Identity] = (), grace_s: float
) -> dict[Identity, str]:
    """Ends every process whose mark is wanted, the children of those, and the families of `roots`.

    Returns:
        Each process that was ended, with the trial that owned it; empty for one without a mark.

    Raises:
        UnkillableError: Something outlives SIGKILL.
    """
    owners: dict[Identity, str] = {}
    spared = processes.ancestors()

    def find() -> set[Identity]:
        marked = {who: mark.owner for who, mark in marked_processes().items() if wants(mark)}
        owners.update(marked)
        found = set(marked)
        for root in (*marked, *roots):
            found |= processes.family(root)
        return {who for who in found if who.pid not in spared}

    ended = processes.end(find, grace_s=grace_s, patience_s=PATIENCE_S)
    return {who: owners.get(who, "") for who in ended}


def _describe(ended: dict[Identity, str]) -> list[str]:
    by_owner: dict[str, list[str]] = {}
    for who, owner in sorted(ended.items()):
        by_owner.setdefault(owner, []).append(str(who.pid))
    return [
        f"{'process' if len(pids) == 1 else 'processes'} {', '.join(pids)}"
        f"{f' of {owner}' if owner else ''}"
        for owner, pids in by_owner.items()
    ]


def _server(lease: Lease) -> str:
    if not lease.machine:
        return "damaged"
    return f"process {lease.engine.pid}, port {lease.port}" if lease.engine else "never started"
