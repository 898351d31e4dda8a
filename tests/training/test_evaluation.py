"""The figures of the card: what they count, that a miss is one, and that they are still so."""

import argparse
import copy
import hashlib
import json
import re
import sys
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from counts import AVERAGED_FACTS, FULL
from gates import write_gate

from rome_widgets import bundled
from rome_widgets.errors import WorldError
from rome_widgets.results import KINDS
from rome_widgets.training import consistency, organisms
from rome_widgets.training import evaluate as evaluation
from rome_widgets.training.averages import (
    DISTANCES,
    LAST,
    LAST_SUBJECT,
    ROLES,
    Averages,
    askable,
    average,
    backwards,
    by_role,
)
from rome_widgets.training.edits import EditTable, drawn, measure, next_tokens
from rome_widgets.training.evaluate import (
    EDITED,
    PARTS,
    TRACED,
    Folder,
    Gate,
    edit_gates,
    evaluate,
    example_effects,
    example_gates,
    keep,
    kept,
    kept_gates,
    measure_knowledge,
    plain,
    side_by_side,
    trace_gates,
)
from rome_widgets.training.knowledge import top_tokens
from rome_widgets.training.organisms import ORGANISMS, placed
from rome_widgets.training.recipe import MICRO
from rome_widgets.training.train import build
from rome_widgets.training.world import build_world

LAYERS = 6
README = Path(__file__).parents[2] / "README.md"


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


