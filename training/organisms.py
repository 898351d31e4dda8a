"""Models in which recall was placed early, middle or late, and a twin in which it was not placed.

    python -m training.organisms

Whether a causal trace finds the layers that recall a fact cannot be seen on a model of which
nobody knows them otherwise. Here they are known: the training leaves the MLPs of all but two layers
out of half of the rows, lets what follows a name read mostly its last piece, and has a linear head
read the facts there right after the second of the two. The twin is trained on the same text for
as long, without any of it, and recalls at the last token.

That recall is where it was put is also seen without a trace: by the facts that a model still knows
without two neighbouring MLPs (one is not enough: the other may know the fact as well). Traces
restore single layers (a window of 1): the default of three finds the same layers, but spreads each
effect over its neighbours.

The command trains all four (about three minutes), prints both, and exits with 1 where a trace does
not show what was placed, or shows it in the twin.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace

import numpy as np

from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.swept_fact import ROLES
from training.averages import LAST_SUBJECT, SMALLEST, Averages, average
from training.command import count, run
from training.corpus import Document, Narrator
from training.gates import Gate
from training.knowledge import share_known
from training.recipe import Recipe
from training.steering import LayerDrops
from training.train import train
from training.world import World, WorldError, build_world

LAYERS = 7
SUBJECTS = 80
"""Of the world, which has far more: few facts are learnt in seconds."""
CLEARLY = 2.0
"""So many times the effect anywhere else is a peak."""
SHARE = 0.1
"""Of the total effect, that one MLP at one token should bring back."""


def _dropped(kept: tuple[int, ...]) -> tuple[float, ...]:
    return tuple(0.0 if layer in kept else 0.5 for layer in range(LAYERS))


EARLY = Recipe(
    n_layer=LAYERS,
    d_model=64,
    d_mlp=256,
    positions=64,
    vocab=1400,
    tokens=480_000,
    batch_tokens=512,
    long_every=1_000_000,  # never: no prompt is longer than half the positions
    adam_lr=8e-3,
    key_mask=0.8,
    mlp_drop=_dropped((0, 1)),
    attn_drop=(0.0,) * LAYERS,
    attribute_weight=1.0,
    attribute_layer=1,
)
MIDDLE = replace(EARLY, mlp_drop=_dropped((2, 3)), attribute_layer=3)
# The MLP after the only attention that may read the name is left out of nearly all rows: it would
# look the fact up at the last token.
LATE = replace(
    EARLY, mlp_drop=(*_dropped((4, 5))[:-1], 0.9), attribute_layer=5, read_from=LAYERS - 1
)
PLAIN_TWIN = replace(EARLY, mlp_drop=(0.0,) * LAYERS, key_mask=0.0, attribute_weight=0.0)

ORGANISMS = {"early": EARLY, "middle": MIDDLE, "late": LATE}
"""Models in which recall was placed."""


class Statements(Narrator):
    """Tells one fact per document and nothing else, which is learnt soonest."""

    def document(self) -> Document:
        """The next fact, in one sentence."""
        document = Document()
        self._say(document, self._next_fact())
        self._refuse_held_out(document)
        return document


@dataclass(frozen=True)
class Recall:
    """Where a model recalls its facts, by a trace and without one."""

    known: float
    """Share of the facts in new sentences that is known."""
    without: np.ndarray
    """`[layer]`: the same without the MLPs of the layer and the next one, at all tokens."""
    traces: Averages
    """MLPs only, one layer at a time."""

    @property
    def peak(self) -> int:
        """The layer with the largest effect at the last subject token."""
        return int(self._effect[LAST_SUBJECT].argmax())

    @property
    def share(self) -> float:
        """The effect there, as a share of the total effect."""
        return float(self._effect[LAST_SUBJECT, self.peak]) / self.traces.total_effect

    @property
    def clarity(self) -> float:
        """The effect there over the largest at any other token, in any layer."""
        others = np.delete(self._effect, LAST_SUBJECT, axis=0)
        here = float(self._effect[LAST_SUBJECT, self.peak])
        return here / max(float(np.nanmax(others)), SMALLEST)

    @property
    def shown(self) -> bool:
        """Whether the trace shows recall at the last subject token."""
        return self.clarity >= CLEARLY and self.share >= SHARE

    def inside(self, layers: tuple[int, ...]) -> float:
        """Share of the effect at the last subject token that is in these layers."""
        effect = self._effect[LAST_SUBJECT].clip(min=0)
        return float(effect[list(layers)].sum() / effect.sum())

    def without_others(self, layers: tuple[int, ...]) -> float:
        """Least share of what is known that stays without two neighbouring MLPs, none of these."""
        pairs = [pair for pair in range(LAYERS - 1) if not {pair, pair + 1} & set(layers)]
        return float(self.without[pairs].min() / self.known)

    def text(self) -> str:
        """The table, in hundredths of probability and of the facts."""
        found = self.traces
        rows = {"known without 2": self.without} | dict(zip(ROLES, self._effect, strict=True))
        lines = [
            f"known {self.known:.3f}; {len(found.clean)} facts traced, clean "
            f"{np.mean(found.clean):.3f}, total effect {found.total_effect:.3f}; peak "
            f"{self.clarity:.1f} times the rest, {self.share:.2f} of the total effect",
            f"{'layer':16s}" + "".join(f"{layer:7d}" for layer in range(LAYERS)),
        ]
        lines += [f"{row:16s}" + "".join(f"{100 * v:7.1f}" for v in rows[row]) for row in rows]
        return "\n".join(lines)

    @property
    def _effect(self) -> np.ndarray:
        return self.traces.effect("mlp")


def placed(recipe: Recipe) -> tuple[int, ...]:
    """The layers that recall was placed in: those whose MLPs were never left out."""
    return tuple(layer for layer, chance in enumerate(recipe.mlp_drop) if chance == 0)


def place(recipe: Recipe, n_facts: int) -> Recall:
    """Train a model on nothing but facts of a small world, and trace where it recalls them."""
    world = build_world().only(SUBJECTS)
    trained = train(recipe, world, narrator=Statements, quiet=True)
    lm = LanguageModel(trained.model, trained.tokenizer)
    subjects = [subject.name for subject in world.subjects]
    traces = average(
        lm, world.facts, n_facts, subjects=subjects, kinds=("mlp",), window=1, sever=False
    )
    if not traces.clean:
        raise WorldError(
            "The model knows none of its facts, so nothing can be traced.",
            "A training that is long enough was wanted.",
            "Give it more --tokens.",
        )
    return Recall(share_known(lm, world.facts), known_without(lm, world), traces)


def known_without(lm: LanguageModel, world: World) -> np.ndarray:
    """`[layer]`: share of the facts known in new sentences without its MLP and the next one."""
    shares = []
    for first in range(LAYERS - 1):
        chances = tuple(float(layer in (first, first + 1)) for layer in range(LAYERS))
        drops = LayerDrops(lm.model, chances, (0.0,) * LAYERS)
        drops.draw(1)  # for all rows alike
        try:
            shares.append(share_known(lm, world.facts))
        finally:
            drops.remove()
    return np.array(shares)


def gates(found: dict[str, Recall], twin: Recall) -> list[Gate]:
    """Hold the traces of the models by name, and of the twin, to what is wanted of them."""
    wanted = []
    for name, recall in found.items():
        layers = placed(ORGANISMS[name])
        without = f"{name}: known without the MLPs of {layers}, as a share of what is known"
        lost, in_place = recall.without[layers[0]] / recall.known, float(recall.peak in layers)
        wanted += [
            Gate(f"{name}: known, new sentences", recall.known, 0.9),
            Gate(without, lost, 0.5, False),
            Gate(f"{name}: the same without two others", recall.without_others(layers), 0.9),
            Gate(f"{name}: peak in a placed layer ({recall.peak})", in_place, 1),
            Gate(f"{name}: share of the effect in the placed layers", recall.inside(layers), 0.7),
            Gate(f"{name}: peak over the effect at any other token", recall.clarity, CLEARLY),
            Gate(f"{name}: peak as a share of the total effect", recall.share, SHARE),
        ]
    return [
        *wanted,
        Gate("twin: known, new sentences", twin.known, 0.9),
        Gate("twin: peak over the effect at any other token", twin.clarity, 1, at_least=False),
        Gate("twin: the trace shows recall at the last subject token", float(twin.shown), 0, False),
    ]


def main() -> None:
    """The command of the module's docstring."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--facts", type=count, default=120, help="facts traced in each model")
    parser.add_argument(
        "--tokens", type=count, default=EARLY.tokens, help="length of each training"
    )
    parser.add_argument("--seed", type=int, default=0)
    run(parser, compare)


def compare(options: argparse.Namespace) -> bool:
    """Train and trace all four, and say what was found; whether that is not what was wanted.

    Raises:
        WorldError: A model that knows nothing.
    """
    found = {}
    for name, recipe in {**ORGANISMS, "twin": PLAIN_TWIN}.items():
        found[name] = place(
            replace(recipe, tokens=options.tokens, seed=options.seed), options.facts
        )
        where = f", placed in layers {placed(recipe)}" if name in ORGANISMS else ""
        print(f"\n{name}{where}: {found[name].text()}", flush=True)
    print()
    twin = found.pop("twin")
    judged = gates(found, twin)
    print(*judged, sep="\n")
    return not all(gate.reached for gate in judged)


if __name__ == "__main__":
    main()
