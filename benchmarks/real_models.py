"""What a real model costs on a CPU: to load and attach, trace, click, gather statistics, and edit.

    python -m benchmarks.real_models FOLDER_OR_GGUF ... [--draws 3 10]

Seconds of CPU depend on the machine and on whatever else it does; beside them stands how many plain
passes over the same prompt take as long. `--statistics identity` leaves out those of the first
edit, for which the model writes a text. Nothing is written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from unittest.mock import patch

import torch

import rome_widgets as rw
from benchmarks.memory import MIB, resident
from benchmarks.trace import cpu_seconds

T = TypeVar("T")

PROMPT, SUBJECT, TARGET = "The Eiffel Tower is in the city of", "The Eiffel Tower", "Rome"
PASSES = 3


def measure(path: Path, draws: list[int], statistics: str) -> None:
    """Print a line per step as it ends."""
    loading, lm = cpu_seconds(lambda: rw.load(path, device="cpu"))
    ids = lm.rows([lm.prompt_ids(PROMPT)])
    one = pass_of(lm.model, ids)
    print(f"{lm.name}: {ids.shape[1]} tokens, {lm.n_layers} layers, a pass {one:.3f} s")

    def said(name: str, seconds: float) -> None:
        print(f"  {name:26s}{seconds:8.1f} s{seconds / one:8.0f} passes", flush=True)

    said("load and attach", loading)
    for samples in draws:
        tracer = rw.CausalTracer(lm, PROMPT, SUBJECT, samples=samples)
        cell = tracer.cell(tracer.subject_span[1] - 1, lm.n_layers // 2, "mlp")
        said(f"click, {samples} draws", cpu_seconds(tracer.restore, cell)[0])
        trace = partial(tracer.trace, progress=False)
        seconds, grown = grown_by(partial(cpu_seconds, trace))
        said(f"trace, {samples} draws", seconds[0])
        planned = rw.plan(lm, (PROMPT, SUBJECT), samples=samples).memory or 0
        if grown is not None:
            print(f"    peak memory {grown / MIB:.0f} MiB, planned at most {planned / MIB:.0f}")
    options = {"second_moment": statistics, "progress": False}
    edit = partial(rw.edit, lm, PROMPT, SUBJECT, TARGET, **options)
    seconds, first = cpu_seconds(edit)
    said("first edit of a layer", seconds)
    said("edit", cpu_seconds(edit)[0])
    print(f"  layer {first.report.layer}, {len(first.report.steps)} steps, {statistics}")


def grown_by(call: Callable[[], T]) -> tuple[T, int | None]:
    """What a call returns, and the bytes that its peak is above the memory before it; on Linux."""
    peak = Path("/proc/self/clear_refs")
    if not peak.exists():
        return call(), None
    before = resident("VmRSS")
    peak.write_text("5")  # the peak starts again from here
    return call(), resident("VmHWM") - before


def pass_of(model: Any, ids: torch.Tensor) -> float:
    """CPU seconds of one plain pass."""
    with torch.no_grad():
        return min(cpu_seconds(lambda: model(input_ids=ids))[0] for _ in range(PASSES))


def main(arguments: list[str] | None = None) -> int:
    """Measure each model, with a cache of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--draws", nargs="+", type=int, default=[3, 10])
    parser.add_argument("--statistics", choices=("self", "identity"), default="self")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    empty = tempfile.TemporaryDirectory()  # so that statistics are gathered
    with empty as cache, patch.dict(os.environ, ROME_WIDGETS_CACHE=cache):
        for path in given.models:
            measure(path, given.draws, given.statistics)
    return 0


if __name__ == "__main__":
    sys.exit(main())
