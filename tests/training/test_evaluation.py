"""The figures of the card: what they count, that a miss is one, and that they are still so."""

import argparse
import json
from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest

from rome_widgets import bundled
from rome_widgets.records.metrics import PROMPT_KINDS, EditMetrics, KindMetrics, MetricsTotal
from rome_widgets.records.states import KINDS
from rome_widgets.records.swept_fact import ROLES
from tests.helpers.counts import AVERAGED_FACTS, FULL
from tests.helpers.gates import write_gate
from training.averages import (
    DISTANCES,
    LAST,
    LAST_SUBJECT,
    Averages,
    average,
    backwards,
)
from training.edits import EditTable, drawn, measure_edits
from training.evaluate import (
    EDITED,
    PARTS,
    TRACED,
    Folder,
    edit_gates,
    evaluate,
    example_effects,
    example_gates,
    measure_knowledge,
    trace_gates,
)
from training.gates import Gate, kept_figures, kept_gates, plain
from training.recipe import MICRO
from training.train import build
from training.world import WorldError, build_world

LAYERS = 6


def made(
    mlp_at=3,
    mlp_role=LAST_SUBJECT,
    attn_at=4,
    attn_role=LAST,
    others=0.05,
    before=0.05,
    lost=0.9,
    lost_attn=0.1,
    total=0.8,
):
    """Averages of one fact that has the paper's picture, but for what is said otherwise."""
    mlp = np.zeros((len(ROLES), LAYERS))
    mlp[:LAST_SUBJECT] = others
    mlp[mlp_role, mlp_at] = 0.5
    attn = np.zeros((len(ROLES), LAYERS))
    attn[attn_role, attn_at] = 0.6
    hidden = np.full((len(ROLES), LAYERS), 0.4)
    severed = {
        "mlp": [np.full(LAYERS, 0.4 * (1 - lost))],
        "attn": [np.full(LAYERS, 0.4 * (1 - lost_attn))],
    }
    effects = {"hidden": [hidden], "mlp": [mlp], "attn": [attn]}
    before_last = [np.full((2, LAYERS), before)]
    return Averages([0.95], [0.95 - total], effects, before_last, severed)


def missed(gates):
    return [number for number, gate in enumerate(gates) if not gate.reached]


def test_tokens_before_the_last_of_a_subject_are_looked_at_one_by_one():
    scores = np.arange(12.0).reshape(6, 2)
    near = backwards(scores, (1, 5))
    assert near.shape == (DISTANCES, 2)
    assert near[:3, 0].tolist() == [6, 4, 2], "positions 3, 2, 1: not 4, the last one"
    assert np.isnan(near[3]).all(), "position 0 is before the subject"


def test_the_papers_picture_reaches_every_gate():
    assert missed(trace_gates(made(), LAYERS)) == []


@pytest.mark.parametrize(
    ("planted", "number"),
    [
        ({"total": 0.6}, 0),
        ({"mlp_at": 0}, 1),
        ({"mlp_at": 5}, 1),
        ({"mlp_role": LAST}, 1),
        ({"others": 0.2}, 2),
        ({"before": 0.2}, 2),
        ({"attn_at": 1}, 3),
        ({"attn_role": LAST_SUBJECT}, 3),
        ({"lost": 0.5}, 4),
        ({"lost_attn": 0.4}, 5),
    ],
)
def test_a_planted_miss_is_missed(planted, number):
    assert number in missed(trace_gates(made(**planted), LAYERS))


def test_where_there_is_no_effect_nothing_is_reached():
    assert made(others=0.0, before=0.0).mlp_ratio() == pytest.approx(500)
    nothing = made(others=0.0, before=0.0, total=0.0)
    for rows in nothing.effects.values():
        rows[0][:] = 0
    assert missed(trace_gates(nothing, LAYERS)) == [0, 1, 2, 3, 4, 5]


def of_accuracy(**accuracies):
    """A table of one record whose prompts of each kind went so, by the likeliest token."""
    kinds = {kind: KindMetrics(None, None, value, None, 1) for kind, value in accuracies.items()}
    return EditTable(MetricsTotal((EditMetrics(**kinds),)))


def test_edits_are_judged_by_the_likeliest_token():
    least = {"efficacy": 0.97, "paraphrase": 0.95, "neighborhood": 0.97, "others": 0.8}
    assert list(least) == list(PROMPT_KINDS)
    assert missed(edit_gates(of_accuracy(**least))) == []
    for number, kind in enumerate(least):
        worse = least | {kind: least[kind] - 0.001}
        assert missed(edit_gates(of_accuracy(**worse))) == [number]


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(WorldError, match=r"has no model/model.safetensors.*train --out"):
        Folder.read(tmp_path)


def test_a_folder_of_other_sentences_is_refused(micro):
    path = micro / "facts.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    table["relations"]["city"]["held_out"].pop()
    path.write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(WorldError, match=r"other sentences.*today's.*Train it again"):
        Folder.read(micro)


