"""The committed table of families is what the code finds."""

import transformers

from rome_widgets.model.structure.geometry import Geometry
from tests.helpers import families
from tools import families as tool


def test_the_committed_table_is_up_to_date():
    committed = tool.TABLE.read_text(encoding="utf-8")
    expected = tool.table()
    for row in committed_rows(committed, expected):
        assert row in expected, "run python -m tools.families"
    assert "| gemma2 | Gemma2ForCausalLM | yes | yes | yes |" in expected
    assert "| mamba | MambaForCausalLM | yes | no | no |" in expected
    assert "| gemma3n | Gemma3nForCausalLM | no | no | no |" in expected


def committed_rows(committed, expected):
    """The whole table; with another transformers what can be traced, of the families it has."""
    if f"transformers {transformers.__version__}" in committed:
        assert committed[committed.index("| family |") :] == expected
        return [expected]
    known = [*families.FAMILIES, *families.REFUSED]
    rows = [row for row in committed.splitlines() if row.split(" | ")[0].strip("| ") in known]
    assert len(rows) == len(known) > 60
    found = dict(zip(known, expected.splitlines()[2:], strict=True))
    broken = [name for name, row in found.items() if "refused: A plain forward pass" in row]
    assert set(broken) <= {"mpt"}, "what transformers 5.0 itself cannot run"
    return [
        " | ".join(row.split(" | ")[:5])
        for name, row in zip(known, rows, strict=True)
        if name not in broken
    ]


def test_an_edit_in_some_blocks_only_says_so():
    parts = ("b0", "b1")
    both = Geometry("e", parts, parts, parts, ("d0", "d1"), 8, edit_refusal=(None, None))
    one = Geometry("e", parts, parts, parts, ("d0", None), 8, edit_refusal=(None, "experts"))
    none = Geometry("e", parts, parts, parts, (None, None), 8, edit_refusal=("x", "x"))
    assert tool.edit_of(both) == "yes"
    assert tool.edit_of(one) == "in some blocks; in the others no: experts"
    assert tool.edit_of(none) == "no: x"
