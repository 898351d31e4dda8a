"""Threads that use one model at once never see each other's changes."""

import sys
import threading
import time
from typing import NamedTuple

import numpy as np
import pytest
import torch

from rome_widgets import CausalTracer, Noise
from tests.helpers import tiny
from tests.helpers.counts import THREADED_RUNS
from tests.helpers.gates import write_gate
from tests.helpers.library_hooks import as_of_a_library


class Inside(NamedTuple):
    """One call of a block: whose it was, and when it began and ended."""

    thread: str
    begin: float
    end: float


@pytest.fixture
def often_switched():
    """Threads take turns a hundred times as often as Python lets them by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


def test_two_tracers_and_a_users_forward_on_one_model_never_mix(often_switched):
    """Whole traces and plain passes in three threads, each right to the bit.

    That shows something only if threads are inside the model's blocks at the same time, so the
    test's own hooks note when each block call begins and ends, and in whose thread.
    """
    lm = tiny.tiny_lm("gpt2", scale=40)
    ids = torch.tensor([[3, 14, 15, 9, 26, 5, 8]])

    def trace(subject):
        tracer = CausalTracer(lm, tiny.PROMPT, subject, noise=Noise.absolute(1.0), samples=2)
        return tracer.trace(["mlp"]).scores["mlp"]

    def plain():
        with torch.no_grad():
            return lm.model(ids).logits.numpy()

    jobs = {"first": lambda: trace("w14 w15"), "second": lambda: trace("w26"), "user": plain}
    alone = {name: job() for name, job in jobs.items()}
    calls, handles = note_calls(lm.model.transformer.h)
    try:
        runs, wrong = run_together(jobs, alone)
    finally:
        for handle in handles:
            handle.remove()

    overlaps = count_overlaps(calls)
    write_gate("threads", {"runs": runs, "wrong": len(wrong), "overlapping block calls": overlaps})
    assert wrong == []
    assert min(runs.values()) >= THREADED_RUNS
    assert len(overlaps) == 3
    assert min(overlaps.values()) >= THREADED_RUNS


def test_two_tracers_share_eval_mode(often_switched):
    """A model in training mode drops values at random; no trace does, and the mode stays."""
    lm = tiny.tiny_lm("gpt2", scale=40)
    lm.model.train()

    def trace(subject):
        tracer = CausalTracer(lm, tiny.PROMPT, subject, noise=Noise.absolute(1.0), samples=2)
        return tracer.trace(["mlp"]).scores["mlp"]

    jobs = {"first": lambda: trace("w14 w15"), "second": lambda: trace("w26")}
    _, wrong = run_together(jobs, {name: job() for name, job in jobs.items()})
    assert wrong == []
    assert all(module.training for module in lm.model.modules())
    lm.model.eval()


def note_calls(blocks):
    """The list that fills with an `Inside` per block call, and the handles of the hooks."""
    calls, open_calls = [], threading.local()

    def begins(module, args):
        open_calls.begin = time.perf_counter()

    def ends(module, args, output):
        name = threading.current_thread().name
        calls.append(Inside(name, open_calls.begin, time.perf_counter()))

    handles = [block.register_forward_pre_hook(as_of_a_library(begins)) for block in blocks]
    return calls, handles + [block.register_forward_hook(as_of_a_library(ends)) for block in blocks]


def run_together(jobs, alone):
    """Each job in its own thread, again and again until all have run THREADED_RUNS times."""
    runs, wrong = dict.fromkeys(jobs, 0), []
    start = threading.Barrier(len(jobs))

    def work(name):
        start.wait()
        while not wrong and min(runs.values()) < THREADED_RUNS:
            try:
                if not np.array_equal(jobs[name](), alone[name]):
                    wrong.append((name, "another number"))
            except Exception as error:
                wrong.append((name, repr(error)))
            runs[name] += 1

    threads = [threading.Thread(target=work, args=(name,), name=name) for name in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return runs, wrong


def count_overlaps(calls):
    """Per pair of threads, how many block calls began while the other was inside one."""
    overlaps, last_end = {}, {}
    for call in sorted(calls, key=lambda call: call.begin):
        for other, end in last_end.items():
            if other != call.thread and end > call.begin:
                pair = " and ".join(sorted((other, call.thread)))
                overlaps[pair] = overlaps.get(pair, 0) + 1
        last_end[call.thread] = call.end
    return overlaps


def test_calls_after_one_another_do_not_count_as_overlaps():
    calls = [Inside("a", 0, 1), Inside("b", 2, 3), Inside("a", 4, 6), Inside("b", 5, 7)]
    assert count_overlaps(calls[:3]) == {}
    assert count_overlaps(calls) == {"a and b": 1}
