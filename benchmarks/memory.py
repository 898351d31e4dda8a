"""Peak memory of a trace beside what a formula says it should be.

    python -m benchmarks.memory [--quick]

Each shape and length in a process of its own: how far the resident set grows above what it was
with the model loaded and run once. A trace is stopped after `SECONDS`, which is no loss: the
budget of one call bounds all calls alike. Linux only, where the peak can be reset.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import rome_widgets as rw
from benchmarks import jobs, report
from benchmarks.jobs import Job
from rome_widgets.tracing.runs import LOGITS_AT_ONCE

SECONDS = 60.0
FACTOR = 2.0
"""How far measured and formula may be apart."""
SHAPES = {"12": jobs.GPT2_SMALL, "24": jobs.DEEP}
LENGTHS = (12, 32)
MIB = 2**20


def tokens_per_call(tracer: Any) -> int:
    """M: most tokens that one call of a block gets."""
    return tracer.lm.tokens_per_call


def bytes_by_formula(tracer: Any) -> dict[str, float]:
    """Bytes of one block call, of a wave's states, of its unembedding, and of what is kept.

    b bytes per number, d the width, T positions, p the first corrupted one, N samples, L layers,
    V the vocabulary, M the tokens of one call, C the cells of the largest wave (three kinds, every
    layer), R the rows unembedded at once:
    call b·d·M·(22 + 2T/(T-p)), wave 2·b·d·C·N·(T-p), unembedding R·V·(b + 8) + 4·C·V,
    kept b·(N+1)·T·L·(d + 2·d_kv) + 3·b·T·d·L.
    """
    config = tracer.lm.model.config
    b, d, v = tracer.lm.dtype.itemsize, tracer.lm.geometry.d_model, config.vocab_size
    t, p = len(tracer.tokens), tracer.subject_span[0]
    n, n_layers = tracer.samples, tracer.lm.n_layers
    heads = config.num_attention_heads
    d_kv = d // heads * getattr(config, "num_key_value_heads", heads)
    cells = 3 * n_layers
    wave = cells * n * (t - p)
    m = min(tokens_per_call(tracer), wave)
    rows = min(LOGITS_AT_ONCE // v, cells * n)
    return {
        "call": b * d * m * (22 + 2 * t / (t - p)),
        "wave": 2 * b * d * wave,
        "unembedding": rows * v * (b + 8) + 4 * cells * v,
        "kept": b * (n + 1) * t * n_layers * (d + 2 * d_kv) + 3 * b * t * d * n_layers,
    }


@dataclass
class Deadline:
    """A cancel flag that sets itself."""

    at: float

    def is_set(self) -> bool:
        """True once the time has come."""
        return time.monotonic() > self.at


def measure(layers: str, length: int, seconds: float) -> dict[str, Any]:
    """In this process: peak growth of one trace in bytes, and the formula's parts."""
    torch.set_num_threads(1)
    lm = jobs.make_lm(SHAPES[layers])
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts again from here
    tracer = Job(lm, length=length).tracer()
    try:
        tracer.trace(cancel=Deadline(time.monotonic() + seconds))
        whole = True
    except rw.errors.Cancelled:
        whole = False
    return {
        "measured": resident("VmHWM") - before,
        "formula": bytes_by_formula(tracer),
        "tokens per call": tokens_per_call(tracer),
        "whole": whole,
    }


def resident(field: str) -> int:
    """Bytes of the resident set: `VmRSS` now, `VmHWM` at its peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024


def in_a_process_of_its_own(layers: str, length: int, seconds: float) -> dict[str, Any]:
    """What `measure` finds in a fresh interpreter."""
    command = [sys.executable, "-m", "benchmarks.memory", "--one", layers, str(length)]
    run = subprocess.run(
        [*command, "--seconds", str(seconds)],
        cwd=report.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(run.stdout.splitlines()[-1])


def main(arguments: list[str] | None = None) -> int:
    """Measure every shape and length; 1 where formula and measurement are too far apart."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="ten seconds each, nothing written")
    parser.add_argument("--one", nargs=2, metavar=("LAYERS", "LENGTH"), help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    seconds = min(options.seconds, 10.0) if options.quick else options.seconds
    if options.one:
        print(json.dumps(measure(options.one[0], int(options.one[1]), seconds)))
        return 0
    figures, missed = {}, False
    for layers, shape in SHAPES.items():
        for length in LENGTHS:
            found = in_a_process_of_its_own(layers, length, seconds)
            formula = sum(found["formula"].values())
            ratio = found["measured"] / formula
            missed |= not 1 / FACTOR <= ratio <= FACTOR
            parts = ", ".join(f"{k} {v / MIB:.0f}" for k, v in found["formula"].items())
            print(
                f"{shape}, {length} tokens, {found['tokens per call']} tokens per call: "
                f"measured {found['measured'] / MIB:.0f} MiB, formula {formula / MIB:.0f} MiB "
                f"({parts}), ratio {ratio:.2f}",
                flush=True,
            )
            figures[f"{shape}, {length} tokens"] = {**found, "ratio": ratio}
    print(f"wanted within a factor {FACTOR:g}: {'MISSED' if missed else 'reached'}")
    if not options.quick:
        print(report.write("memory", report.cpu(1), {"wanted factor": FACTOR, **figures}))
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
