"""A plan in words."""

import pytest

from rome_widgets.records.plan import Plan, PlannedPart, in_bytes, in_words

PARTS = (PlannedPart("runs", 1000, 30.0, "timed"), PlannedPart("predictions", 0, 10.0, "timed"))


def test_the_cost_comes_first_where_it_fits_and_the_shortage_where_not():
    plan = Plan("a trace", "tiny", PARTS, memory=2**30, least_memory=2**20, free_memory=2**29)
    assert (plan.seconds, plan.block_rows, plan.duration) == (40.0, 1000, "about 40 s")
    assert repr(plan).splitlines() == [
        "Plan(a trace of tiny: about 40 s, 1,000 block rows.",
        "Memory beside the weights: at most 1.0 GiB of 512.0 MiB free; work is cut smaller.",
        "runs 30 s, predictions 10 s)",
    ]
    short = Plan("a trace", "tiny", PARTS, 2**30, least_memory=2**20, free_memory=2**10)
    assert not short.fits
    assert repr(short).splitlines()[0].startswith("Plan(Does not fit: 1.0 MiB of 0.0 MiB free")
    assert Plan("a trace", "tiny", PARTS, 2**30, 2**20, None).fits
    assert "not planned" in repr(Plan("an edit", "tiny", PARTS, None, 2**20, None))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.123, "0.12 s"), (119, "119 s"), (120, "2.0 min"), (4000, "67 min"), (3e5, "3.5 d")],
)
def test_a_duration_has_two_digits_or_so(seconds, words):
    assert in_words(seconds) == words


def test_bytes_are_mebibytes_until_they_are_many():
    assert (in_bytes(3 * 2**20), in_bytes(5 * 2**29)) == ("3.0 MiB", "2.5 GiB")
