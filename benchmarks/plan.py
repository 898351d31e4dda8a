"""What a plan says against what the run takes.

    python -m benchmarks.plan [MODEL] [--quick]

Process-CPU seconds of one thread, of the plan's own timing as of the run, so that other programs
count little. Of a model in a folder a smaller sweep: one kind, two draws.
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

import torch

import rome_widgets as rw
from benchmarks import report
from benchmarks.sweep import facts_of_all_relations
from benchmarks.trace import cpu_seconds
from rome_widgets.tracing import unit_costs

WANTED = 2.0
"""Factor by which the seconds may be off, either way."""


def compare(lm: rw.LanguageModel, facts: Any, kinds: Any, samples: int) -> dict[str, float]:
    """A plan of one fact or of several, and the run."""
    options = {"kinds": kinds, "samples": samples}
    quiet = {**options, "progress": False}

    def run() -> Any:
        if isinstance(facts, list):
            return rw.sweep(lm, facts, known_only=False, **quiet)
        return rw.trace(lm, facts, **quiet)

    def plan() -> rw.Plan:
        return rw.plan(lm, facts, known_only=False, **options)

    rw.trace(lm, facts_of_all_relations(1)[0], kinds="mlp", samples=1, progress=False)
    plan()  # all that is made once is made now
    took, planned = cpu_seconds(plan)
    ran, _ = cpu_seconds(run)
    ratio = planned.seconds / ran
    print(f"planned {planned.seconds:.2f} s in {took:.2f} s; it took {ran:.2f} s: {ratio:.2f}")
    return {
        "planned seconds": planned.seconds,
        "seconds": ran,
        "ratio": ratio,
        "seconds of planning": took,
        "block rows": planned.block_rows,
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure; 1 where a plan is off by more than wanted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", help="a folder; the bundled model by default")
    parser.add_argument("--quick", action="store_true", help="one fact, nothing written")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    unit_costs.clock = time.process_time
    lm = rw.load(given.model, device="cpu")
    facts = facts_of_all_relations(2 if given.quick else 12 if given.model is None else 3)
    few = given.quick or given.model is not None
    kinds, samples = (("mlp",), 2) if few else (lm.kinds, 10)
    figures = {
        "trace": compare(lm, facts[0], kinds, samples),
        "sweep": compare(lm, facts, kinds, samples),
    }
    off = [max(each["ratio"], 1 / each["ratio"]) for each in figures.values()]
    print(f"off by a factor of {max(off):.2f}; {report.verdict(max(off), WANTED, at_least=False)}")
    if not given.quick:
        name = "plan" if given.model is None else f"plan_{lm.name}"
        print(report.write(name, report.cpu(1), {"wanted factor": WANTED, **figures}))
    return int(max(off) > WANTED)


if __name__ == "__main__":
    sys.exit(main())
