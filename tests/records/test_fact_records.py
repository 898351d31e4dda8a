"""A collection of records: in order, with a source, and drawn from by a seed."""

import numpy as np
import pytest

from rome_widgets.errors import ArgumentError, PromptError
from rome_widgets.evaluation.datasets import table
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.fact_records import BadRecord, FactRecords
from tests.helpers.published import FORMS, MQUAKE

BAD = BadRecord("file, record 3", "it is <b>")
FEW = FactRecords(
    [FactRecord("{} is", f"w{number}", str(number)) for number in range(12)], "a file", [BAD]
)


def test_it_is_a_sequence_whose_parts_know_where_they_are_from():
    assert len(FEW) == 12
    assert FEW[-1].subject == "w11"
    assert [each.subject for each in FEW[2:4]] == ["w2", "w3"]
    assert (FEW[2:4].source, FEW[2:4].left_out) == ("a file", (BAD,))
    assert FEW[np.int64(3)] is FEW[3]
    assert FEW[3] in FEW
    with pytest.raises(IndexError):
        FEW[12]
    with pytest.raises(TypeError):
        FEW["w3"]


def test_a_seed_draws_the_same_without_repetition():
    wanted = np.random.RandomState(5).permutation(12)
    assert [each.subject for each in FEW.shuffled(5)] == [f"w{number}" for number in wanted]
    assert FEW.sample(4, seed=5) == FEW.shuffled(5)[:4]
    assert FEW.sample(4, seed=6) != FEW.sample(4, seed=5)
    assert sorted(each.subject for each in FEW.sample(12)) == sorted(each.subject for each in FEW)
    for n, seed in ((13, 0), (-1, 0), ("x", 0), (3, -1), (3, 2**32)):
        with pytest.raises(ArgumentError):
            FEW.sample(n, seed)


def test_records_in_any_form_are_read():
    every = FactRecords(FORMS.values())
    assert [type(each) for each in every] == [FactRecord] * len(FORMS)
    with pytest.raises(PromptError, match="no record"):
        FactRecords(["text"])


def test_a_frame_has_all_that_the_records_say_but_other_facts_of_a_case():
    every = FactRecords(each for each in FORMS.values() if each is not MQUAKE)
    frame = every.to_frame()
    assert list(frame["target"]) == [each.target for each in every]
    assert table(frame) == every
    assert len({every, table(frame)}) == 1
    assert every != list(every)


def test_it_is_shown_with_its_source_and_what_was_left_out():
    assert repr(FEW) == "FactRecords(12, a file, 1 left out)"
    assert repr(FactRecords([])) == "FactRecords(0)"
    html = FEW._repr_html_()
    assert "12 records from a file" in html
    assert "and 7 more" in html
    assert "it is &lt;b&gt;" in html
    assert "left out" not in FactRecords(FEW)._repr_html_()
