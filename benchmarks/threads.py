"""What several threads cost and gain: alone, and beside as many busy programs as there are cores.

    python -m benchmarks.threads [--quick]

The three grids of the bundled model with torch's number of threads throughout, with one throughout,
and as we do it, the number left at torch's: seconds and processor seconds, medians, as ratios of
those of one thread. Below that the same for passes of 80 tokens through the shape of GPT-2 small,
where the number stays torch's own.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import torch

import rome_widgets as rw
from benchmarks import jobs, report
from rome_widgets.model import threads

WANTED = 1.3
"""At most so many times the seconds and the processor seconds of one thread."""
BUSY = "while True: pass"


@contextmanager
def beside(n_programs: int) -> Iterator[None]:
    """With so many other programs that compute without a pause."""
    with ExitStack() as stack:
        for _ in range(n_programs):
            program = stack.enter_context(subprocess.Popen([sys.executable, "-c", BUSY]))
            stack.callback(program.kill)
        yield


def medians(work: Callable[[], Any], repetitions: int) -> tuple[float, float]:
    """Seconds and processor seconds of `work()`, after one to warm up."""
    work()
    found = []
    for _ in range(repetitions):
        wall, processor = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - wall, time.process_time() - processor))
    walls, processors = zip(*found, strict=True)
    return statistics.median(walls), statistics.median(processors)


def ways(own: int) -> dict[str, tuple[int, float]]:
    """By name: the number of threads that is set, and from which size on we leave it."""
    return {
        "one thread": (1, 0),
        "torch's threads": (own, 0),
        "as we do": (own, threads.WORTH_SHARING),
    }


def compared(work: Callable[[], Any], own: int, repetitions: int) -> dict[str, Any]:
    """Each way's seconds and processor seconds, as ratios of those of one thread."""
    found: dict[str, Any] = {}
    for name, (number, worth) in ways(own).items():
        torch.set_num_threads(number)
        with mock.patch.object(threads, "WORTH_SHARING", worth):
            found[name] = medians(work, repetitions)
    torch.set_num_threads(own)
    one = found["one thread"]
    return {
        name: {
            "seconds": round(wall, 3),
            "ratio": round(wall / one[0], 2),
            "processor ratio": round(processor / one[1], 2),
        }
        for name, (wall, processor) in found.items()
    }


def works() -> dict[str, Callable[[], Any]]:
    """What is measured."""
    bundled, large = rw.load(device="cpu"), jobs.make_lm(jobs.GPT2_SMALL)
    fact = rw.bundled.facts()[0]
    rows = torch.randint(1000, (10, 8))
    return {
        "trace of the bundled model": lambda: rw.trace(bundled, fact, samples=10),
        "pass of 80 tokens, GPT-2 small": lambda: large.next_token_probabilities(rows),
    }


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, and write `results/shared_machine.json`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args(arguments).quick
    own = torch.get_num_threads()
    figures: dict[str, Any] = {}
    for name, work in works().items():
        for n_programs in (0, own):
            with beside(n_programs):
                found = compared(work, own, 1 if quick else 5)
            figures[f"{name}, beside {n_programs} busy programs"] = found
            print(f"{name}, beside {n_programs} busy programs")
            for way, each in found.items():
                print(f"  {way:16s}", *(f"{key} {value:g}" for key, value in each.items()))
    ours = [each["as we do"] for name, each in figures.items() if "bundled" in name]
    worst = max(max(each["ratio"], each["processor ratio"]) for each in ours)
    print(report.verdict(worst, WANTED, at_least=False))
    if not quick:
        print(report.write("shared_machine", report.cpu(own), figures))
    return int(worst > WANTED)


if __name__ == "__main__":
    sys.exit(main())
