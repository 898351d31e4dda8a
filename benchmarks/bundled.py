"""How long the bundled model takes to load, and its three grids, on this CPU, torch's own threads.

    python -m benchmarks.bundled [--quick]

Wall time, from the prompt to the finished grids. The last figure is how many facts go through
one after another, and what that makes of 1,000 facts; beside it, how long their matrix products
alone would take if the processor did nothing else at the speed it multiplies matrices of this
shape. No batching across prompts can get below that.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from typing import Any

import torch

import rome_widgets as rw
from benchmarks import report
from rome_widgets.tracing.waves import Extent, group_cells, plan_wave

TRACE_SECONDS, THOUSAND_FACTS_SECONDS, FIRST_SECONDS = 0.5, 60, 2


def seconds_to_first_prediction() -> float:
    """Wall seconds from `rw.load()` to a prediction, once more: everything is imported already."""
    rw.load(device="cpu")
    start = time.perf_counter()
    lm = rw.load(device="cpu")
    lm.next_token_probabilities(torch.tensor([lm.tokenizer.encode("The Space Needle is in")]))
    return time.perf_counter() - start


def seconds_of_trace(lm: rw.LanguageModel, record: dict[str, Any]) -> float:
    """Wall seconds of both runs and the three grids of one fact."""
    start = time.perf_counter()
    rw.CausalTracer(lm, record, samples=10).trace()
    return time.perf_counter() - start


def one_fact(lm: rw.LanguageModel, record: dict[str, Any], repetitions: int) -> float:
    """Median wall seconds after one warm-up."""
    seconds_of_trace(lm, record)
    return statistics.median(seconds_of_trace(lm, record) for _ in range(repetitions))


def facts_per_second(lm: rw.LanguageModel, records: list[dict[str, Any]]) -> float:
    """Facts traced one after another, per wall second."""
    return len(records) / sum(seconds_of_trace(lm, record) for record in records)


def block_tokens(tracer: rw.CausalTracer) -> int:
    """Positions that all blocks together run for the three grids of one prompt."""
    n_layers, n_pos = tracer.lm.n_layers, len(tracer.tokens)
    extent = Extent(n_layers, n_pos, tracer.subject_span[0])
    cells = [
        tracer.cell(pos, layer, kind)
        for kind in tracer.lm.kinds
        for pos in range(n_pos)
        for layer in range(n_layers)
    ]
    total = 0
    for numbers in group_cells(cells, extent)[1]:
        wave = plan_wave([cells[number] for number in numbers], extent)
        running = [sum(branch.parent is not None for branch in step) for step in wave.steps]
        width = n_pos - wave.start
        # The last block gives keys and values of all its positions, a sixth, and the rest of one.
        total += sum(running[:-1]) * width + round(running[-1] * (width / 6 + 1))
    return total * tracer.samples


def seconds_of_products(lm: rw.LanguageModel, records: list[dict[str, Any]]) -> float:
    """Wall seconds per fact of the blocks' matrix products alone, at this processor's best."""
    d = lm.geometry.d_model
    d_mlp = lm.model.config.n_inner or 4 * d
    left, right = torch.randn(lm.tokens_per_call, d), torch.randn(d, d_mlp)
    seconds = []
    for _ in range(200):
        start = time.perf_counter()
        torch.mm(left, right)
        seconds.append(time.perf_counter() - start)
    # A block has 8 d^2 + 4 d d_mlp operations per token, this product 2 d d_mlp.
    per_token = min(seconds) / lm.tokens_per_call * (2 + 4 * d / d_mlp)
    return per_token * statistics.mean(
        block_tokens(rw.CausalTracer(lm, r, samples=10)) for r in records
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure; 1 where a trace or loading takes too long.

    A thousand facts do not decide: on two cores their products alone take longer than is wanted.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, nothing written")
    quick = parser.parse_args(arguments).quick
    first = seconds_to_first_prediction()
    said = report.verdict(first, FIRST_SECONDS, at_least=False)
    print(f"from load to the first prediction {first:.2f} s; {said}")
    lm = rw.load(device="cpu")
    records = rw.bundled.facts()
    spread = records[:: len(records) // (5 if quick else 50)]
    medians = {}
    for record in spread[: 2 if quick else 5]:
        fact = rw.Fact.from_record(record)
        medians[fact.text] = one_fact(lm, record, 3 if quick else 10)
        print(f"{fact.text!r}: {medians[fact.text]:.3f} s")
    worst = max(medians.values())
    rate = facts_per_second(lm, spread)
    print(f"slowest {worst:.3f} s; {report.verdict(worst, TRACE_SECONDS, at_least=False)}")
    print(
        f"{rate:.2f} facts per second over {len(spread)}, one after another: 1,000 in "
        f"{1000 / rate:.0f} s; "
        f"{report.verdict(1000 / rate, THOUSAND_FACTS_SECONDS, at_least=False)}"
    )
    floor = 1000 * seconds_of_products(lm, spread)
    print(f"the matrix products of 1,000 facts alone would take {floor:.0f} s")
    if not quick:
        figures = {
            "seconds from load to the first prediction": first,
            "wanted seconds per trace": TRACE_SECONDS,
            "median seconds": medians,
            "facts per second": rate,
            "wanted seconds of 1,000 facts": THOUSAND_FACTS_SECONDS,
            "seconds of the matrix products of 1,000 facts": floor,
            "facts": len(spread),
        }
        print(report.write("bundled", report.cpu(torch.get_num_threads()), figures))
    return int(worst > TRACE_SECONDS or first > FIRST_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
