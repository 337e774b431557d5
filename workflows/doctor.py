"""Looks whether this machine has what a run needs; changes nothing."""

from collections.abc import Callable, Sequence

from inference_autotuner.optimizer.errors import AutotunerError
from inference_autotuner.workflows.finding import Finding, State
from inference_autotuner.workflows.installed import examine_programs
from inference_autotuner.workflows.machine import examine_machine


def examine(list_studies: Callable[[], Sequence[str]]) -> list[Finding]:
    """Everything a run rests on, one finding each.

    Args:
        list_studies: Reads the names of the studies in the storage.
    """
    return [*examine_programs(), *examine_machine(), _storage(list_studies)]


def _storage(list_studies: Callable[[], Sequence[str]]) -> Finding:
    try:
        count = len(list_studies())
    except AutotunerError as error:
        return Finding("storage", State.BAD, str(error), "mend it, or name another with --storage")
    return Finding("storage", State.OK, f"readable, {count} {'study' if count == 1 else 'studies'}")
