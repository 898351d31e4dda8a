"""How long the three grids of the bundled model take on this CPU, with torch's own threads.

    python -m benchmarks.bundled [--quick]

Wall time, from the prompt to the finished grids. The second figure is how many facts go through
one after another, and what that makes of 1,000 facts.
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

TRACE_SECONDS, THOUSAND_FACTS_SECONDS = 0.5, 60


def seconds_of_trace(lm: rw.LanguageModel, record: dict[str, Any]) -> float:
    """Wall seconds of both runs and the three grids of one fact."""
    start = time.perf_counter()
    rw.CausalTracer(lm, record).trace()
    return time.perf_counter() - start


def one_fact(lm: rw.LanguageModel, record: dict[str, Any], repetitions: int) -> float:
    """Median wall seconds after one warm-up."""
    seconds_of_trace(lm, record)
    return statistics.median(seconds_of_trace(lm, record) for _ in range(repetitions))


def facts_per_second(lm: rw.LanguageModel, records: list[dict[str, Any]]) -> float:
    """Facts traced one after another, per wall second."""
    return len(records) / sum(seconds_of_trace(lm, record) for record in records)


def main(arguments: list[str] | None = None) -> int:
    """Measure; 1 where a trace takes too long."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, nothing written")
    quick = parser.parse_args(arguments).quick
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
    if not quick:
        figures = {
            "wanted seconds per trace": TRACE_SECONDS,
            "median seconds": medians,
            "facts per second": rate,
            "facts": len(spread),
        }
        print(report.write("bundled", report.cpu(torch.get_num_threads()), figures))
    return int(worst > TRACE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
