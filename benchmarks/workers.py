"""The throughput of two worker processes against that of one.

    python -m benchmarks.workers [MODEL] [--quick]

A ratio of wall-clock times, so nothing else may run beside it: the same sweep by a pool of one
process and by a pool of two, each with one thread and with its model loaded before, in turn. Their
results must be the same, bit for bit.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor
from statistics import median
from typing import Any

import numpy as np
import torch

import rome_widgets as rw
from benchmarks import report
from benchmarks.sweep import facts_of_all_relations
from rome_widgets.evaluation import sweep as module

WANTED, TURNS = 1.6, 3
"""Least ratio, on two cores; measurements of each pool."""
FACTS, BATCH, DRAWS = 96, 4, 3


def pool_of(n: int) -> Executor:
    """A pool of so many processes that begin anew, with one thread each."""
    spawned = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(n, spawned, torch.set_num_threads, (1,))


def compare(
    lm: rw.LanguageModel, facts: list[Any], turns: int, pool_of: Callable[[int], Executor]
) -> dict[int, list[float]]:
    """Seconds of each turn, by the number of workers.

    Raises:
        AssertionError: The results differ.
    """

    def swept(executor: Executor) -> rw.Sweep:
        options = {"samples": DRAWS, "known_only": False, "progress": False}
        return rw.sweep(lm, facts, executor=executor, **options)

    seconds: dict[int, list[float]] = {1: [], 2: []}
    with pool_of(1) as one, pool_of(2) as two:
        for pool in (one, two):
            swept(pool)  # its processes load the model
        for _ in range(turns):
            results = []
            for n, pool in ((1, one), (2, two)):
                began = time.perf_counter()
                results.append(swept(pool))
                seconds[n].append(time.perf_counter() - began)
                print(f"{n} of {len(facts)} facts: {seconds[n][-1]:.2f} s", flush=True)
            check_same(*results)
    return seconds


def check_same(left: rw.Sweep, right: rw.Sweep) -> None:
    """Whether two sweeps are the same, bit for bit."""
    for here, there in zip(left.facts, right.facts, strict=True):
        assert here.status == there.status == "traced", f"{here!r} and {there!r}"
        for kind, grid in here.scores.items():
            assert np.array_equal(grid, there.scores[kind]), f"{here!r}: {kind} differs"


def main(arguments: list[str] | None = None) -> int:
    """Measure; 1 where the ratio is less than wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="a folder; the bundled model by default")
    parser.add_argument("--quick", action="store_true", help="few facts, nothing written")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    module.MOST_FACTS = BATCH  # many batches per worker, as in a long sweep
    lm = rw.load(given.model, device="cpu")
    n_facts = 8 if given.quick else FACTS if given.model is None else 16
    facts = facts_of_all_relations(n_facts)
    seconds = compare(lm, facts, 1 if given.quick else TURNS, pool_of)
    one, two = (median(seconds[n]) for n in (1, 2))
    ratio = one / two
    print(f"ratio {ratio:.2f}; {report.verdict(ratio, WANTED, at_least=True)}")
    if not given.quick:
        name = "workers" if given.model is None else f"workers_{lm.name}"
        figures = {
            "facts": n_facts,
            "seconds of one worker": seconds[1],
            "seconds of two": seconds[2],
            "ratio of medians": ratio,
            "wanted ratio": WANTED,
        }
        print(report.write(name, report.cpu(1), figures))
    return int(ratio < WANTED)


if __name__ == "__main__":
    sys.exit(main())
