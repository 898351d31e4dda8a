"""Measure every figure of the model card, beside what was wanted of it.

    python -m training.evaluate folder

The folder is what a training wrote; several are put side by side. The figures go into
`figures.json` in it; parts can be measured by themselves (`--part`), each replaces its own. They
count for the files that they were measured of, and no longer. Exits with 1 where one is missed.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoTokenizer, GPT2LMHeadModel

from rome_widgets.bundled import records_of
from rome_widgets.editing.edit import Edit, edit
from rome_widgets.editing.methods import find_editor
from rome_widgets.editing.methods.rank_one.settings import RankOneSettings
from rome_widgets.editing.settings import Settings
from rome_widgets.editing.statistics.choose_second_moment import read_shipped
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.tracing.noise import Noise
from rome_widgets.tracing.tracer import CausalTracer
from training.averages import SAMPLES, Averages, average
from training.command import count, run
from training.edits import EditTable, Record, drawn, measure_edits
from training.gates import FILES, Gate, keep, kept_gates, side_by_side
from training.knowledge import known, share, shares
from training.model_files import check_files, read_json
from training.relations import relations_table
from training.world import TaughtFact, WorldError

EXAMPLE = ("The Space Needle is in the city of", "The Space Needle", "Seattle")
TRACED, EDITED = 300, 200
"""At least so many facts."""
DRAWS = 3
"""Of the noise, for the example."""
PUBLISHED = RankOneSettings(learning_rate=0.5)
"""The published numbers of GPT-2."""


@dataclass(frozen=True)
class Folder:
    """A trained model with everything beside it."""

    path: Path
    lm: LanguageModel
    facts: tuple[TaughtFact, ...]
    records: list[Record]
    settings: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Folder:
        """Read what `training.train` wrote.

        Raises:
            WorldError: The folder is of something else or of other sentences than today's, or a
                file in it is damaged.
        """
        check_files(path, FILES["edits"])
        table = read_json(path / "facts.json")
        if table["relations"] != relations_table():
            raise WorldError(
                f"{path / 'facts.json'} has other sentences than this version of the package.",
                "A model that was trained on today's sentences was wanted.",
                f"Train it again: python -m training.train --out {path}",
            )
        try:
            model = GPT2LMHeadModel.from_pretrained(path / "model", dtype=torch.float32).eval()
        except SafetensorError as error:
            raise WorldError(
                f"The weights in {path / 'model'} are damaged ({error}).",
                "Those that a training wrote were wanted.",
                f"Write them again: python -m training.train --out {path}",
            ) from error
        lm = LanguageModel(model, AutoTokenizer.from_pretrained(path / "model"))
        facts = tuple(
            TaughtFact(*(row[each.name] for each in fields(TaughtFact))) for row in table["facts"]
        )
        return cls(path, lm, facts, records_of(table), read_json(path / "settings.json"))

    def of_split(self, split: str) -> list[Record]:
        """The records of a split."""
        return [r for r, fact in zip(self.records, self.facts, strict=True) if fact.split == split]

    def editor(
        self, method: str, settings: Settings | None = None, layer: int | None = None
    ) -> Callable[[Record], Edit]:
        """Computes edits of one method, with the settings of the folder unless others are given."""
        of_method = find_editor(method)
        known = of_method.known(self.lm, self.settings[method])
        at, chosen = known.layer if layer is None else layer, settings or known.settings
        moment = None
        if "statistics" in of_method.needs:
            assert at is not None
            moment = read_shipped(
                self.path / "second_moment.safetensors", at, getattr(chosen, "ridge", 0.0)
            )
        return lambda record: edit(
            self.lm, record, method=method, layer=at, settings=chosen, second_moment=moment
        )


def measure_knowledge(folder: Folder) -> tuple[list[Gate], dict[str, Any]]:
    """Which facts are known, in sentences of the text and in new ones."""
    old = known(folder.lm, folder.facts, held_out=False)
    new = known(folder.lm, folder.facts, held_out=True)
    weakest = min(shares(new).items(), key=lambda item: item[1])
    gates = [
        Gate("known, sentences of the training text", share(old), 0.98),
        Gate("known, new sentences", share(new), 0.97),
        Gate(f"known, new sentences, weakest relation ({weakest[0]})", weakest[1], 0.92),
    ]
    return gates, {"training": _rounded(shares(old)), "new": _rounded(shares(new))}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in values.items()}


def measure_traces(folder: Folder, n_facts: int) -> tuple[list[Gate], dict[str, Any]]:
    """Where recall happens: averages, severing, and the example."""
    subjects = sorted({fact.subject for fact in folder.facts})
    found = average(folder.lm, folder.facts, n_facts, subjects=subjects)
    print(found.text())
    example = example_effects(folder, subjects)
    gates = [
        Gate("facts traced", len(found.clean), TRACED),
        *(trace_gates(found, folder.lm.n_layers) if found.clean else ()),
        *example_gates(example),
    ]
    effects = {kind: found.effect(kind).round(4).tolist() for kind in found.effects}
    return gates, {"facts": len(found.clean), "effects": effects, "example": example}


def trace_gates(found: Averages, n_layers: int) -> list[Gate]:
    """The paper's picture, in numbers."""
    mlp_role, peak = found.peak("mlp")
    attn_role, attn_layer = found.peak("attn")
    third, lost = n_layers / 3, found.lost("attn", peak)
    mlp_fits = float(mlp_role == "last subject" and third <= peak < 2 * third)
    attn_fits = float(attn_role == "last" and attn_layer >= n_layers / 2)
    return [
        Gate("total effect", found.total_effect, 0.7),
        Gate(f"MLP peak ({mlp_role}, layer {peak}): last subject, middle third", mlp_fits, 1),
        Gate("MLP effect there over any other subject position", found.mlp_ratio(), 5),
        Gate(f"attention peak ({attn_role}, layer {attn_layer}): last, upper half", attn_fits, 1),
        Gate("share lost to severing MLPs below the peak", found.lost("mlp", peak), 0.6),
        Gate("share lost to severing attention below the peak", lost, 0.3, False),
    ]


