"""How much less a trace costs than the naive way: ratios of process-CPU time, one thread.

    python -m benchmarks.trace [--quick] [--growth]

The three grids are run whole our way. Of the naive way single cells are measured in between,
while our grids are under way, and the median of each kind is taken for all cells of its grid: the
naive grid is extrapolated. Every repetition has a prompt and a noise of its own. The measured
cells must agree with the grid.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch

from benchmarks import jobs, naive, report
from benchmarks.jobs import KINDS, Cell, Job, Shape

AGREEMENT = 1e-6
"""Largest difference of a probability between the two ways."""
WAYS = {"published": naive.Published, "cheaper": naive.Cheaper}


def cpu_seconds(call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """CPU seconds of this process that a call takes, and what it returns."""
    start = time.process_time()
    result = call(*arguments)
    return time.process_time() - start, result


@dataclass
class Interleaved:
    """Naive cells, measured while our grids are under way: call it as their progress."""

    job: Job
    cells: list[Cell]
    seconds: dict[tuple[str, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    """CPU seconds by way and kind."""
    distributions: dict[Cell, torch.Tensor] = field(default_factory=dict)
    """`[vocab]` per cell, the published way."""
    own: float = 0.0
    """CPU seconds spent here, which are not ours."""

    def __post_init__(self) -> None:
        self.ways = {name: self.job.naive(way) for name, way in WAYS.items()}
        self._left = list(self.cells)

    def __call__(self, progress: Any) -> None:
        """Measure as large a share of the cells as `progress` is of the grids."""
        self.measure(round(len(self.cells) * (1 - progress.done / progress.total)))

    def measure(self, leave: int = 0) -> None:
        """Measure until `leave` cells are left."""
        start = time.process_time()
        while len(self._left) > leave:
            cell = self._left.pop()
            for name, way in self.ways.items():
                spent, result = cpu_seconds(way.cell, self.job.states(cell))
                self.seconds[name, cell.kind].append(spent)
                if name == "published":
                    self.distributions[cell] = result
        self.own += time.process_time() - start

    def whole(self, way: str, kinds: Iterable[str] = KINDS) -> float:
        """CPU seconds of whole grids the naive way, extrapolated."""
        return self.job.cells_per_kind * sum(
            statistics.median(self.seconds[way, kind]) for kind in kinds
        )


def grid_ratio(job: Job, per_kind: int) -> dict[str, float]:
    """One repetition: our three grids against the naive ones, and how far they differ."""
    naive_cells = Interleaved(job, list(job.cells(per_kind)))
    ours, (tracer, trace) = cpu_seconds(_whole_trace, job, naive_cells)
    ours -= naive_cells.own
    naive_cells.measure()
    differences = [
        abs(float(distribution[tracer.answer_id]) - trace.scores[cell.kind][cell.pos, cell.layer])
        for cell, distribution in naive_cells.distributions.items()
    ]
    published, cheaper = (naive_cells.whole(way) for way in WAYS)
    return {
        "ratio": published / ours,
        "ratio to the cheaper way": cheaper / ours,
        "our CPU seconds": ours,
        "naive CPU seconds, extrapolated": published,
        "naive cells measured": len(naive_cells.cells),
        "largest difference": max(differences),
    }


def _whole_trace(job: Job, progress: Callable[[Any], None]) -> tuple[Any, Any]:
    tracer = job.tracer()
    return tracer, tracer.trace(KINDS, progress=progress)


def grid_gate(shape: Shape, span: tuple[int, int], counts: Counts) -> dict[str, Any]:
    """The median ratio over the repetitions, for one shape and place of the subject."""
    lm = jobs.make_lm(shape)
    runs = []
    for seed in range(counts.repetitions):
        runs.append(grid_ratio(Job(lm, span=span, seed=seed), counts.cells))
        print(f"   {_in_words(runs[-1])}", flush=True)
    worst = max(run["largest difference"] for run in runs)
    assert worst <= AGREEMENT, f"the two ways differ by {worst:.1e}"
    return {"median": statistics.median(run["ratio"] for run in runs), "runs": runs}


def click_gate(shape: Shape, pos: int, layer: int, counts: Counts) -> dict[str, Any]:
    """One restored state, on runs that are kept, against one naive forward pass.

    Each click is on a tracer of its own, so that nothing is remembered from one to the next.
    """
    lm = jobs.make_lm(shape)
    cell = Cell(pos, layer, "hidden")
    runs = []
    for seed in range(counts.clicks):
        job = Job(lm, seed=seed)
        tracer, ways = job.tracer(), {name: job.naive(way) for name, way in WAYS.items()}
        seconds = {name: cpu_seconds(way.cell, job.states(cell)) for name, way in ways.items()}
        ours, restoration = cpu_seconds(tracer.restore, [cell])
        wanted = float(seconds["published"][1][tracer.answer_id])
        assert abs(restoration.probability - wanted) <= AGREEMENT
        runs.append({name: spent / ours for name, (spent, _) in seconds.items()})
    ratios = [run["published"] for run in runs]
    cheaper = [run["cheaper"] for run in runs]
    print(f"   {', '.join(f'{ratio:.2f}' for ratio in ratios)}", flush=True)
    return {
        "median": statistics.median(ratios),
        "ratio to the cheaper way": statistics.median(cheaper),
        "runs": ratios,
    }


def growth(counts: Counts) -> dict[str, Any]:
    """Ratios and costs over length and depth, on a narrow shape; one run each."""
    figures = {}
    places = [(12, length) for length in (8, 16, 32, 64)]
    places += [(n_layers, 12) for n_layers in (6, 12, 24, 48)]
    for n_layers, length in places:
        lm = jobs.make_lm(Shape(n_layers, 256, 4, vocabulary=8192))
        name = f"{n_layers} layers, {length} tokens"
        figures[name] = grid_ratio(Job(lm, length=length), counts.cells)
        print(f"   {name}: {_in_words(figures[name])}", flush=True)
    return figures


def _in_words(run: dict[str, float]) -> str:
    return (
        f"{run['ratio']:.2f}x (cheaper naive way {run['ratio to the cheaper way']:.2f}x), "
        f"ours {run['our CPU seconds']:.1f} s, "
        f"naive {run['naive CPU seconds, extrapolated']:.1f} s from "
        f"{run['naive cells measured']:.0f} cells, differ by {run['largest difference']:.1e}"
    )


@dataclass(frozen=True)
class Counts:
    """How much is measured."""

    repetitions: int
    cells: int
    """Naive cells per kind and repetition."""
    clicks: int


FULL, QUICK = Counts(3, 6, 9), Counts(1, 2, 3)

GATES: dict[str, tuple[float, Callable[[Counts], dict[str, Any]]]] = {
    "grids, 6 layers, subject at 1-4": (11, lambda n: grid_gate(jobs.SIX_LAYERS, (1, 5), n)),
    "click, 12 layers, last subject token, middle layer": (
        3.5,
        lambda n: click_gate(jobs.GPT2_SMALL, 4, 6, n),
    ),
    "click, 12 layers, last token, three quarters up": (
        8,
        lambda n: click_gate(jobs.GPT2_SMALL, 11, 9, n),
    ),
    "grids, 12 layers, subject at 5-8": (11, lambda n: grid_gate(jobs.GPT2_SMALL, (5, 9), n)),
    "grids, 12 layers, subject at 1-4": (5.3, lambda n: grid_gate(jobs.GPT2_SMALL, (1, 5), n)),
}
"""Name, smallest ratio that is wanted, and what measures it."""


def main(arguments: list[str] | None = None) -> int:
    """Measure every gate; 1 where one was missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, nothing written")
    parser.add_argument("--growth", action="store_true", help="also over length and depth")
    parser.add_argument("--only", default="", help="gates whose name has this in it")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    counts = QUICK if options.quick else FULL
    figures: dict[str, Any] = {}
    missed = False
    for name, (wanted, measure) in GATES.items():
        if options.only not in name:
            continue
        print(f"{name}:", flush=True)
        gate = measure(counts)
        print(f"   median {gate['median']:.2f}; {_verdict(gate, wanted)}", flush=True)
        missed |= gate["median"] < wanted
        figures[name] = {"wanted": wanted, **gate}
    if options.growth:
        print("growth, 256 wide, three grids, window 10:", flush=True)
        figures["growth"] = growth(counts)
    if not options.quick and not options.only:
        print(report.write("trace", report.cpu(), {"counts": vars(counts), **figures}))
    return int(missed)


def _verdict(gate: dict[str, Any], wanted: float) -> str:
    return report.verdict(gate["median"], wanted, at_least=True)


if __name__ == "__main__":
    sys.exit(main())
