"""What a large vocabulary costs where logits are read at one position, or for one token.

    python -m benchmarks.vocabulary [--quick]

Two ratios of process-CPU time, one thread, on random weights with the vocabulary and the width of
Gemma 3 270M: logits after 48 prompts of 9 tokens, against those of every position; and the score of
each of 120 rows of logits, against the probabilities of all tokens. Each way runs in turn with the
other, and the lesser time of each counts. Both must give the same numbers.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks import jobs, report
from benchmarks.trace import cpu_seconds
from rome_widgets.model.chosen_logits import logits_at
from rome_widgets.model.structure.geometry import all_logits
from rome_widgets.tracing.metric import Measure

SHAPE = jobs.Shape(4, 640, 10, vocabulary=262_144)
PROMPTS, LENGTH, ROWS = 48, 9, 120
WANTED = {"logits": 3.0, "scores": 1.3}
"""Least ratios."""


def ratio(way: Callable[[], Tensor], plain: Callable[[], Tensor], times: int) -> dict[str, float]:
    """CPU seconds of both, in turn, and how far their results are apart."""
    taken: dict[str, list[float]] = {"way": [], "plain": []}
    for _ in range(times):
        (ours, found), (theirs, wanted) = cpu_seconds(way), cpu_seconds(plain)
        taken["way"].append(ours)
        taken["plain"].append(theirs)
    apart = float((found - wanted).abs().max() / wanted.abs().max())
    seconds = {name: min(each) for name, each in taken.items()}
    return {**seconds, "ratio": seconds["plain"] / seconds["way"], "apart": apart}


def main(arguments: list[str] | None = None) -> int:
    """Measure both; 1 where a ratio is less than wanted, or the numbers differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="once each, nothing written")
    times = 1 if (quick := parser.parse_args(arguments).quick) else 4
    torch.set_num_threads(1)
    lm = jobs.make_lm(SHAPE)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(SHAPE.vocabulary, (PROMPTS, LENGTH), generator=generator)
    last = torch.full((PROMPTS, 1), LENGTH - 1)
    rows = torch.randn(ROWS // 10, 10, SHAPE.vocabulary, generator=generator)
    measure = Measure(5)
    alone = replace(measure, alone=True)
    found = {
        "logits": ratio(
            lambda: lm.run(lambda: logits_at(lm, ids, last))[:, 0],
            lambda: lm.run(lambda: all_logits(lm.model, ids))[:, -1],
            times,
        ),
        "scores": ratio(
            lambda: alone.totals(rows).scores, lambda: measure.totals(rows).scores, times
        ),
    }
    for name, each in found.items():
        said = report.verdict(each["ratio"], WANTED[name], at_least=True)
        print(f"{name}: {each['ratio']:.1f}× less CPU ({said}), apart {each['apart']:.1g}")
    if not quick:
        figures = {"shape": f"{SHAPE}, vocabulary {SHAPE.vocabulary}", **found}
        print(report.write("vocabulary", report.cpu(1), figures))
    fine = all(
        each["ratio"] >= WANTED[name] and each["apart"] < 1e-5 for name, each in found.items()
    )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