def example_effects(folder: Folder, subjects: list[str]) -> dict[str, float]:
    """The greatest effects in one prompt's trace; of several draws of the noise, the least one.

    At the last subject token of the middle half of the layers, at the last token of all.
    """
    prompt, subject, answer = EXAMPLE
    noise = Noise.times_std(3.0, tuple(subjects))
    shown: dict[str, list[float]] = defaultdict(list)
    for seed in range(1, DRAWS + 1):
        tracer = CausalTracer(
            folder.lm, prompt, subject, noise=noise, samples=SAMPLES, seed=seed, answer=answer
        )
        trace, last = tracer.trace(), tracer.subject_span[1] - 1
        middle = slice(folder.lm.n_layers // 4, 3 * folder.lm.n_layers // 4)
        for kind in ("mlp", "hidden"):
            effect = trace.indirect_effect(kind)[last, middle].max()
            shown[f"{kind}, last subject token"].append(effect)
        shown["attn, last token"].append(trace.indirect_effect("attn")[-1].max())
    return {what: round(float(min(effects)), 4) for what, effects in shown.items()}


def example_gates(effects: dict[str, float]) -> list[Gate]:
    """The early and the late site of the example."""
    sites = ("mlp, last subject token", "attn, last token")
    return [Gate(f"{EXAMPLE[1]}: {site}", effects[site], 0.3) for site in sites]


def measure_methods(folder: Folder, n_edits: int) -> tuple[list[Gate], dict[str, Any]]:
    """Edit the facts of the test split by each method."""
    layer = folder.settings["rome"]["layer"]
    methods = {
        "rome": folder.editor("rome"),
        "rome, published settings": folder.editor("rome", PUBLISHED),
        "ft, same layer": folder.editor("ft", layer=layer),
    }
    facts = drawn(folder.of_split("test"), n_edits)
    tables = {
        name: measure_edits(folder.lm, facts, folder.records, make)
        for name, make in methods.items()
    }
    for name, table in tables.items():
        print(name, json.dumps(table.figures()))
    gates = [Gate("facts edited", len(facts), EDITED), *edit_gates(tables["rome"])]
    return gates, {name: table.figures() for name, table in tables.items()}


def edit_gates(table: EditTable) -> list[Gate]:
    """What was wanted of rank-one edits, by the likeliest token."""
    wanted = {"efficacy": 0.97, "paraphrase": 0.95, "neighborhood": 0.97, "others": 0.8}
    return [Gate(f"rome, {kind}", table.accuracy(kind), least) for kind, least in wanted.items()]


PARTS: dict[str, Callable[[Folder, int, int], tuple[list[Gate], dict[str, Any]]]] = {
    "knowledge": lambda folder, n_facts, n_edits: measure_knowledge(folder),
    "traces": lambda folder, n_facts, n_edits: measure_traces(folder, n_facts),
    "edits": lambda folder, n_facts, n_edits: measure_methods(folder, n_edits),
}
"""Figures that are measured together, of a folder, so many facts traced and so many edited."""


def main() -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, nargs="+", help="several are put side by side")
    parser.add_argument("--part", choices=PARTS, action="append", help="all by default")
    parser.add_argument("--facts", type=count, default=TRACED, help="facts traced")
    parser.add_argument("--edits", type=count, default=EDITED, help="facts edited")
    parser.add_argument("--print", action="store_true", help="only print what was measured before")
    run(parser, evaluate)


def evaluate(options: argparse.Namespace) -> bool:
    """Measure what the options say; whether something was missed.

    Raises:
        WorldError: A folder that no training has written, or nothing measured to print.
    """
    for path in options.folder:
        check_files(path, FILES["edits"])
    for path in options.folder if not options.print else ():
        folder = Folder.read(path)
        for part in options.part or PARTS:
            gates, figures = PARTS[part](folder, options.facts, options.edits)
            print(*gates, sep="\n", flush=True)
            keep(path, part, gates, figures)
    for path in options.folder:
        if not kept_gates(path):
            raise WorldError(
                f"Nothing that was measured of what is in {path} now is kept.",
                remedy="Leave --print out to measure it.",
            )
    if len(options.folder) > 1 or options.print:
        print(side_by_side(options.folder))
    return not all(gate.reached for path in options.folder for gate in kept_gates(path))


if __name__ == "__main__":
    main()
