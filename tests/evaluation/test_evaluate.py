"""An evaluation is its edits, one by one; the model is as it was, however the run ends.

The loop is tried with an editor that takes no time; ROME and fine-tuning once, at the end.
"""

import threading
from dataclasses import dataclass, replace

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.methods import METHODS
from rome_widgets.editing.methods.editor import Editor, Found
from rome_widgets.editing.settings import Settings, number
from rome_widgets.errors import (
    ArgumentError,
    Cancelled,
    EditRefused,
    ModelChanged,
    RunChanged,
    SettingsError,
)
from rome_widgets.evaluation.metrics import measure_record
from rome_widgets.model.ledger import LowRank
from rome_widgets.records.fact_record import FactRecord
from tests.helpers import world

LOG = "evaluation.log"
REFUSED = "w13"
"""A subject that the editor does not like."""


@dataclass(frozen=True)
class ShiftSettings(Settings):
    size: float = number(3.0, above=0)


class Shift(Editor):
    """Adds the same to the output of a layer's MLP; another layer by another subject."""

    title, changes, source = "Shift", "one matrix", "a test"
    settings = ShiftSettings

    def __init__(self, *, many_facts=False):
        self.many_facts = many_facts
        self.calls = []

    def edit(self, task):
        subjects = [request.fact.subject for request in task.requests]
        self.calls.append(subjects)
        if REFUSED in subjects:
            raise EditRefused("It does not like this subject.")
        site, why = task.choose_site()
        read = torch.ones(1, site.d_in, dtype=torch.float64) * task.settings.size
        write = torch.arange(site.lm.geometry.d_model, dtype=torch.float64)[None]
        write = write + sum(map(len, subjects))
        update = LowRank(site.weight_name, read, write, site.transposed)
        return Found([update], (site.layer,), why, texts=("w1 w2 w3",))  # or it writes some


@pytest.fixture
def shift():
    METHODS.update(shift=Shift(), shifts=Shift(many_facts=True))
    yield METHODS["shift"]
    METHODS.pop("shift"), METHODS.pop("shifts")


def record(number, subject=None, **changes):
    subject = subject or f"w{10 + number} w{15 + number}"
    fields = {"target_new": "w8", "neighborhood_prompts": (f"w3 w6 w{20 + number} w5",)}
    return FactRecord(world.PROMPT, subject, "w5", **fields | changes)


RECORDS = [record(0), record(1, REFUSED), record(2)]


def evaluate(lm, records=RECORDS, methods=("shift",), **options):
    return rw.evaluate(lm, records, methods, **{"layer": 1, "progress": False} | options)


def weights(lm):
    return {name: value.clone() for name, value in lm.model.state_dict().items()}


def untouched(lm, before):
    return all(torch.equal(value, before[name]) for name, value in lm.model.state_dict().items())


def same(one, other):
    """But for the seconds."""
    assert repr(one) == repr(other)
    return [replace(row, edit_seconds=0, measure_seconds=0) for row in one.rows] == [
        replace(row, edit_seconds=0, measure_seconds=0) for row in other.rows
    ]


def figures_by_hand(lm, records, on_top=False):
    """By `edit` and `measure_record`, in a loop."""
    found, changes = {}, []
    for each in records:
        change = rw.edit(lm, each, method="shift", layer=1, neighbors=(), progress=False)
        if on_top:
            changes.append(change.apply())
            continue
        with change:
            found[each.subject] = measure_record(lm, each)
    for each in records if on_top else ():
        found[each.subject] = measure_record(lm, each)
    lm.revert_all()
    return found


def check_equal(rows, wanted):
    for row in rows:
        metrics = wanted[row.subject]
        assert row.figures["EM"] == pytest.approx(metrics.efficacy.magnitude, abs=1e-9)
        assert row.figures["NM"] == pytest.approx(metrics.neighborhood.magnitude, abs=1e-9)
        assert row.figures["ES"] == metrics.efficacy.success


