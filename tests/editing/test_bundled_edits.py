"""Edits of the bundled model take, carry over to other sentences, and leave the rest alone.

`rome_widgets.records.metrics` says what is counted. The facts are of the test split: settings
were chosen on the other one. What fine-tuning and the published settings do is reported, not
demanded, but for the trade-off that the paper reports.
"""

import copy
from functools import cache

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.statistics.choose_second_moment import read_shipped
from rome_widgets.records.fact import Fact
from tests.helpers import reference_rome
from tests.helpers.counts import EDITED_FACTS, FULL, REFERENCE_EDITS
from tests.helpers.gates import write_gate
from tests.helpers.model_guard import fingerprint
from training.edits import COUNTED, drawn, measure_edits, relation_of
from training.evaluate import PUBLISHED
from training.gates import kept_figures

LAYER = rw.bundled.settings()["rome"]["layer"]
METHODS = {
    "rome": {"method": "rome"},
    "r-rome": {"method": "r-rome"},
    "ft": {"method": "ft"},
    "ft-l": {"method": "ft-l"},
    "ft, same layer as rome": {"method": "ft", "layer": LAYER},
    "rome, published settings": {"method": "rome", "settings": PUBLISHED},
}
FIGURES = {}
DIFFERENCES = {}
"""Of each edit to that of the reference, as a share of its norm."""


def figures_of_the_card():
    """What the card says, by the names of this table."""
    edits = kept_figures(rw.bundled.folder().parent)["edits"]
    names = {"ft, same layer as rome": "ft, same layer"}
    return {
        name: {figure: edits[names.get(name, name)][figure] for figure in COUNTED}
        for name in ("rome", "rome, published settings", *names)
    }


@cache
def table_of(lm, name):
    """Each method's edits are made once, whichever tests are run."""
    facts = drawn(rw.bundled.facts("test"), EDITED_FACTS)
    assert len({relation_of(r) for r in facts}) == len({relation_of(r) for r in rw.bundled.facts()})
    return measure_edits(
        lm, facts, rw.bundled.facts(), lambda record: rw.edit(lm, record, **METHODS[name])
    )


@pytest.mark.parametrize("name", METHODS)
def test_edits_take_and_stay_where_they_belong(bundled_lm, name):
    before = fingerprint(bundled_lm.model)
    table = table_of(bundled_lm, name)
    assert fingerprint(bundled_lm.model) == before
    doubted = [any("was wanted" in warning for warning in r.warnings) for r in table.reports]
    not_said = [record.efficacy.probability < 0.5 for record in table.metrics.records]
    assert doubted == not_said, "what the model does not say is warned of"
    rises = [report.perplexity[1] / report.perplexity[0] for report in table.reports]
    warned = sum(len(r.warnings) > d for r, d in zip(table.reports, doubted, strict=True))
    FIGURES[name] = table.figures() | {
        "layer": table.reports[-1].layer,
        "perplexity after / before": [round(min(rises), 3), round(max(rises), 3)],
        "edits warned of for another reason": warned,
        "edits warned of, as the model does not say the target": sum(doubted),
    }
    print(name, FIGURES[name])
    if len(FIGURES) == len(METHODS):
        write_gate("rome", FIGURES)
    for figure, said in figures_of_the_card().get(name, {}).items() if FULL else ():
        assert table.figures()[figure] == pytest.approx(said, abs=0.01), "the card says other"
    if name in ("rome", "r-rome"):
        assert table.accuracy("efficacy") >= (0.97 if FULL else 0.95)
        assert table.accuracy("paraphrase") >= (0.95 if FULL else 0.9)
        assert table.accuracy("neighborhood") >= (0.97 if FULL else 0.95)
        assert table.accuracy("others") >= (0.8 if FULL else 0.7)
        assert max(rises) < 1.1
        assert warned == 0


def row_of(lm, fact, prefix):
    """(ids, position of the last subject token) of a prefixed prompt."""
    before = f"{prefix}. " if prefix else ""
    start = len(before) + fact.subject_start
    encoded = lm.encode(before + fact.text, (start, start + len(fact.subject)))
    return list(encoded.ids), encoded.subject_span[1] - 1


def by_reference(lm, made, record):
    """`[d_out, d_in]`: the same edit's change of the matrix, by whole passes in float64."""
    fact, settings = Fact.from_record(record), made.report.settings
    moment = read_shipped(rw.bundled.second_moment_file(), LAYER, 0.0).matrix
    ridge = settings["ridge"] * moment.diagonal().mean() * torch.eye(len(moment))
    about, last = row_of(lm, Fact("{}", fact.subject), "")
    value, direction, _, _ = reference_rome.rome(
        copy.deepcopy(lm.model).double(),
        lm.geometry.edited_matrices[LAYER],
        [row_of(lm, fact, prefix) for prefix in made.report.prefixes],
        list(lm.answer_ids(fact.text, made.report.target)),
        (about, last),
        moment + ridge,
        dict(settings),
    )
    return torch.outer(value, direction)


@pytest.mark.parametrize("record", drawn(rw.bundled.facts("test"), REFERENCE_EDITS))
def test_an_edit_is_that_of_the_slow_reference(bundled_lm, record):
    made = rw.edit(bundled_lm, record)
    (update,) = made.updates
    ours = torch.outer(update.v[0].double(), update.u[0].double())
    wanted = by_reference(bundled_lm, made, record)
    DIFFERENCES[record["case_id"]] = float((ours - wanted).norm() / wanted.norm())
    if len(DIFFERENCES) == REFERENCE_EDITS:
        worst = max(DIFFERENCES.values())
        write_gate("rome_reference", {"edits": REFERENCE_EDITS, "worst difference": worst})
    # float32 against float64: over up to 200 steps of the optimisation
    assert DIFFERENCES[record["case_id"]] < 1e-4


def test_fine_tuning_at_the_same_layer_trades_neighbours_for_the_fact(bundled_lm):
    ours = table_of(bundled_lm, "rome")
    tuned = table_of(bundled_lm, "ft, same layer as rome")
    assert tuned.accuracy("efficacy") >= 0.9
    assert tuned.accuracy("neighborhood") < ours.accuracy("neighborhood") - 0.1


def test_the_space_needle_moves_to_paris(bundled_lm):
    edit = rw.edit(bundled_lm, "{} is in the city of", "The Space Needle", "Paris")
    assert edit.report.layer == LAYER
    assert edit.report.settings_from == "the model's card"
    assert edit.report.probability > 0.9
    (found,) = edit.compare("The Space Needle is in the city of", generate=3)
    assert found.rows[0].token == " Paris"
    assert found.before.strip().startswith("Seattle")
    assert found.after.strip().startswith("Paris")
    assert "Paris" in edit.to_code()
