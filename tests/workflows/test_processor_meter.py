import os

import psutil

from inference_autotuner.workflows import processor_meter
from inference_autotuner.workflows.processor_meter import ProcessorMeter


def _work_for(seconds):
    begun = sum(psutil.Process().cpu_times()[:2])
    while sum(psutil.Process().cpu_times()[:2]) < begun + seconds:
        sum(range(10_000))


def test_a_process_that_works_takes_a_part_of_a_core(monkeypatch):
    monkeypatch.setattr(processor_meter, "SHORTEST_S", 0.05)
    meter = ProcessorMeter(os.getpid())
    meter.begin()
    _work_for(0.1)
    meter.stop()
    cores = meter.cores()
    assert cores is not None
    assert 0 < cores < os.cpu_count() + 1


def test_what_was_never_begun_or_is_gone_is_not_known():
    assert ProcessorMeter(os.getpid()).cores() is None
    gone = ProcessorMeter(2**22 + 1)
    gone.begin()
    gone.stop()
    assert gone.cores() is None
