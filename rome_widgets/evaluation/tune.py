"""Finds the layer and the settings by which a method of editing does best on one model.

No table names most models, and what holds on one need not on another. So some facts are edited by
each of several candidates, and what became of the facts, their paraphrases and their neighbors
says which goes on. The candidates are halved as the facts double, so that what is hopeless costs
little.

Source:
    Jamieson and Talwalkar 2016, "Non-stochastic Best Arm Identification": successive halving.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import product
from typing import Any

from rome_widgets.editing.choose_layer import layers_about_rule
from rome_widgets.editing.compare import SidesAfter, compare_edit
from rome_widgets.editing.edit import edit
from rome_widgets.editing.methods import METHODS, find_editor, known_for
from rome_widgets.editing.request import read_request
from rome_widgets.editing.settings import SEEDS, Settings
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics.second_moment import Statistics
from rome_widgets.editing.tuned_settings import keep_tuned
from rome_widgets.errors import EditRefused, NonFinite, RomeWidgetsError, SettingsError
from rome_widgets.evaluation.metrics import measure_record
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.memory import needs_memory
from rome_widgets.model.progress_bar import shows_progress
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records.arguments import (
    Listener,
    callback,
    cancel_flag,
    optional,
    several,
    takes,
    truth,
)
from rome_widgets.records.edit import EditProgress
from rome_widgets.records.fact_record import FactRecord, new_and_true
from rome_widgets.records.metrics import EditMetrics, MetricsTotal
from rome_widgets.records.numbers import finite_number, whole_number
from rome_widgets.records.trace import CancelFlag
from rome_widgets.records.tuning import Tried, Tuning

PROMPTS = ("paraphrase_prompts", "neighborhood_prompts")
"""Of a record, beside the edited sentence."""
FEWEST = 8
"""Records of the first round, where there are as many."""


@dataclass(eq=False)
class _Candidate:
    """A layer with some settings, and what became of the records by them."""

    layer: int
    settings: Settings
    metrics: list[EditMetrics] = field(default_factory=list)
    refused: str = ""
    """Why it cannot edit the model, if so."""

    def add(self, measured: Callable[[], EditMetrics]) -> None:
        """One more record, unless this one cannot edit."""
        if self.refused:
            return
        try:
            self.metrics.append(measured())
        except (EditRefused, NonFinite) as error:
            self.refused = str(error)

    def goodness(self, efficacy: float) -> tuple[bool, bool, float]:
        """Whether it can edit at all, whether enough edits take, and S."""
        if self.refused:
            return False, False, -math.inf
        total = MetricsTotal(tuple(self.metrics))
        score = total.score
        return (
            True,
            total.efficacy.success.value >= efficacy,
            -math.inf if math.isnan(score) else score,
        )


Measured = Callable[[_Candidate, FactRecord], EditMetrics]


@takes(
    records=several,
    layers=optional(several),
    settings=optional(several),
    keep=truth,
    progress=callback,
    cancel=cancel_flag,
)
@shows_progress("Tuning", "edit")
@needs_memory("tune an editor")
@undisturbed
def tune(
    lm: LanguageModel,
    records: Iterable[FactRecord | Mapping[str, Any]],
    *,
    method: str = next(iter(METHODS)),
    layers: Iterable[int] | None = None,
    settings: Iterable[Mapping[str, Any]] | None = None,
    second_moment: Statistics = None,
    efficacy: float = 0.99,
    keep: bool = True,
    seed: int = 0,
    progress: Listener[EditProgress] = None,
    cancel: CancelFlag | None = None,
) -> Tuning:
    """Find the layer and the settings by which a method edits this model best; changes no weight.

    Every candidate, a layer with some settings, edits the first of the records; the better half of
    them goes on to twice as many, until few are left for all. Better is the greater S, the harmonic
    mean of efficacy, paraphrase and neighborhood success, of those that reach an efficacy.

    Args:
        lm: The model.
        records: Of facts that the model knows, with both objects, paraphrases and neighbors, such
            as CounterFact's, in any order that has nothing to do with what they are about; forty or
            more tell something.
        method: A name of `rome_widgets.methods()`.
        layers: To try; None: that of the rule, and one below and above it.
        settings: To try, each by what differs from the method's own for this model; None: those
            that the method proposes.
        second_moment: As of `rome_widgets.edit`. What `rome_widgets.second_moment` gathers for all
            the layers in one pass saves time.
        efficacy: Share of the records whose new object must become the more probable one, where
            any candidate reaches that.
        keep: Whether edits of this model by this method go by what was found from now on, in this
            process and in others, where they are not told otherwise; it lies in the cache folder.
        seed: As of `rome_widgets.edit`.
        progress: Called after each edit; None shows a progress bar, False none.
        cancel: Checked between steps; stops with `Cancelled`, and keeps nothing.

    Raises:
        SettingsError, PromptError, SubjectNotFound: Bad input; nothing was run.
        EditRefused: No candidate can edit this model, with the reason.
        Cancelled: `cancel` was set.

    Example:
        >>> records = rw.bundled.facts()
        >>> found = rw.tune(lm, records[:1], layers=[2, 3], settings=[{}], keep=False)
        >>> change = rw.edit(lm, records[1], layer=found.layer, settings=found.settings)
    """
    lm = check_language_model(lm).up_to_date()
    facts = _checked(lm, several(records, "records"))
    wanted = finite_number(efficacy, "efficacy", 0, 1, error=SettingsError)
    drawn = whole_number(seed, "The seed", *SEEDS, error=SettingsError)
    candidates = _candidates(lm, method, layers, settings)
    tell = progress if callable(progress) else lambda step: None

    def measured(candidate: _Candidate, record: FactRecord) -> EditMetrics:
        change = edit(
            lm,
            record,
            method=method,
            layer=candidate.layer,
            settings=candidate.settings,
            second_moment=second_moment,
            neighbors=(),
            seed=drawn,
            progress=False,
            cancel=cancel,
        )
        return measure_record(lm, record, predict=SidesAfter(compare_edit(lm, change, 1.0)).side(1))

    tried = _halve(candidates, facts, wanted, measured, tell)
    best = tried[0]
    if best.refused:
        raise EditRefused(
            f"None of {len(tried)} candidates can edit {lm.name}. Layer {best.layer}: "
            f"{best.refused}"
        )
    path = keep_tuned(lm, method, best.layer, best.settings, len(facts)) if keep else None
    return Tuning(
        method,
        lm.name,
        tuple(
            Tried(
                each.layer, asdict(each.settings), MetricsTotal(tuple(each.metrics)), each.refused
            )
            for each in tried
        ),
        None if path is None else str(path),
    )


def _checked(lm: LanguageModel, given: Sequence[Any]) -> Sequence[FactRecord]:
    """The records: each states a fact with both objects; some have paraphrases, some neighbors."""
    records = []
    for number, each in enumerate(given):
        try:
            record = FactRecord.from_record(each)
            new_and_true(record)
            read_request(lm, record, None, None)
        except RomeWidgetsError as error:
            error.add_note(f"In record {number} of {len(given)}.")
            raise
        records.append(record)
    for name in PROMPTS:
        if not any(getattr(record, name) for record in records):
            raise SettingsError(
                f"None of the {len(records)} records has {name}.",
                "Some were wanted: an edit may take and yet do harm, or not carry over.",
            )
    return records


def _candidates(
    lm: LanguageModel,
    method: str,
    layers: Iterable[int] | None,
    settings: Iterable[Mapping[str, Any]] | None,
) -> list[_Candidate]:
    """Every layer with the settings of every proposal."""
    base = known_for(lm, method).settings
    changes = find_editor(method).proposals if settings is None else settings
    wanted = layers_about_rule(lm) if layers is None else layers
    numbers = dict.fromkeys(find_site(lm, layer).layer for layer in wanted)
    tried = dict.fromkeys(base.changed(change) for change in changes)
    found = [_Candidate(layer, each) for layer, each in product(numbers, tried)]
    if not found:
        raise SettingsError("There is no candidate.", "At least one layer and setting was wanted.")
    return found


def _halve(
    candidates: Sequence[_Candidate],
    records: Sequence[FactRecord],
    efficacy: float,
    measured: Measured,
    progress: Callable[[EditProgress], None],
) -> list[_Candidate]:
    """All candidates, the best first; those that went on stand before those that did not."""
    rounds = _rounds(len(candidates), len(records))
    seen = [0, *(n_records for n_records, _ in rounds)]
    total = sum(n * (upto - before) for (upto, n), before in zip(rounds, seen, strict=False))
    ranked, done = list(candidates), 0
    for (upto, n), before in zip(rounds, seen, strict=False):
        for candidate in ranked[:n]:
            for record in records[before:upto]:
                candidate.add(lambda c=candidate, record=record: measured(c, record))
                done += 1
                progress(EditProgress("tuning", done, total))
        ranked[:n] = sorted(ranked[:n], key=lambda each: each.goodness(efficacy), reverse=True)
    return ranked


def _rounds(n_candidates: int, n_records: int) -> list[tuple[int, int]]:
    """Of each round, up to which record it goes, and how many candidates are in it."""
    n_rounds = max(1, math.ceil(math.log2(n_candidates)))
    fewest = min(FEWEST, n_records)
    return [
        (
            max(fewest, math.ceil(n_records / 2 ** (n_rounds - 1 - number))),
            math.ceil(n_candidates / 2**number),
        )
        for number in range(n_rounds)
    ]