def test_every_row_is_the_edit_of_its_record_alone(shift):
    lm = world.new_lm("gpt2", torch.float64)
    before = weights(lm)
    found = evaluate(lm, settings={"shift": {"size": 3}})
    places = [(row.number, row.method) for row in found.rows]
    assert places == [(n, method) for n in range(3) for method in ("none", "shift")]
    assert untouched(lm, before)
    assert not lm.edits
    good = [each for each in RECORDS if each.subject != REFUSED]
    edited = [row for row in found.of("shift") if not row.failed]
    check_equal(edited, figures_by_hand(lm, good))
    check_equal(found.of("none"), {each.subject: measure_record(lm, each) for each in RECORDS})
    assert len({row.figures["EM"] for row in edited}) == 2
    assert edited[0].layers == (1,)


def test_an_edit_that_fails_is_a_row_with_its_reason(shift):
    lm = world.make_lm("gpt2", torch.float64)
    given = [*RECORDS[:2], {"no": "fact"}, FactRecord("w3 {}", "w4", "w5"), record(0, "w9 " * 40)]
    found = evaluate(lm, given)
    reasons = [row.reason for row in found.rows]
    assert [bool(reason) for reason in reasons] == [False, False, False, *[True] * 7]
    for at, words in ((3, "not like"), (4, "state a fact"), (6, "target_new"), (8, "16")):
        assert words in reasons[at]
    assert reasons[8] == reasons[9], "nobody edits what cannot be measured"
    assert found.summary().loc["shift", ["records", "failed"]].tolist() == [1, 4]


@pytest.mark.parametrize("mode", ["single", "sequential"])
def test_the_unedited_model_is_asked_once_for_all_methods(shift, mode, monkeypatch):
    from rome_widgets.evaluation.measured_record import Measurer

    asked, before = [], Measurer.before
    monkeypatch.setattr(Measurer, "before", lambda *a: asked.append(a[1]) or before(*a))
    METHODS["other"] = Shift()
    try:
        evaluate(world.make_lm("gpt2"), methods=["shift", "other", "shift"], mode=mode)
    finally:
        METHODS.pop("other")
    assert asked == RECORDS


def test_edits_one_on_top_of_the_other_are_measured_once_all_are_made(shift):
    lm = world.new_lm("gpt2", torch.float64)
    before = weights(lm)
    found = evaluate(lm, mode="sequential")
    assert untouched(lm, before)
    assert not lm.edits
    good = [each for each in RECORDS if each.subject != REFUSED]
    edited = [row for row in found.of("shift") if not row.failed]
    check_equal(edited, figures_by_hand(lm, good, on_top=True))
    alone = {row.number: row.figures["EM"] for row in evaluate(lm).of("shift") if row.figures}
    assert all(row.figures["EM"] != alone[row.number] for row in edited)
    assert [row.number for row in found.of("shift") if row.failed] == [1]


def test_a_batch_is_one_edit_of_a_method_that_writes_many(shift):
    lm = world.make_lm("gpt2", torch.float64)
    good = [each for each in RECORDS if each.subject != REFUSED]
    found = evaluate(lm, good, ["shifts"], mode="batch")
    assert METHODS["shifts"].calls == [[each.subject for each in good]]
    change = rw.edit(lm, good, method="shifts", layer=1, neighbors=(), progress=False)
    with change:
        wanted = {each.subject: measure_record(lm, each) for each in good}
    check_equal(found.of("shifts"), wanted)
    failed = evaluate(lm, RECORDS, ["shifts"], mode="batch")
    assert {row.reason for row in failed.of("shifts")} == {"It does not like this subject."}
    with pytest.raises(SettingsError, match="Choose 'shifts'"):
        evaluate(lm, mode="batch")