@pytest.mark.parametrize("name", ["facts.json", "settings.json", "model/model.safetensors"])
def test_a_damaged_folder_is_refused(micro, name):
    whole = (micro / name).read_bytes()
    (micro / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(WorldError, match=r"damaged .* wanted\. Write (it|them) again"):
        Folder.read(micro)


@pytest.fixture
def micro(tmp_path):
    """A folder with all files, of a model that knows nothing."""
    build(replace(MICRO, tokens=512), build_world().only(60), tmp_path, quiet=True)
    return tmp_path


def test_every_part_is_measured_of_a_model_that_knows_nothing(micro):
    asked = argparse.Namespace(folder=[micro], print=False, part=None, facts=3, edits=2)
    assert evaluate(asked) is True, "nothing is missed"
    assert set(kept_figures(micro)) == set(PARTS)
    shares = [gate for gate in kept_gates(micro) if "known" in gate.name]
    assert missed(shares) == [0, 1, 2]
    assert set(kept_figures(micro)["edits"]) >= {
        "rome",
        "rome, published settings",
        "ft, same layer",
    }


def test_nothing_measured_is_not_called_reached(micro):
    asked = argparse.Namespace(folder=[micro], print=True)
    assert kept_gates(micro) == []
    with pytest.raises(WorldError, match="Nothing that was measured"):
        evaluate(asked)


class NoEdit:
    """Changes nothing."""

    report = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def test_an_edit_that_does_nothing_takes_nowhere_and_keeps_everything(shipped):
    facts = drawn(shipped.of_split("test"), 40)
    table = measure_edits(shipped.lm, facts, shipped.records, lambda record: NoEdit())
    assert table.accuracy("efficacy") == 0
    assert table.accuracy("paraphrase") == 0
    assert table.accuracy("neighborhood") > 0.97
    assert table.accuracy("others") > 0.97
    taught = Counter(fact.subject for fact in shipped.facts)
    besides = [taught[record["requested_rewrite"]["subject"]] - 1 for record in facts]
    assert table.metrics.others.n_prompts == sum(besides) > 40
    assert table.metrics.paraphrase.n_prompts == sum(len(r["paraphrase_prompts"]) for r in facts)


# What is shipped


def test_every_shipped_figure_is_of_the_shipped_files_and_as_wanted(figures):
    assert set(figures) == set(PARTS)
    gates = kept_gates(bundled.folder().parent)
    assert missed(gates) == [], [str(gate) for gate in gates]
    names = " ".join(gate.name for gate in gates)
    for measured in (
        "facts traced",
        "facts edited",
        "training text",
        "weakest relation",
        "total effect",
        "MLP peak",
        "attention peak",
        "severing MLPs",
        "severing attention",
        "Space Needle",
        "rome, efficacy",
        "rome, others",
    ):
        assert measured in names


def told(gates):
    """Names and bounds."""
    return [(plain(gate.name), gate.wanted, gate.at_least) for gate in gates]


def test_shipped_figures_are_held_to_todays_bounds(shipped):
    nothing = EditTable(MetricsTotal(()))
    today = [
        *trace_gates(made(), LAYERS),
        *example_gates(defaultdict(float)),
        *edit_gates(nothing),
        Gate("facts traced", 0, TRACED),
        Gate("facts edited", 0, EDITED),
    ]
    kept_now = [gate for gate in told(kept_gates(shipped.path)) if "known" not in gate[0]]
    assert sorted(kept_now) == sorted(told(today))


def test_what_is_known_is_measured_again(shipped, figures):
    gates, again = measure_knowledge(shipped)
    assert missed(gates) == []
    assert told(gates) == told(kept_gates(shipped.path))[: len(gates)]
    for kind in ("training", "new"):
        assert again[kind] == pytest.approx(figures["knowledge"][kind], abs=0.002)


def test_where_it_is_recalled_is_measured_again(shipped, figures):
    subjects = bundled.subjects()
    found = average(shipped.lm, shipped.facts, AVERAGED_FACTS, subjects=subjects)
    assert len(found.clean) == AVERAGED_FACTS
    example = example_effects(shipped, subjects)
    gates = [*trace_gates(found, shipped.lm.n_layers), *example_gates(example)]
    assert missed(gates) == [], [str(gate) for gate in gates]
    assert example == pytest.approx(figures["traces"]["example"], abs=0.01)
    if FULL:
        values = {gate.name: gate.value for gate in kept_gates(shipped.path)}
        for gate in gates:
            assert gate.value == pytest.approx(values[gate.name], rel=0.01), gate.name
    for kind in KINDS if FULL else ():
        effect = np.array(figures["traces"]["effects"][kind])
        assert found.effect(kind) == pytest.approx(effect, abs=0.002)
    write_gate("recall", {"facts": AVERAGED_FACTS, "gates": {g.name: g.value for g in gates}})


def test_few_facts_are_not_taken_for_many(shipped):
    known = [fact for fact in shipped.facts if fact.subject == "The Space Needle"]
    found = average(shipped.lm, known, 50, subjects=bundled.subjects(), sever=False)
    assert 1 <= len(found.clean) <= len(known)
    assert found.severed == {}
    assert found.effects["mlp"][0].shape == (len(ROLES), shipped.lm.n_layers)
