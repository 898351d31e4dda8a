"""The same comparison on a GPU, in wall time: grids, clicks and memory.

    python -m benchmarks.gpu [--dtype float32 bfloat16 float16] [--model gpt2-xl gpt-j]
    python -m benchmarks.gpu --tiny          # the same path on the CPU, a few seconds

Random weights, made on the GPU. The naive grid is extrapolated from measured cells. In float32
both ways use TF32. Without a GPU this says what it would measure.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

import rome_widgets as rw
from benchmarks import jobs, report
from benchmarks.jobs import KINDS, Cell, Job, Shape

MODELS = {"gpt2-xl": jobs.GPT2_XL, "gpt-j": jobs.GPTJ}
TINY = {
    "gpt2-xl": Shape(5, 8, 2, vocabulary=99),
    "gpt-j": Shape(4, 16, 2, vocabulary=99, rotary=4),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
FLOORS = {"gpt2-xl": {"grid ratio": 30.0, "click ms": 20.0}}
CELLS_PER_KIND, GRIDS, CLICKS = 10, 3, 50


def wall(device: str, call: Callable[..., Any], *arguments: Any) -> tuple[float, Any]:
    """Wall seconds of a call, with the GPU idle before and after, and what it returns."""
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    wait()
    start = time.perf_counter()
    result = call(*arguments)
    wait()
    return time.perf_counter() - start, result


def grids(lm: rw.LanguageModel, device: str, counts: tuple[int, int]) -> dict[str, float]:
    """The three grids, whole, against naive cells taken in between; medians.

    counts: grids, and naive cells per kind over all of them.
    """
    ours, naive_cells, differences = [], [], []
    n_grids, per_kind = counts
    _whole_trace(Job(lm, seed=99))
    for seed in range(n_grids):
        job = Job(lm, seed=seed)
        naive = job.naive()
        naive.cell(job.states(Cell(1, 0, "mlp")))  # warm
        measured = {}
        for cell in job.cells(-(-per_kind // n_grids)):
            seconds, measured[cell] = wall(device, naive.cell, job.states(cell))
            naive_cells.append(seconds)
        seconds, (tracer, trace) = wall(device, _whole_trace, job)
        ours.append(seconds)
        for cell, distribution in measured.items():
            naive_score = float(distribution[tracer.answer_id])
            differences.append(abs(naive_score - trace.scores[cell.kind][cell.pos, cell.layer]))
    n_cells = len(KINDS) * job.cells_per_kind
    naive_grid = statistics.median(naive_cells) * n_cells
    return {
        "grid s": statistics.median(ours),
        "naive grid s, extrapolated": naive_grid,
        "naive cells measured": len(naive_cells),
        "grid ratio": naive_grid / statistics.median(ours),
        "largest difference": max(differences),
    }


def _whole_trace(job: Job) -> tuple[Any, Any]:
    tracer = job.tracer()
    return tracer, tracer.trace(KINDS)


def clicks(lm: rw.LanguageModel, device: str, count: int) -> dict[str, float]:
    """Median and 95th percentile of a click, each on kept runs of a prompt of its own."""
    middle, worst = [], []
    for seed in range(-3, count):  # the first three warm
        job = Job(lm, seed=seed + 1000)
        tracer = job.tracer()
        last_subject_token = (job.span[1] - 1, lm.n_layers // 2, "hidden")
        middle.append(1000 * wall(device, tracer.restore, [last_subject_token])[0])
        worst.append(1000 * wall(device, tracer.restore, [(job.span[0], 0, "hidden")])[0])
    return {
        "click ms": statistics.median(middle[3:]),
        "click p95 ms": _p95(middle[3:]),
        "worst click ms": statistics.median(worst[3:]),
        "worst click p95 ms": _p95(worst[3:]),
    }


def _p95(values: list[float]) -> float:
    return sorted(values)[math.ceil(0.95 * (len(values) - 1))]


def measure(shape: Shape, dtype: str, device: str, *, tiny: bool = False) -> dict[str, Any]:
    """Every figure of one model in one dtype."""
    lm = jobs.make_lm(shape, device=device, dtype=DTYPES[dtype])
    weights = sum(weight.nbytes for weight in lm.model.parameters())
    figures: dict[str, Any] = {"weights GiB": weights / 2**30}
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    figures |= grids(lm, device, (1, 2) if tiny else (GRIDS, CELLS_PER_KIND))
    figures |= clicks(lm, device, 3 if tiny else CLICKS)
    if device == "cuda":
        figures["peak GiB beside weights"] = (
            torch.cuda.max_memory_allocated() / 2**30 - (figures["weights GiB"])
        )
    if hasattr(rw, "edit"):
        figures |= edits(lm, device)
    return figures


def edits(lm: rw.LanguageModel, device: str) -> dict[str, float]:
    """Seconds to compute one edit of a random prompt."""
    edit = rw.edit  # pyright: ignore[reportAttributeAccessIssue]
    arguments = (lm, "{} w7 w8", "w3 w4", "w9")
    seconds, _ = wall(device, lambda: edit(*arguments, layer=1, second_moment="identity"))
    return {"edit s": seconds}


def verdicts(name: str, figures: dict[str, Any]) -> list[str]:
    """A line for each floor of the model."""
    return [
        f"   {what} {figures[what]:.2f}; "
        f"{report.verdict(figures[what], floor, at_least=what == 'grid ratio')}"
        for what, floor in FLOORS.get(name, {}).items()
    ]


def explain() -> None:
    """What a GPU would be used for."""
    print("There is no CUDA GPU here. With one, this measures, against one naive pass per cell:")
    for name, shape in MODELS.items():
        print(f"   {name} ({shape}): three grids of 12 tokens, clicks, peak memory")
    for name, floors in FLOORS.items():
        print(
            f"wanted for {name}: grids >= {floors['grid ratio']:g} times as fast, "
            f"a click <= {floors['click ms']:g} ms"
        )
    print("python -m benchmarks.gpu --tiny runs the same path on the CPU.")


def main(arguments: list[str] | None = None) -> int:
    """Measure and print; 1 where a floor was missed on a GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tiny", action="store_true", help="tiny shapes on the CPU")
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--model", nargs="+", choices=MODELS, default=list(MODELS))
    options = parser.parse_args(arguments)
    if not options.tiny and not torch.cuda.is_available():
        explain()
        return 0
    device, shapes = ("cpu", TINY) if options.tiny else ("cuda", MODELS)
    precision = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        figures, missed = _measure_all(options, device, shapes)
    finally:
        torch.set_float32_matmul_precision(precision)
    if options.tiny:
        return 0
    machine = f"one {torch.cuda.get_device_name()}"
    print(report.write("gpu", machine, {"floors": FLOORS, **figures}))
    return int(missed)


def _measure_all(
    options: argparse.Namespace, device: str, shapes: dict[str, Shape]
) -> tuple[dict[str, Any], bool]:
    figures, missed = {}, False
    for name in options.model:
        for dtype in options.dtype:
            row = measure(shapes[name], dtype, device, tiny=options.tiny)
            figures[f"{name} {dtype}"] = row
            print(f"{name} ({shapes[name]}), {dtype}, {device}:")
            print("\n".join(f"   {what}: {value:.4g}" for what, value in row.items()))
            if not options.tiny:
                lines = verdicts(name, row)
                print("\n".join(lines), flush=True)
                missed |= any("MISSED" in line for line in lines)
                torch.cuda.empty_cache()
    return figures, missed


if __name__ == "__main__":
    sys.exit(main())