@pytest.mark.parametrize("mode", ["single", "sequential", "batch"])
def test_the_facts_of_a_case_are_edited_together(shift, mode):
    lm, method = world.new_lm("gpt2", torch.float64), "shifts" if mode == "batch" else "shift"
    before = weights(lm)
    case = replace(record(0), along_with=(record(3, "w14"), record(2)))
    changes = [record(0), record(3, "w14"), record(2)]
    (row,) = evaluate(lm, [case], [method], mode=mode).of(method)
    assert untouched(lm, before)
    subjects = [each.subject for each in changes]
    assert METHODS[method].calls == ([subjects] if mode == "batch" else [[s] for s in subjects])
    for each in [changes] if mode == "batch" else changes:
        rw.edit(lm, each, method=method, layer=1, neighbors=(), progress=False).apply()
    wanted = {case.subject: measure_record(lm, case)}
    lm.revert_all()
    check_equal([row], wanted)


@pytest.mark.parametrize("mode", ["sequential", "batch"])
def test_what_cannot_be_measured_is_not_edited(shift, mode):
    lm, method = world.make_lm("gpt2"), "shifts" if mode == "batch" else "shift"
    given = [record(0), record(0, "w9 " * 40), record(2)]
    reasons = [row.reason for row in evaluate(lm, given, [method], mode=mode).of(method)]
    assert [bool(reason) for reason in reasons] == [False, True, False]
    edited = [subject for some in METHODS[method].calls for subject in some]
    assert edited == [given[0].subject, given[2].subject]


@pytest.mark.parametrize("mode", ["single", "sequential"])
def test_of_a_case_all_facts_are_edited_or_none(shift, mode):
    lm = world.new_lm("gpt2", torch.float64)
    without_new = FactRecord(world.PROMPT, "w4", "w5")
    cases = [replace(record(0), along_with=(other,)) for other in (record(1, REFUSED), without_new)]
    found = evaluate(lm, [*cases, record(2)], mode=mode).of("shift")
    assert found[0].reason == "It does not like this subject."
    assert "along_with" in found[1].reason
    check_equal(found[2:], figures_by_hand(lm, [record(2)]))


@pytest.mark.parametrize("mode", ["single", "sequential"])
def test_it_goes_on_from_its_log_to_the_same_bits(shift, mode, tmp_path):
    lm = world.make_lm("gpt2", torch.float64)
    probe = rw.datasets.Probe("w3", (("w4",),))
    records = [replace(each, locality=(probe,)) for each in RECORDS]
    whole = evaluate(lm, records, mode=mode, path=tmp_path / "whole")
    assert rw.load_evaluation(tmp_path / "whole") == whole
    lines = (tmp_path / "whole" / LOG).read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + 2 * len(RECORDS)
    for kept, made_again in ((1, 3), (4, 1)):
        folder = tmp_path / str(kept)
        folder.mkdir()
        (folder / LOG).write_bytes(b"".join(lines[: 1 + kept]) + lines[kept][:-9])
        shift.calls.clear()
        again = evaluate(lm, records, mode=mode, path=folder)
        assert same(again, whole)
        assert len(shift.calls) == (3 if mode == "sequential" else made_again)
        assert (folder / LOG).read_bytes().startswith(b"".join(lines[: 1 + kept]))


def test_a_log_of_something_else_is_refused(shift, tmp_path):
    lm = world.make_lm("gpt2")
    evaluate(lm, RECORDS[:1], path=tmp_path)
    before = (tmp_path / LOG).read_bytes()
    for options, what in (
        ({"records": RECORDS[2:3]}, "records"),
        ({"seed": 4}, "seed"),
        ({"layer": 2}, "settings.shift"),
        ({"settings": {"shift": {"size": 2}}}, "settings.shift"),
        ({"collapse_texts": ["w1 w2"]}, "texts"),
        ({"mode": "sequential"}, "mode"),
        ({"second_moment": "identity"}, "second moment"),
    ):
        with pytest.raises(RunChanged, match=what):
            evaluate(lm, **{"records": RECORDS[:1], "path": tmp_path} | options)
    assert (tmp_path / LOG).read_bytes() == before


