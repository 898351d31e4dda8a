"""Writes docs/families.md: what can be traced and edited, family by family.

    python -m tools.families

Nothing in the table is typed in: each row is what a tiny random model of the family gives.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import transformers

from rome_widgets.errors import UnsupportedModel
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.structure.geometry import Geometry
from rome_widgets.records.states import KINDS
from tests.helpers import families
from tests.helpers.tiny import word_tokenizer

ROOT = Path(__file__).parent.parent
TABLE = ROOT / "docs" / "families.md"

HEAD = """# Model families

What is found in a tiny random model of each family, built by transformers {version}.
Written by `python -m tools.families`; a test compares it with what the code finds.

- **hidden**, **mlp**, **attn**: can these states be restored? For mlp and attn they are what
  reaches the residual stream: after a post-norm, before a residual that is added inside.
- **blocks add**: the sum that was proved in every block; h' is the state before it, a and m are
  the attention and MLP contributions, c the only one, e a third; norms and named constants are
  the model's own.
- **edit**: is the single matrix there that ROME changes?
- **engine**: how a trace is computed: `replay` runs only the blocks and positions that can have
  changed, and was proved on this model; else whole forward passes, and why.

"""


class Row(NamedTuple):
    """One family of the table, as text."""

    family: str
    model: str
    hidden: str
    mlp: str
    attn: str
    blocks_add: str
    edit: str
    engine: str


def engine_of(lm: LanguageModel) -> str:
    """How a trace of this model is computed."""
    return lm.engine


def rows() -> Iterator[Row]:
    """A row per family of tests/helpers/families.py, the refused ones last."""
    for name in (*families.FAMILIES, *families.REFUSED):
        model = families.tiny_family(name)
        kind = type(model).__name__
        try:
            lm = LanguageModel(model, word_tokenizer())
        except UnsupportedModel as error:
            yield Row(name, kind, *("no",) * 3, "", f"refused: {error.wanted}", "")
            continue
        traced = ("yes" if each in lm.geometry.kinds else "no" for each in KINDS)
        sums = lm.geometry.equation
        yield Row(name, kind, *traced, f"`{sums}`", edit_of(lm.geometry), engine_of(lm))


def edit_of(geometry: Geometry) -> str:
    """Whether an edit is defined: in all blocks, in some, or why in none."""
    reasons = list(dict.fromkeys(reason for reason in geometry.edit_refusal if reason))
    if not reasons:
        return "yes"
    some = "in some blocks; in the others no" if any(geometry.edited_matrices) else "no"
    return f"{some}: {'; '.join(reasons)}"


def table() -> str:
    """The rows as a Markdown table."""
    head = [field.replace("_", " ") for field in Row._fields]
    lines = [head, ["---"] * len(head), *rows()]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    """Write the file."""
    TABLE.write_text(HEAD.format(version=transformers.__version__) + table(), encoding="utf-8")
    print(f"wrote {TABLE.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
