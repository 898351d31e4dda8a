"""What a real model costs on a CPU: to load and attach, trace, click, gather statistics, and edit.

    python -m benchmarks.real_models FOLDER_OR_GGUF ... [--draws 3 10] [--threads 1]

Seconds of CPU depend on the machine and on whatever else it does; beside them stands how many plain
passes over the same prompt take as long, measured before and after. Nothing is written.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

import rome_widgets as rw
from benchmarks.trace import cpu_seconds

PROMPT, SUBJECT, TARGET = "The Eiffel Tower is in the city of", "The Eiffel Tower", "Rome"
PASSES = 3


def measure(path: Path, draws: list[int]) -> None:
    """Print a line per step."""
    loading, lm = cpu_seconds(lambda: rw.load(path, device="cpu"))
    ids = lm.rows([lm.prompt_ids(PROMPT)])
    before = passes(lm.model, ids)
    steps = {"load and attach": loading}

    def step(name: str, call: Callable[[], Any]) -> Any:
        steps[name], found = cpu_seconds(call)
        return found

    for samples in draws:
        tracer = rw.CausalTracer(lm, PROMPT, SUBJECT, samples=samples)
        step(f"trace, {samples} draws", lambda t=tracer: t.trace(progress=False))
        cell = tracer.cell(tracer.subject_span[1] - 1, lm.n_layers // 2, "mlp")
        step(f"click, {samples} draws", lambda t=tracer, c=cell: t.restore(c))

    def edit() -> rw.Edit:
        return rw.edit(lm, PROMPT, SUBJECT, TARGET, progress=False)

    first = step("first edit of a layer", edit)
    step("edit", edit)
    one = (before + passes(lm.model, ids)) / 2
    print(f"{lm.name}: {ids.shape[1]} tokens, {lm.n_layers} layers, a pass {one:.3f} s")
    for name, seconds in steps.items():
        print(f"  {name:24s}{seconds:8.1f} s{seconds / one:8.0f} passes")
    print(f"  layer {first.report.layer}, {len(first.report.steps)} steps")


def passes(model: Any, ids: torch.Tensor) -> float:
    """CPU seconds of one plain pass."""
    with torch.no_grad():
        return min(cpu_seconds(lambda: model(input_ids=ids))[0] for _ in range(PASSES))


def main(arguments: list[str] | None = None) -> int:
    """Measure each model, with a cache of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--draws", nargs="+", type=int, default=[3, 10])
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    empty = tempfile.TemporaryDirectory()  # so that statistics are gathered
    with empty as cache, patch.dict(os.environ, ROME_WIDGETS_CACHE=cache):
        for path in given.models:
            measure(path, given.draws)
    return 0


if __name__ == "__main__":
    sys.exit(main())