@pytest.mark.parametrize("mode", ["single", "sequential"])
def test_a_cancel_keeps_the_rows_and_leaves_the_model(shift, mode, tmp_path):
    lm, stop = world.new_lm("gpt2", torch.float64), threading.Event()
    before, seen = weights(lm), []

    def heard(step):
        seen.append((step.done, step.total))
        if step.done == 4:
            stop.set()

    with pytest.raises(Cancelled) as caught:
        evaluate(lm, mode=mode, path=tmp_path, progress=heard, cancel=stop)
    assert untouched(lm, before)
    assert seen == [(n, 6) for n in range(1, 5)]
    assert len(caught.value.partial.rows) == 4
    assert same(evaluate(lm, mode=mode, path=tmp_path), evaluate(lm, mode=mode))


@pytest.mark.parametrize("mode", ["single", "sequential"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_it_while_edits_are_in_the_model_is_as_it_was(
    shift, mode, error, monkeypatch
):
    from rome_widgets.evaluation.measured_record import Measurer

    lm = world.new_lm("gpt2", torch.float64)
    before, carried = weights(lm), []

    def fails(*_):
        carried.append(len(lm.edits))
        raise error

    monkeypatch.setattr(Measurer, "after", fails)
    with pytest.raises(error):
        evaluate(lm, mode=mode)
    assert carried == [2 if mode == "sequential" else 1]
    assert untouched(lm, before)
    assert not lm.edits


def test_edits_that_the_model_carries_stay_and_are_what_is_measured(shift):
    lm = world.new_lm("gpt2", torch.float64)
    first = rw.edit(lm, record(3), method="shift", layer=2, neighbors=(), progress=False)
    with first:
        before = weights(lm)
        found = evaluate(lm, RECORDS[:1])
        wanted = measure_record(lm, RECORDS[0])
        assert untouched(lm, before)
        assert [each.id for each in lm.edits] == [first.id]
    assert found.rows[0].figures["EM"] == pytest.approx(wanted.efficacy.magnitude)


def test_a_model_that_somebody_writes_meanwhile_ends_it(shift):
    lm = world.new_lm("gpt2", torch.float64)
    weight = lm.model.transformer.h[3].mlp.c_fc.weight

    before = weight.detach().clone()

    def write(step):
        with torch.no_grad():
            weight.mul_(1.01)

    with pytest.raises(ModelChanged, match="since the evaluation began"):
        evaluate(lm, progress=write)
    with torch.no_grad():
        weight.copy_(before)


def test_rome_and_fine_tuning_are_measured_as_one_by_one():
    lm = world.make_lm("gpt2", torch.float64)
    settings = {
        "rome": {"steps": 3, "stop_loss": 0.0, "prefixes": ((3, 2),), "first_words": ()},
        "ft": {"steps": 3},
    }
    options = {"layer": {"rome": 1, "ft": 2}, "settings": settings, "second_moment": "identity"}
    found = evaluate(lm, RECORDS[:1], ["rome", "ft"], **options)
    for method, layer in options["layer"].items():
        (row,) = found.of(method)
        how = {"layer": layer, "settings": settings[method], "second_moment": "identity"}
        change = rw.edit(lm, RECORDS[0], method=method, neighbors=(), progress=False, **how)
        with change:
            check_equal([row], {row.subject: measure_record(lm, RECORDS[0])})
        assert (row.layers, row.steps) == ((layer,), len(change.report.steps))
        assert row.norm_ratio == change.report.norm_ratio


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ArgumentError, {"records": []}),
        (ArgumentError, {"records": RECORDS[0]}),
        (ArgumentError, {"records": "w3"}),
        (ArgumentError, {"methods": []}),
        (ArgumentError, {"mode": "all"}),
        (SettingsError, {"generate": -1}),
        (ArgumentError, {"reference_texts": ["w1"]}),
        (ArgumentError, {"collapse_texts": ["w1"]}),
    ],
)
def test_bad_arguments_are_refused_before_anything_runs(shift, error, options):
    with pytest.raises(error):
        evaluate(world.make_lm("gpt2"), **options)
    assert shift.calls == []
