"""How much of each check runs: quick in `make test`, full in `make test-full`."""

import os
from itertools import combinations, product

FULL = bool(os.environ.get("ROME_WIDGETS_FULL"))


def _count(quick, full):
    return full if FULL else quick


def pairs(*axes):
    """Combinations, one value of each axis, in which every two values of two axes meet.

    The full run has all combinations.

    Example:
        >>> pairs("ab", "xy", [1, 2])
        [('a', 'x', 1), ('a', 'y', 2), ('b', 'x', 2), ('b', 'y', 1)]
    """
    every = list(product(*map(list, axes)))
    if FULL:
        return every
    meetings = {each: {*combinations(enumerate(each), 2)} for each in every}
    unmet, chosen = set().union(*meetings.values()), set()
    while unmet:
        best = max(every, key=lambda each: len(meetings[each] & unmet))
        unmet -= meetings[best]
        chosen.add(best)
    return [each for each in every if each in chosen]


def turns(*axes):
    """Combinations in which every value of every axis is there; all of them in the full run.

    Example:
        >>> turns("abc", [1, 2])
        [('a', 1), ('b', 2), ('c', 1)]
    """
    axes = [list(axis) for axis in axes]
    if FULL:
        return list(product(*axes))
    longest = max(map(len, axes))
    return [tuple(axis[at % len(axis)] for axis in axes) for at in range(longest)]


STRINGS = _count(150, 10_000)
"""Random texts per tokenizer."""
ALTERED_FILES = _count(300, 20_000)
"""Damaged trace files."""
THREADED_RUNS = _count(40, 400)
"""Whole traces per thread in the concurrency check."""
CLICKS = _count(12, 50)
"""Clicks timed in JupyterLab."""
SETS = _count(3, 20)
"""Random mixed sets of states per family and setting."""
INTERRUPTS = _count(96, 1200)
"""Interrupts that land at a random moment, over all phases."""
INTERRUPT_PLACES = _count(96, 1200)
"""Interrupts put at chosen calls inside our own code, over all phases."""
ESTIMATED_FACTS = _count(20, 60)
"""Facts on which the estimate is compared with the exact grid."""
WIDTHS = _count((932, 362), (932, 560, 466, 362))
"""Pixels of the pages on which every state of every widget is looked at."""
TRACES = _count(2, 10)
"""Traces timed in JupyterLab, from the press of the button."""
FAMILY_SETTINGS = _count(
    [("middle", 3, "replay")],
    [
        *[(w, n, "replay") for w in ("start", "middle", "next to the end") for n in (1, 3, 10)],
        ("middle", 3, "whole passes"),
    ],
)
"""Place of the subject, window and engine with which every family is compared."""
EDIT_EXAMPLES = _count(40, 1000)
"""Random sequences of up to 30 calls that apply, revert, save, fail."""
EDIT_INTERRUPTS = _count(40, 600)
"""Interrupts that land in applying and reverting, per operation and way of hitting."""
DAMAGED_EDITS = _count(300, 10_000)
"""Damaged files of edits."""
FLIPPED_BITS = _count(1_000, 10_000)
"""Single bits of a file of an edit that are flipped, one at a time."""
EDIT_STEPS = _count(4, 8)
"""Steps of the optimisation of an edit of a tiny model."""
EDITED_FACTS = _count(24, 200)
"""Facts of the bundled model that are edited."""
REFERENCE_EDITS = _count(2, 200)
"""Facts of it whose edit is computed by the slow reference, too."""
EDIT_PLACES = _count(9, 1)
"""Every how manieth place of writing an edit is interrupted."""
DAMAGED_MOMENTS = _count(60, 1000)
"""Damaged files of second moments."""
MOMENT_INTERRUPTS = _count(60, 600)
"""Interrupts put at calls within the gathering of a second moment."""
PATH_FACTS = _count(1, 30)
"""Facts on which the found path is compared with every set of up to three states."""
PATH_CANDIDATES = _count(10, 18)
"""States that those sets are made of."""
FAST_CLICKS = _count(200, 1000)
"""Clicks at a hundred a second in JupyterLab."""
CELL_RUNS = _count(15, 200)
"""Times that a cell which makes a widget is run again in JupyterLab."""
AVERAGED_FACTS = _count(30, 300)
"""Facts of the bundled model that are traced for the averages of its card."""
ORGANISM_TOKENS = _count(280_000, 480_000)
"""Length of the training of each model in which recall was placed."""
ORGANISM_FACTS = _count(25, 120)
"""Facts of each of these models that are traced."""
DEVICE_FAMILIES = _count(
    ["gpt2", "gemma2"],
    ["gpt2", "gptj", "gpt_neox, parallel", "llama", "qwen3", "gemma2", "gemma3, text"],
)
"""Families that run every step on the pretend GPU."""
SPREAD_FAMILIES = _count(["llama"], DEVICE_FAMILIES)
"""Families that run every step spread over two of them, and with the roundings of a device."""
SPREADS = _count(
    ["halves"], ["halves", "the end with the start", "the second first", "a CPU between"]
)
"""How they are spread."""
WRITER_KILLS = _count(6, 100)
"""Kills of a writer of files, spread over the calls it makes of the system."""
FORGED_FILES = _count(150, 2000)
"""Files of our own with something else in one of their fields, and the right checksum."""
FORGED_FOLDERS = _count(12, 300)
"""Folders of models with something else in one of the fields of their files."""
WIDGET_MESSAGES = _count(400, 10_000)
"""Messages that no page of ours sends."""
SHORTAGES = _count([0.0, 0.5], [number / 24 for number in range(24)])
"""Shares of the memory that a call takes, with which it has to do."""
STATE_STEPS = _count(
    ["attach", "trace", "restore", "estimate", "lens", "rome", "ft", "statistics", "strength"], None
)
"""Steps that run in every state that a caller may have left torch in; None: all."""
OWN_PASSES = _count(100, 1000)
"""A user's own passes in training mode beside traces in another thread."""
COPIES = _count(60, 1000)
"""Copies of a model, deep and through pickle, made beside traces in another thread."""
PUBLISHED_RECORDS = _count(300, 1)
"""Every how manieth record of a published file whose subject is looked for among the tokens."""
GPU_PRECISIONS = _count(["float32"], ["float32", "tf32", "bfloat16", "float16"])
"""In which the benchmark for a GPU is tried on the pretend one."""
SWEEP_KILLS = _count(2, 50)
"""Kills of a sweep, at random among the calls it makes of the system."""
JOINT_FAMILIES = _count(["gpt2", "llama"], ["gpt2", "gptj", "neox", "llama"])
"""Families of whose prompts several share calls, and are compared with each alone."""
WORKER_KILLS = _count(1, 25)
"""Kills of a worker of a sweep, in a pool of processes and in a Dask cluster each."""