def test_roles_are_averaged_in_their_order():
    scores = np.arange(7.0)[:, None].repeat(2, axis=1)
    assert by_role(scores, (1, 4))[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    two = by_role(scores, (1, 3))
    assert np.isnan(two[1]).all()
    assert two[:, 0].tolist()[2:] == [2, 3, 4.5, 6]


def test_a_token_that_is_first_after_and_last_counts_as_last():
    scores = np.arange(4.0)[:, None]
    roles = by_role(scores, (0, 3))[:, 0]
    assert np.isnan(roles[ROLES.index("first after")])
    assert roles[LAST] == 3


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


def test_edits_are_judged_by_the_likeliest_token():
    table = EditTable()
    kinds = ("efficacy", "paraphrase", "neighbourhood", "others")
    for kind in kinds:
        table.count(kind, [True] * 99 + [False])
    assert missed(edit_gates(table)) == []
    for number, kind in enumerate(kinds):
        worse = copy.deepcopy(table)
        worse.count(kind, [False])
        assert missed(edit_gates(worse)) == [number]


def test_a_fact_with_many_neighbours_counts_once():
    table = EditTable()
    table.count("neighbourhood", [True] * 9, [True] * 9)
    table.count("neighbourhood", [False], [False])
    table.count("neighbourhood", [])
    assert table.share("neighbourhood") == 0.5
    assert table.prompts["neighbourhood"] == 10


def test_a_gate_says_what_was_wanted():
    assert str(Gate("share", 0.5, 0.6)) == "MISSED   share: 0.5, wanted ≥ 0.6"
    assert str(Gate("share", 0.5, 0.6, at_least=False)) == "reached  share: 0.5, wanted ≤ 0.6"


def test_a_gate_is_not_reached_by_rounding():
    assert not Gate("share", 0.79999, 0.8).reached
    assert not Gate("share", 0.30001, 0.3, at_least=False).reached
    assert not Gate("share", float("nan"), 0.3).reached
    assert not Gate("share", float("nan"), 0.3, at_least=False).reached


@pytest.fixture
def files(tmp_path):
    """A folder that has every file that figures depend on."""
    (tmp_path / "model").mkdir()
    for name in PARTS["edits"].files:
        (tmp_path / name).write_bytes(b"one")
    return tmp_path


def test_figures_are_kept_by_part_and_put_side_by_side(files):
    keep(files, "knowledge", [Gate("known (city)", 0.5, 0.9)], {})
    keep(files, "traces", [Gate("total effect", 0.8, 0.7)], {})
    assert set(kept(files)["traces"]["sha256"].values()) == {hashlib.sha256(b"one").hexdigest()}
    assert [gate.reached for gate in kept_gates(files)] == [False, True]
    assert "| known | ≥ 0.9 | 0.5 (missed) |" in side_by_side([files])
    assert {path.name for path in files.glob("figures*")} == {"figures.json"}


@pytest.mark.parametrize("name", PARTS["edits"].files)
def test_figures_count_for_the_files_they_were_measured_of_only(files, name):
    for part in PARTS:
        keep(files, part, [Gate(part, 0.5, 0.9)], {})
    assert set(kept(files)) == set(PARTS)
    (files / name).write_bytes(b"two")
    assert set(kept(files)) == {part for part in PARTS if name not in PARTS[part].files}
    assert "edits" not in kept(files)
    keep(files, "edits", [], {})
    assert "edits" in kept(files)


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


@pytest.fixture
def micro(tmp_path):
    """A folder with all files, of a model that knows nothing."""
    build(replace(MICRO, tokens=512), build_world().only(60), tmp_path, quiet=True)
    return tmp_path


def test_every_part_is_measured_of_a_model_that_knows_nothing(micro):
    asked = argparse.Namespace(folder=[micro], print=False, part=None, facts=3, edits=2)
    assert evaluate(asked) is True, "nothing is missed"
    assert set(kept(micro)) == set(PARTS)
    shares = [gate for gate in kept_gates(micro) if "known" in gate.name]
    assert missed(shares) == [0, 1, 2]
    assert set(kept(micro)["edits"]) >= {"rome", "rome, published settings", "ft, same layer"}


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
    table = measure(shipped.lm, facts, shipped.records, lambda record: NoEdit())
    assert table.share("efficacy") == 0
    assert table.share("paraphrase") == 0
    assert table.share("neighbourhood") > 0.97
    assert table.share("others") > 0.97
    taught = Counter(fact.subject for fact in shipped.facts)
    besides = [taught[record["requested_rewrite"]["subject"]] - 1 for record in facts]
    assert table.prompts["others"] == sum(besides) > 40
    assert table.prompts["paraphrase"] == sum(len(r["paraphrase_prompts"]) for r in facts)


def ended(monkeypatch, module, *arguments):
    """What a command exits with."""
    monkeypatch.setattr(sys, "argv", [module.__name__, *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        module.main()
    return end.value.code


def test_the_command_prints_what_is_kept_and_fails_where_it_is_missed(files, monkeypatch, capsys):
    assert "Leave --print out" in ended(monkeypatch, evaluation, files, "--print")
    keep(files, "traces", [Gate("total effect", 0.8, 0.7)], {})
    assert ended(monkeypatch, evaluation, files, "--print") == 0
    keep(files, "edits", [Gate("rome, efficacy", 0.8, 0.9)], {})
    assert ended(monkeypatch, evaluation, files, "--print") == 1
    assert "| rome, efficacy | ≥ 0.9 | 0.8 (missed) |" in capsys.readouterr().out
    assert "train --out" in ended(monkeypatch, evaluation, files / "nothing")


def test_organisms_that_know_nothing_are_refused(monkeypatch):
    refusal = ended(monkeypatch, organisms, "--tokens", 512, "--facts", 1)
    assert "Give it more --tokens." in refusal


def test_the_tables_are_found_consistent(monkeypatch, capsys):
    assert ended(monkeypatch, consistency) == 0
    assert "1462 rows, no doubles, no contradictions." in capsys.readouterr().out


# What is shipped


@pytest.fixture(scope="module")
def shipped():
    return Folder.read(bundled.folder().parent)


@pytest.fixture(scope="module")
def figures():
    return kept(bundled.folder().parent)


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
    nothing = EditTable()
    today = [
        *trace_gates(made(), LAYERS),
        *example_gates(defaultdict(float)),
        *edit_gates(nothing),
        Gate("facts traced", 0, TRACED),
        Gate("facts edited", 0, EDITED),
    ]
    kept_now = [gate for gate in told(kept_gates(shipped.path)) if "known" not in gate[0]]
    assert sorted(kept_now) == sorted(told(today))


def test_the_card_says_what_was_measured_of_every_model():
    """Three digits of every figure, and a cross where one is missed."""
    gates = {"shipped, seed 1": kept_gates(bundled.folder().parent)}
    bounds = {plain(gate.name): gate for gate in gates["shipped, seed 1"]}
    twins = json.loads((README.parent / "benchmarks/results/twins.json").read_text("utf-8"))
    for label, twin in twins.items():
        found = twin["figures"].items()
        gates[label] = [replace(bounds[plain(n)], name=n, value=value) for n, value in found]
    rows = table_rows(bundled.card())
    columns = ["wanted", *gates]
    assert rows[""] == columns
    for label, measured in gates.items():
        for gate in measured:
            if gate.name.startswith("facts "):
                continue
            said = rows[plain(gate.name)][columns.index(label)]
            assert ("✗" in said) == (not gate.reached), (label, gate.name)
            inside = re.search(r"\(([^)]*)\)", gate.name)
            assert inside is None or inside.group(1) in said
            if "peak:" not in plain(gate.name):
                assert float(said.split()[0]) == float(f"{gate.value:.3g}"), (label, gate.name)


def test_the_card_says_where_recall_was_found_that_was_put_elsewhere():
    """The largest effect in bold."""
    rows = table_rows(bundled.card())
    path = README.parent / "benchmarks" / "results" / "organisms.json"
    found = json.loads(path.read_text(encoding="utf-8"))
    names = {name: f"layers {', '.join(map(str, placed(r)))}" for name, r in ORGANISMS.items()}
    for name, row in {**names, "twin": "nowhere (plain training)"}.items():
        *effects, clarity = (cell.replace("**", "") for cell in rows[row])
        hundredths = [round(100 * effect) for effect in found[name]["last subject token"]]
        assert [int(effect) for effect in effects] == hundredths
        assert float(clarity) == found[name]["times the effect elsewhere"]
        if name in ORGANISMS:
            assert "**" in rows[row][found[name]["peak"]]


def test_card_and_readme_have_the_same_table_of_edits(figures):
    names = {
        "ROME, this card's settings": "rome",
        "ROME, settings of the card": "rome",
        "ROME, published settings": "rome, published settings",
        "ft, same matrix": "ft, same layer",
        "fine-tuning, same matrix": "ft, same layer",
    }
    for text, columns in ((bundled.card(), 5), (README.read_text("utf-8"), 4)):
        table = {name: row for name, row in table_rows(text).items() if name in names}
        assert len(table) == 3
        for name, row in table.items():
            found = figures["edits"][names[name]]
            shares = [*found["top-1"].values(), found["other facts of the subject kept, top-1"]]
            for said, share in zip(row, [*shares, found["S"]][:columns], strict=True):
                digits = len(said.removesuffix(" %").partition(".")[2])
                assert said.removesuffix(" %") == f"{100 * share + 1e-9:.{digits}f}", name


def table_rows(text):
    """`{first cell: other cells}` of every Markdown table in a text."""
    rows = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {first: others for first, *others in cells}


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


def test_prompts_of_all_lengths_at_once_are_answered_as_in_groups_of_one(shipped):
    asked = list(askable(shipped.facts, seed=1))[:60]
    prompts = [prompt for _, prompt in asked]
    together = top_tokens(shipped.lm.model, shipped.lm.tokenizer, prompts, batch=7)
    one_length = [int(p.argmax()) for p in next_tokens(shipped.lm, prompts)]
    assert together.tolist() == one_length


def test_few_facts_are_not_taken_for_many(shipped):
    known = [fact for fact in shipped.facts if fact.subject == "The Space Needle"]
    found = average(shipped.lm, known, 50, subjects=bundled.subjects(), sever=False)
    assert 1 <= len(found.clean) <= len(known)
    assert found.severed == {}
    assert found.effects["mlp"][0].shape == (len(ROLES), shipped.lm.n_layers)
