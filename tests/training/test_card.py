"""Card and README say what was measured, digit by digit."""

import json
import re
from dataclasses import replace
from pathlib import Path

from rome_widgets import bundled
from training.gates import kept_gates, plain
from training.organisms import ORGANISMS, placed

README = Path(__file__).parents[2] / "README.md"


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
            shares = [*found["accuracy"].values(), found["S"]]
            for said, share in zip(row, shares[:columns], strict=True):
                digits = len(said.removesuffix(" %").partition(".")[2])
                assert said.removesuffix(" %") == f"{100 * share + 1e-9:.{digits}f}", name


def table_rows(text):
    """`{first cell: other cells}` of every Markdown table in a text."""
    rows = [line.strip() for line in text.splitlines() if line.strip().startswith("|")]
    cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    return {first: others for first, *others in cells}
