"""A sweep as a picture that answers: averages by role and layer, and the facts behind each.

Drawn by our own page, not by Vega: that would bring 900 kB a chart, compile expressions as code,
which careful hosts refuse, and have no keyboard. No model is needed; see `sweep_charts` for print.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast, get_args

import numpy as np
import traitlets as t

from rome_widgets.errors import ArgumentError, StateError, said
from rome_widgets.records.html import plural
from rome_widgets.records.numbers import as_float
from rome_widgets.records.states import KINDS, TITLES, Kind
from rome_widgets.records.sweep import Sweep
from rome_widgets.records.swept_fact import ROLE_TITLES, ROLES, Role, SweptFact
from rome_widgets.records.trace_metric import LEAST_RANGE, SHORT
from rome_widgets.widgets import fallback
from rome_widgets.widgets.live.base import RomeWidget, Theme, bundle
from rome_widgets.widgets.live.traits import encodable, record_trait, text
from rome_widgets.widgets.trace.trace_explorer import TraceExplorer
from rome_widgets.widgets.trace.trace_settings import TraceSettings

Shown = Literal["effect", "peaks"]
MOST_LISTED = 10
"""Facts that are listed where no widget runs."""


class SweepChart(RomeWidget):
    """Shows a `Sweep`: average effects by role and layer, and which facts they are made of.

    A cell selected on the page, or by `kind`, `role` and `layer`, lists the facts by their effect
    there. A fact selected there, or by `example`, is shown by itself below the averages; a linked
    explorer traces it.

    The page holds the effects of all facts, so that it answers without a kernel, too: four bytes
    for each fact, kind, role and layer, 3.5 MB for a thousand facts of 48 layers.

    Args:
        sweep: What to show.
        kind, role, layer: The cell to select; None: where the average is greatest.
        example: The fact to select, by its `number`; None: none.
        shows: "effect", the averages; "peaks", the share of facts whose greatest effect lies there.
        explorer: A `TraceExplorer` that loads the fact selected; see `link`.
        theme, layout, tooltip, tabbable: See `RomeWidget`.

    Raises:
        ArgumentError: That is no sweep, or no explorer.
        StateError: The explorer's model is of another depth, or it cannot add the sweep's noise.

    Example:
        >>> explorer = rw.TraceExplorer(lm)
        >>> chart = rw.SweepChart(sweep, explorer=explorer)
        >>> chart.kind, chart.role, chart.layer = "mlp", "last subject", 3
        >>> fact, effect = chart.ranking[0]              # the fact with the greatest effect there
        >>> chart.example = fact.number                  # which the explorer traces

    Source:
        Meng et al. 2022, figure 2; that averages hide how far facts differ: Hase et al. 2023.
    """

    _esm, _css = bundle("sweep")
    _view = t.Unicode("sweep").tag(sync=True)
    _outputs = ("averages", "intervals", "peaks", "effects", "linked")
    sweep = record_trait(Sweep, "The sweep that is shown.")
    _sweep = t.Dict().tag(sync=True)
    """The words and numbers around the pictures."""
    averages = t.Bytes(
        help="float32 `[kind, role, layer]`: average indirect effects; NaN where there are none."
    ).tag(sync=True)
    intervals = t.Bytes(
        help="The same of half the widths of their 95 % intervals; NaN of fewer than two effects."
    ).tag(sync=True)
    peaks = t.Bytes(
        help="The same of the share of facts whose greatest effect of a kind lies there."
    ).tag(sync=True)
    effects = t.Bytes(
        help="float32 `[fact, kind, role, layer]` of the traced facts; NaN where a fact has no "
        "token of a role."
    ).tag(sync=True)
    kind = t.Enum(KINDS, "hidden", help="Kind of the selected cell.").tag(sync=True)
    role = t.Enum(ROLES, "last subject", help="Role of the selected cell.").tag(sync=True)
    layer = t.Int(0, min=0, help="Layer of the selected cell.").tag(sync=True)
    example = t.Int(
        None, allow_none=True, help="Number of the fact selected; None while none is."
    ).tag(sync=True)
    shows = t.Enum(
        get_args(Shown), "effect", help="What the colours are: average effects, or peaks of facts."
    ).tag(sync=True)
    linked = t.Bool(False, help="Whether an explorer loads the fact selected.").tag(sync=True)

    _explorer: TraceExplorer | None = None
    _picture: str | None = None
    """What stays whatever is selected; drawn once, which takes half a second of many facts."""

    def __init__(
        self,
        sweep: Sweep,
        kind: Kind | None = None,
        role: Role | None = None,
        layer: int | None = None,
        example: int | None = None,
        *,
        shows: Shown = "effect",
        explorer: TraceExplorer | None = None,
        theme: Theme = "auto",
        layout: Any = None,
        tooltip: str | None = None,
        tabbable: bool | None = None,
    ) -> None:
        if not isinstance(sweep, Sweep):
            raise ArgumentError(
                f"{said(sweep)} is no sweep.",
                "What rome_widgets.sweep or load_sweep returns was wanted.",
            )
        host = {"theme": theme, "layout": layout, "tooltip": tooltip, "tabbable": tabbable}
        super().__init__(shows=shows, **host)
        with self._writing, self.hold_sync():
            self._show(sweep)
            self.kind = _first_kind(sweep) if kind is None else kind
            best = sweep.strongest(cast("Kind", self.kind))
            self.role = (best[0] if best else "last subject") if role is None else role
            self.layer = (best[1] if best else 0) if layer is None else layer
            if explorer is not None:
                self.link(explorer)
            self.example = example

    def _show(self, sweep: Sweep) -> None:
        self._numbers = {fact.number: fact for fact in sweep.traced}
        self._sweep = describe_sweep(sweep)
        found = [sweep.effects(kind) for kind in sweep.kinds]
        self.averages = _packed([each.mean for each in found])
        self.intervals = _packed([each.interval for each in found])
        n = max(1, len(sweep.traced))
        self.peaks = _packed([sweep.peaks(kind) / n for kind in sweep.kinds])
        self.effects = _packed(
            [fact.by_role(kind) for fact in sweep.traced for kind in sweep.kinds]
        )
        self.set_trait("sweep", sweep)

    # --------------------------------------------------------------------------- the cell

    @property
    def fact(self) -> SweptFact | None:
        """The fact selected; None while none is."""
        return None if self.example is None else self._numbers[cast("int", self.example)]

    @property
    def ranking(self) -> list[tuple[SweptFact, float]]:
        """The facts with their effects at the selected cell, the greatest first.

        Those that have no token of the role are left out.
        """
        row = ROLES.index(self._role)
        found = [
            (fact, float(fact.by_role(self._kind)[row, self.layer]))
            for fact in self._numbers.values()
        ]
        return sorted((each for each in found if each[1] == each[1]), key=lambda each: -each[1])

    @property
    def _kind(self) -> Kind:
        return cast("Kind", self.kind)

    @property
    def _role(self) -> Role:
        return cast("Role", self.role)

    @t.validate("kind")
    def _check_kind(self, proposal: dict) -> Kind:
        kinds = self._sweep.get("kinds", KINDS)
        if proposal["value"] not in kinds:
            raise t.TraitError(
                f"This sweep has no {proposal['value']!r} scores; it has "
                f"{', '.join(map(repr, kinds))}."
            )
        return proposal["value"]

    @t.validate("layer")
    def _check_layer(self, proposal: dict) -> int:
        n_layers = self._sweep.get("n_layers", proposal["value"] + 1)
        if proposal["value"] >= n_layers:
            raise t.TraitError(
                f"There is no layer {proposal['value']}; 0 to {n_layers - 1} was wanted."
            )
        return proposal["value"]

    @t.validate("example")
    def _check_example(self, proposal: dict) -> int | None:
        number = proposal["value"]
        if number is not None and number not in self._numbers:
            raise t.TraitError(
                f"Fact {number} was not traced; the number of one of .sweep.traced was wanted."
            )
        return number

    @t.observe("kind", "role", "layer", "shows")
    def _cell_changed(self, change: dict) -> None:
        self._copy_still()

    # ----------------------------------------------------------------------- the explorer

    @property
    def explorer(self) -> TraceExplorer | None:
        """The explorer that loads the fact selected; None where none is linked."""
        if self._explorer is not None and self._explorer._closed:
            self.unlink()
        return self._explorer

    def link(self, explorer: TraceExplorer) -> None:
        """Let an explorer trace the fact selected, now and whenever another is selected.

        With the sweep's noise, samples, seed, window and metric, and following the very token that
        the sweep followed; a difference of logits, which needs a second answer for each fact, as a
        probability. Noise is a multiple of the σ of the explorer's own model.

        Args:
            explorer: Of the model that was swept, or of one to compare with it.

        Raises:
            ArgumentError: That is no explorer.
            StateError: Its model is of another depth, or the sweep's noise is none that an explorer
                adds: its size is no multiple of σ, or σ was measured on subjects of one's own.
        """
        if not isinstance(explorer, TraceExplorer):
            raise ArgumentError(f"{said(explorer)} is no explorer.", "A TraceExplorer was wanted.")
        n_layers, wanted = explorer.engine["n_layers"], self._sweep["n_layers"]
        if n_layers != wanted:
            raise StateError(
                f"The explorer's model has {plural(n_layers, 'layer')}.",
                f"One of {wanted}, as the sweep's, was wanted.",
            )
        _check_noise(cast("Sweep", self.sweep), explorer._engine.n_subjects)
        self._explorer = explorer
        self.set_trait("linked", True)
        self._load()

    def unlink(self) -> None:
        """Leave the explorer alone from now on."""
        self._explorer = None
        self.set_trait("linked", False)

    @t.observe("example")
    def _example_changed(self, change: dict) -> None:
        self._load()
        self._copy_still()

    def _load(self) -> None:
        explorer, fact = self.explorer, self.fact
        if explorer is not None and fact is not None and self.sweep is not None:
            settings = settings_of(self.sweep, fact, explorer.settings)
            id = settings.answer_id
            if id is not None and explorer._engine.token_text(id) != fact.answer:
                settings = replace(settings, answer_id=None)  # Of another vocabulary: by its word.
            explorer.settings = settings
            explorer.run()

    # ---------------------------------------------------------------------------- in words

    def to_text(self) -> str:
        """The sweep, the average at the selected cell, and the facts at both ends there."""
        sweep = cast("Sweep", self.sweep)
        head = f"SweepChart: {plural(len(sweep.traced), 'fact')} on {sweep.model!r}"
        if not self.ranking:
            return text(f"{head}, {self._cell_in_words}: no fact")
        lines = [f"{head}, {self._cell_in_words}: {self._average_in_words}"]
        (best, most), (least, little) = self.ranking[0], self.ranking[-1]
        lines.append(f"  greatest: {most:+.4f}, {best.prompt!r} → {best.answer!r}")
        lines.append(f"  least: {little:+.4f}, {least.prompt!r} → {least.answer!r}")
        return text("\n".join(lines))

    @property
    def _cell_in_words(self) -> str:
        return f"{TITLES[self._kind]} layer {self.layer}, {ROLE_TITLES[self._role].lower()}"

    @property
    def _average_in_words(self) -> str:
        average = cast("Sweep", self.sweep).effects(self._kind)
        return f"{average.at(ROLES.index(self._role), cast('int', self.layer)):+.4f}"

    def to_html_table(self) -> str:
        """The averages as tables with inline colours, and the facts at the selected cell."""
        return fallback.sweep_table(cast("Sweep", self.sweep)) + self._facts_table()

    def _still(self) -> str:
        if self._picture is None:
            self._picture = fallback.still_sweep(cast("Sweep", self.sweep))
        return self._picture + self._facts_table()

    def _facts_table(self) -> str:
        found = self.ranking
        if not found:
            return ""
        words = f"{self._cell_in_words}: {self._average_in_words}"
        return fallback.facts_table(found[:MOST_LISTED], len(found), words, self.fact)


def _first_kind(sweep: Sweep) -> Kind:
    """MLPs are where the paper finds the early site; else the first kind there is."""
    return "mlp" if "mlp" in sweep.kinds else sweep.kinds[0]


def describe_sweep(sweep: Sweep) -> dict[str, Any]:
    """The `_sweep` trait: everything about a sweep except its numbers."""
    n = sweep.effects(sweep.kinds[0]).n.tolist()
    total = sweep.total_effect
    return {
        "model": text(sweep.model),
        "kinds": list(sweep.kinds),
        "windows": {kind: int(sweep.windows.get(kind, 1)) for kind in sweep.kinds},
        "n_layers": sweep.n_layers,
        "metric": SHORT[sweep.metric],
        "least": LEAST_RANGE[sweep.metric],
        "noise": text(str(sweep.noise.get("text", ""))),
        "samples": sweep.samples,
        "seed": sweep.seed,
        "counts": n,
        "unknown": len(sweep.unknown),
        "failed": len(sweep.failed),
        "total_effect": encodable([total.value, total.interval]),
        "notes": encodable(sweep.notes),
        "facts": [_describe_fact(fact) for fact in sweep.traced],
    }


def _describe_fact(fact: SweptFact) -> dict[str, Any]:
    peaks = {kind: fact.peak(kind) for kind in fact.scores}
    names = ("number", "prompt", "subject", "answer", "clean", "corrupted")
    return {
        **{name: encodable(getattr(fact, name)) for name in names},
        "peaks": {kind: [ROLES.index(peak.role), peak.layer] for kind, peak in peaks.items()},
    }


def settings_of(sweep: Sweep, fact: SweptFact, now: TraceSettings) -> TraceSettings:
    """What traces a fact as its sweep did; `now` decides what a sweep does not say.

    The answer is named even where it is the likeliest: an edited model may say something else.
    """
    multiple = as_float(sweep.noise.get("multiple", now.noise))
    windows = [sweep.windows[kind] for kind in ("mlp", "attn") if kind in sweep.windows]
    return TraceSettings(
        prompt=fact.prompt,
        subject=fact.subject,
        noise=multiple,
        samples=sweep.samples,
        seed=now.seed if sweep.seed is None else sweep.seed,
        window=windows[0] if windows else None,
        answer=fact.answer.strip() or fact.answer,
        answer_id=fact.answer_id,
        metric="probability" if sweep.metric == "logit_difference" else sweep.metric,
        other_subject=sweep.noise.get("subject"),
    )


def _check_noise(sweep: Sweep, n_subjects: int) -> None:
    """Refuse noise that an explorer cannot add: its own is a multiple of σ over the usual list."""
    noise = sweep.noise
    if "subject" in noise:
        return
    if "multiple" not in noise:
        found = f"The sweep's noise is {noise.get('text', 'unknown')}."
    elif (n := noise.get("n_subjects", n_subjects)) != n_subjects:
        found = f"The sweep's σ was measured on {plural(n, 'subject')} of your own."
    else:
        return
    raise StateError(
        found,
        "A multiple of σ over the package's own subjects was wanted, or a Subject.",
        "Sweep with noise=3.0, or trace the fact with rome_widgets.trace.",
    )


def _packed(grids: list[np.ndarray]) -> bytes:
    """float32, one grid after the other."""
    return np.stack(grids).astype("<f4").tobytes() if grids else b""
