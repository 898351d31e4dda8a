"""A sweep of facts in shared calls against traces of the same facts, one after the other.

    python -m benchmarks.sweep [--quick]

A ratio of process-CPU time in one thread, on the bundled model with ten draws: the three grids of
50 of its facts. Both ways run in turn, a batch of facts at a time, and every cell must agree. Where
calls are bound by launches, as those of a small model on a GPU, the ratio is another.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

import numpy as np
import torch

import rome_widgets as rw
from benchmarks import report
from benchmarks.trace import cpu_seconds
from rome_widgets.evaluation.sweep import MOST_FACTS

WANTED, FACTS, APART = 3.0, 50, 1e-5
"""Least ratio, facts, and by how much a cell may differ."""


def facts_of_all_relations(n_facts: int) -> list[Any]:
    """Facts spread over all that the bundled model knows."""
    records = rw.bundled.facts()
    return records[:: len(records) // n_facts][:n_facts]


def compare(lm: rw.LanguageModel, facts: list[Any], samples: int) -> tuple[float, float]:
    """CPU seconds of the sweep of some facts, and of their traces one after the other.

    Raises:
        AssertionError: They do not agree.
    """
    options = {"samples": samples, "progress": False}
    swept, found = cpu_seconds(lambda: rw.sweep(lm, facts, known_only=False, **options))
    alone, traces = cpu_seconds(lambda: [rw.trace(lm, fact, **options) for fact in facts])
    for fact, trace in zip(found.traced, traces, strict=True):
        for kind, grid in trace.scores.items():
            apart = float(np.abs(fact.scores[kind] - grid).max())
            assert apart <= APART, f"{fact!r}: {kind} is {apart:g} apart"
    return swept, alone


def main(arguments: list[str] | None = None) -> int:
    """Measure; 1 where the ratio is less than wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few facts, nothing written")
    quick = parser.parse_args(arguments).quick
    torch.set_num_threads(1)
    lm = rw.load(device="cpu")
    facts = facts_of_all_relations(4 if quick else FACTS)
    compare(lm, facts[:1], 2)  # a warm-up
    swept = alone = 0.0
    for first in range(0, len(facts), MOST_FACTS):
        some = facts[first : first + MOST_FACTS]
        ours, theirs = compare(lm, some, 2 if quick else 10)
        swept, alone = swept + ours, alone + theirs
        print(f"{len(some)} facts: {ours:.2f} s together, {theirs:.2f} s one after the other")
    ratio = alone / swept
    print(f"ratio {ratio:.2f}; {report.verdict(ratio, WANTED, at_least=True)}")
    print(f"1,000 facts: {1000 * swept / len(facts):.0f} s of one thread")
    if not quick:
        figures = {
            "facts": len(facts),
            "seconds together": swept,
            "seconds one after the other": alone,
            "ratio": ratio,
            "wanted ratio": WANTED,
        }
        print(report.write("sweep", report.cpu(1), figures))
    return int(ratio < WANTED)


if __name__ == "__main__":
    sys.exit(main())
