"""Edits: computed without changing anything, applied and reverted as often as one likes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from rome_widgets.editing import perplexity
from rome_widgets.editing.compare import (
    Said,
    SideBySide,
    compare_edit,
    compare_prompt,
    compare_updates,
    target_said,
)
from rome_widgets.editing.methods import METHODS, find_editor, known_for
from rome_widgets.editing.methods.editor import Found, Task
from rome_widgets.editing.neighbors import doubt_of_neighbors, neighbors_of, read_neighbors
from rome_widgets.editing.request import Request, Stated, read_requests
from rome_widgets.editing.settings import SEEDS, Settings
from rome_widgets.editing.spelling import other_spelling
from rome_widgets.editing.statistics.second_moment import Statistics
from rome_widgets.errors import (
    Cancelled,
    EditRefused,
    FingerprintMismatch,
    ModelChanged,
    SettingsError,
)
from rome_widgets.model.identity import Identity
from rome_widgets.model.identity_changes import what_changed, what_else_changed
from rome_widgets.model.language_model import LanguageModel, check_language_model, to_numpy
from rome_widgets.model.ledger import Update, ledger_of
from rome_widgets.model.memory import needs_memory
from rome_widgets.model.precision import precision_notes
from rome_widgets.model.progress_bar import counting, shows_progress
from rome_widgets.model.tokens import read_prompts
from rome_widgets.model.undisturbed import undisturbed
from rome_widgets.records.arguments import Listener, callback, cancel_flag, takes, truth
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.edit import Comparison, EditProgress, EditReport, Perplexity
from rome_widgets.records.fact import Fact
from rome_widgets.records.html import table
from rome_widgets.records.numbers import finite_number, whole_number
from rome_widgets.records.staying import Stays
from rome_widgets.records.trace import CancelFlag

MOST_FACTS_SHOWN = 5
"""In the notebook."""
LARGE_UPDATE = 0.5
"""‖ΔW‖ above this share of ‖W‖ is warned of."""
MOST_STRENGTH = 1e6
"""Of an edit, either way."""
SAID = 0.5
"""A target that is less probable than this with the edit is warned of; from here up it is likelier
than all else together."""


@takes(progress=callback, cancel=cancel_flag)
@shows_progress("Editing", "step")
@needs_memory("compute the edit")
@undisturbed
def edit(
    lm: LanguageModel,
    prompt: Stated | Sequence[Any],
    subject: str | tuple[int, int] | None = None,
    target: str | None = None,
    *,
    method: str = next(iter(METHODS)),
    layer: int | str | None = None,
    settings: Settings | Mapping[str, Any] | None = None,
    second_moment: Statistics = None,
    neighbors: Iterable[Any] | None = None,
    seed: int = 0,
    progress: Listener[EditProgress] = None,
    cancel: CancelFlag | None = None,
) -> Edit:
    """Compute how to make the model say something else about a subject; changes nothing.

    Args:
        lm: The model, with whatever edits it carries.
        prompt: Text with one literal `{}` for the subject, or with the subject in it; a Fact; a
            CounterFact record; chat messages, or token ids, with the subject in them. Further facts
            of a record's case (`along_with`) are not edited along. For a method that takes many
            facts also a list of records or (prompt, subject, target).
        subject: The entity, or its span of characters; not needed with a Fact or a record.
        target: The word wanted next, without a leading space.
        method: A name of `rome_widgets.methods()`.
        layer: Where; None: the published table's or the card's, else that of a rule; "trace": where
            a trace of this prompt peaks.
        settings: Numbers to use in place of the model's own, by name; or an object of the method's
            class of settings, such as `RankOneSettings`, which replaces all of them.
        second_moment: Statistics of the keys, of the model without its edits. Texts, or "self" for
            some that the model writes itself, are run through it once and kept in the cache folder;
            for many edits, or to keep them in a file of yours, `rome_widgets.second_moment` gives
            what to pass here, as may be the file; "identity" does without. None: what comes with
            the model, else "self".
        neighbors: Prompts about other subjects, which should stay as they are; the report says
            what becomes of them. None: the edited prompt with other subjects, of which the model is
            surest; () measures none.
        seed: Of what is drawn, such as prefixes.
        progress: Called after each step, in this thread; None shows a progress bar where it
            lasts, False none.
        cancel: Checked between steps; stops with `Cancelled`.

    Raises:
        PromptError, SubjectNotFound, SettingsError: Bad input; nothing was run.
        EditRefused: The matrix cannot be edited.
        StatisticsMissing: The second moments that were given are of other layers.
        NonFinite: The optimisation diverged.
        UnsupportedModel: The model gives no gradient.
        Cancelled: `cancel` was set.

    Example:
        >>> change = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> with change:
        ...     change.compare("The Space Needle is in the city of")[0].rows[0].token
        ' Paris'

    Source:
        Meng et al. 2022, section 3.1.
    """
    started = time.perf_counter()
    lm = check_language_model(lm).up_to_date()
    editor = find_editor(method)
    requests = read_requests(lm, prompt, subject, target)
    drawn = whole_number(seed, "The seed", *SEEDS, error=SettingsError)
    if len(requests) > 1 and not editor.many_facts:
        raise SettingsError(
            f"There are {len(requests)} facts, and {editor.title} writes one.",
            remedy="Edit them one after the other, or choose a method of rome_widgets.methods() "
            "that writes many.",
        )
    known = known_for(lm, method)
    chosen = known.settings.changed(settings)

    def check() -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled("The edit was cancelled; the model is unchanged.")

    others = read_neighbors(lm, neighbors)
    check()
    tell = progress if callable(progress) else lambda step: None
    task = Task(lm, requests, chosen, known, layer, second_moment, drawn, check, tell, cancel)
    identity = lm.identity
    found = lm.run(lambda: editor.edit(task))  # all its passes by one set of stand-ins
    if changed := what_changed(identity, lm.identity):
        raise ModelChanged(
            f"The model changed while the edit was computed: {changed}.",
            "One and the same model was wanted.",
            "Compute it again.",
        )
    return _finish(task, method, found, started, identity, others)


def _finish(
    task: Task,
    method: str,
    found: Found,
    started: float,
    identity: Identity,
    others: tuple[str, ...] | None,
) -> Edit:
    lm, request = task.lm, task.request
    if not found.updates:
        raise EditRefused(f"The method {method!r} gave no update.", "At least one was wanted.")
    tensors = [tensor for update in found.updates for tensor in update.tensors.values()]
    if not all(torch.isfinite(tensor).all() for tensor in tensors):
        raise EditRefused("The update has NaN or infinity.", "Finite numbers were wanted.")
    update_norm, weight_norm, rounding = _sizes(lm, found.updates)
    text = perplexity.ordinary_text(lm, task.seed, found.texts)
    both = compare_updates(lm, found.updates)
    measured = perplexity.measure(both, lm, text)
    around = neighbors_of(lm, both, request, others)
    said = [target_said(both, lm, each.prompt, each.target_ids) for each in task.requests]
    spellings = [other_spelling(lm, each.prompt, each.fact.target) for each in task.requests]
    doubts = (
        *found.warnings,
        *(str(spelling) for spelling in spellings if spelling is not None),
        *(
            doubt
            for each, sides in zip(task.requests, said, strict=True)
            for doubt in _not_said(each, sides, found)
        ),
        *_doubts(update_norm, weight_norm, measured),
        *doubt_of_neighbors(around, request.fact.target),
        *precision_notes(lm.device, lm.dtype),
    )
    changed = ", with changes" if task.settings != task.known.settings else ""
    report = EditReport(
        method=method,
        model=lm.name,
        prompt=str(request.prompt),
        subject=request.fact.subject,
        target=request.fact.target,
        target_tokens=tuple(lm.token_text(token) for token in request.target_ids),
        layers=found.layers,
        why_layer=found.why_layer,
        settings=asdict(task.settings),
        settings_from=task.known.source + changed,
        seed=task.seed,
        engine=lm.engine,
        steps=found.steps,
        stopped=found.stopped,
        update_norm=update_norm,
        weight_norm=weight_norm,
        rounding=rounding,
        seconds=time.perf_counter() - started,
        warnings=doubts,
        details=found.details,
        perplexity=measured,
        perplexity_text=text,
        prompt_ids=request.own_ids,
        said=(said[0][0].probability, said[0][1].probability),
        neighbors=around,
    )
    ledger = ledger_of(lm.model)
    bases = {update.name: ledger.fingerprint(update.name) for update in found.updates}
    on_top = tuple(other.id for other in lm.edits)
    facts = tuple(request.fact for request in task.requests)
    return Edit(lm, facts, tuple(found.updates), report, bases, on_top, identity)


def _sizes(lm: LanguageModel, updates: Sequence[Update]) -> tuple[float, float, float]:
    """‖ΔW‖, ‖W‖, and the share of ΔW that storing it loses, over all changed matrices."""
    by_name: dict[str, list[Update]] = defaultdict(list)
    for update in updates:
        if len(update.shape) > 1:
            by_name[update.name].append(update)
    norms = [_sizes_of(lm.model.get_parameter(name), some) for name, some in by_name.items()]
    norm, before, lost = (math.hypot(*each) for each in zip((0.0, 0.0, 0.0), *norms, strict=True))
    return norm, before, lost / norm if norm else 0.0


def _sizes_of(stored: Tensor, updates: Sequence[Update]) -> tuple[float, float, float]:
    """The norms of one matrix's change, of itself, and of what storing the change loses."""
    with torch.no_grad():  # on the CPU: several copies of a matrix may not fit beside the model
        weight = stored.to("cpu", torch.promote_types(torch.float32, stored.dtype))
        delta = torch.zeros_like(weight)
        for update in updates:
            delta += update.delta(1.0, weight)
        after = (weight + delta).to(stored.dtype).to(weight.dtype) - weight
        return float(delta.norm()), float(weight.norm()), float((after - delta).norm())


def _not_said(request: Request, said: tuple[Said, Said], found: Found) -> list[str]:
    """What to say where the model said the target before, or does not say it now."""
    target, n_tokens = request.fact.target, len(request.target_ids)
    before, after = said
    if not before.instead:
        return [
            f"The model says “{target}” already (p = {before.probability:.2g}): there is nothing "
            "to change. Choose another target."
        ]
    if after.probability >= SAID:
        return []
    shorter = [f"a shorter target (this one has {n_tokens} tokens)"] if n_tokens > 1 else []
    more = ["more steps"] if found.stopped == "steps" else []
    remedies = ", ".join([*shorter, *found.remedies, *more, "another layer"])
    return [
        f"With the edit the model gives “{target}” p = {after.probability:.2g}"
        + (f" and says “{after.instead}” instead" if after.instead else "")
        + f"; {SAID:g} or more was wanted. Try {remedies}."
    ]


def _doubts(update_norm: float, weight_norm: float, measured: Perplexity | None) -> list[str]:
    found = perplexity.doubt(measured)
    if update_norm > LARGE_UPDATE * weight_norm:
        found.append(
            f"The update is {update_norm / weight_norm:.2g} times as large as the matrix itself "
            "(Frobenius): expect other predictions to change too."
        )
    return found


@dataclass(eq=False, repr=False)
class Edit(Stays):
    """A change of a model's weights that can be put in and taken out, bit for bit.

    Made by `edit` and `load_edit`.

    Example:
        >>> change = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> change.apply().applied, change.revert().applied
        (True, False)
    """

    _instead = "Send its file: edit.save(path), and there rome_widgets.load_edit(lm, path)."
    lm: LanguageModel
    facts: tuple[Fact, ...]
    """What it writes: prompts with their holes, subjects, and new targets."""
    updates: tuple[Update, ...]
    """What changes, by parameter."""
    report: EditReport
    """How it was computed, and what should make one doubt it."""
    bases: dict[str, str]
    """SHA-256, by parameter, of the weights without any edit when it was computed."""
    on_top_of: tuple[str, ...] = ()
    """Ids of the edits the model carried when it was computed."""
    identity: Identity | None = None
    """What the model was when it was computed; None of an edit from a file."""

    def __post_init__(self) -> None:
        self.id = _identity(self.facts, self.updates, self.bases)
        """Names the edit; the same for a copy that was saved and loaded."""
        self._strength = 1.0
        self._entered: list[float | None] = []

    def __repr__(self) -> str:
        more = f" and {len(self.facts) - 1} more" if len(self.facts) > 1 else ""
        return (
            f"Edit({self.fact.text!r} → {self.fact.target!r}{more}, {self.report.method}, "
            f"layer {self.report.layers_text}, {self._state})"
        )

    def _repr_html_(self) -> str:
        rows = [(fact.text, fact.target) for fact in self.facts[:MOST_FACTS_SHOWN]]
        what = f"{self.report.method}, layer {self.report.layers_text}, {self._state}"
        return table(rows, ("prompt", "target"), what) + self.report._repr_html_()

    @property
    def _state(self) -> str:
        return f"applied, strength {self.strength:g}" if self.applied else "not applied"

    @property
    def fact(self) -> Fact:
        """What it writes: prompt with its hole, subject and new target; of several, the first."""
        return self.facts[0]

    # ------------------------------------------------------------------------ in and out

    @property
    def applied(self) -> bool:
        """Whether the weights carry it."""
        return self._ledger.strength_of(self) is not None

    @property
    def stale(self) -> bool:
        """Whether an edit that it was computed on top of has been taken away since."""
        return not set(self.on_top_of) <= {other.id for other in self.lm.edits}

    @property
    def strength(self) -> float:
        """How much of it is, or will be, applied; 1 as computed, 0 nothing, beyond 1 more."""
        applied = self._ledger.strength_of(self)
        return self._strength if applied is None else applied

    @strength.setter
    @needs_memory("change the edit's strength")
    def strength(self, value: float) -> None:
        value = _check_strength(value)
        if self.applied:
            self._ledger.apply(self, value)
        self._strength = value

    @takes(force=truth)
    @needs_memory("apply the edit")
    def apply(self, *, force: bool = False) -> Edit:
        """Put it into the weights, until it is reverted; does nothing where it is in already.

        Args:
            force: Also on another model than it was computed on, or a matrix with other values.

        Raises:
            ModelChanged: Somebody else wrote the matrix since it was edited.
            FingerprintMismatch: The model is another than the one it was computed on.
        """
        if not force and not self.applied:
            self._check_identity()
        self._ledger.apply(self, self.strength, force=force)
        return self

    def _check_identity(self) -> None:
        """Refuse a model that was changed otherwise than by edits since it was computed."""
        if self.identity is None:
            return
        edited = {*self._ledger.ever_edited, *(update.name for update in self.updates)}
        if changed := what_else_changed(self.identity, self.lm.identity, besides=edited):
            raise FingerprintMismatch(
                f"The model is not the one that the edit was computed on: {changed}.",
                "The same model, with whatever edits, was wanted.",
                "Undo that change, compute the edit again, or say apply(force=True).",
            )

    @needs_memory("revert the edit")
    def revert(self) -> Edit:
        """Take it out; without other edits, the weights are bit for bit what they were.

        Raises:
            ModelChanged: Somebody else wrote the matrix since; nothing was overwritten.
        """
        self._ledger.revert([self])
        return self

    @property
    def temporary(self) -> bool:
        """Whether it is applied by a `with` block alone, and goes with that."""
        return bool(self._entered) and self._entered[0] is None

    def __enter__(self) -> Edit:
        self._entered.append(self._ledger.strength_of(self))
        try:
            return self.apply()
        except BaseException:  # Nobody calls __exit__ then, and an interrupt may have come late.
            self.__exit__()
            raise

    def __exit__(self, *error: object) -> None:
        """Back to what was before the block; an interrupt on the way comes after it."""
        try:
            self._go_back()
        except BaseException:
            self._go_back()
            raise
        finally:
            self._entered.pop()  # Last: until then it is a passing edit to whoever looks.

    def _go_back(self) -> None:
        before = self._entered[-1]
        if before is None:
            self._ledger.revert([self])
        else:
            self._ledger.apply(self, before)

    # -------------------------------------------------------------------------- looking

    @takes(progress=callback)
    @needs_memory("preview the edit")
    @undisturbed
    def preview(
        self,
        prompts: Any,
        *,
        strength: float | None = None,
        progress: Listener[CallProgress] = None,
    ) -> list[tuple[Any, Any]]:
        """Next-token probabilities without and with it, whether it is applied or not.

        No weight is touched. What an applied edit makes of the same prompts differs by rounding.

        Args:
            prompts: Any texts, chat messages or token ids; one, or a list of them.
            strength: The one to show; the edit's own by default.
            progress: Called after each pass; None shows a progress bar where it lasts, False none.

        Returns:
            Per prompt two `[vocab]` arrays of probabilities.
        """
        both = self._side_by_side(strength)
        rows = [self.lm.prompt_ids(prompt) for prompt in read_prompts(prompts)]
        if not rows:
            return []
        with counting(progress, "Comparing", "prompt") as steps:
            before, after = to_numpy(both.probabilities(rows, steps.at))
        return list(zip(before, after, strict=True))

    @takes(progress=callback)
    @needs_memory("compare predictions")
    @undisturbed
    def compare(
        self,
        prompts: Any,
        *,
        k: int = 8,
        generate: int = 0,
        strength: float | None = None,
        progress: Listener[CallProgress] = None,
    ) -> list[Comparison]:
        """The likeliest next tokens without and with it, and what the model would write.

        Args:
            prompts: Any texts, chat messages or token ids; one, or a list of them.
            k: Likeliest tokens of each side to show.
            generate: Tokens to write greedily on each side; 0 for none.
            strength: The one to show; the edit's own by default.
            progress: Called after each prompt and each token that is written; None shows a
                progress bar where it lasts, False none.
        """
        k = whole_number(k, "k", 0, error=SettingsError)
        generate = whole_number(generate, "generate", 0, error=SettingsError)
        both, prompts, found = self._side_by_side(strength), read_prompts(prompts), []
        with counting(progress, "Comparing", "step") as steps:
            for number, prompt in enumerate(prompts):

                def told(written: int, number: int = number) -> None:
                    steps.at(number * (1 + generate) + written, len(prompts) * (1 + generate))

                asked = both, self.lm, prompt, self.fact.target
                found.append(compare_prompt(*asked, k=k, generate=generate, told=told))
                told(1 + generate)
        return found

    @takes(progress=callback)
    @needs_memory("measure the perplexity")
    @undisturbed
    def perplexity(
        self, *, strength: float | None = None, progress: Listener[CallProgress] = None
    ) -> Perplexity | None:
        """Perplexity, without and with it, of the text in the report; touches no weight.

        Args:
            strength: The one to show; the edit's own by default.
            progress: Called after each pass; None shows a progress bar where it lasts, False none.
        """
        both = self._side_by_side(strength)
        with counting(progress, "Reading", "step") as steps:
            text = self.report.perplexity_text
            text = text or perplexity.ordinary_text(self.lm, self.report.seed, steps=steps)
            return perplexity.measure(both, self.lm, text, steps)

    @property
    def warnings(self) -> tuple[str, ...]:
        """The report's, and what more there is to say at a strength beyond 1; runs the model."""
        if 0 <= self.strength <= 1:
            return self.report.warnings
        size = abs(self.strength) * self.report.update_norm
        more = _doubts(size, self.report.weight_norm, self.perplexity())
        return (*self.report.warnings, *more)

    def _side_by_side(self, strength: float | None) -> SideBySide:
        shown = self.strength if strength is None else _check_strength(strength)
        return compare_edit(self.lm, self, shown)

    # ---------------------------------------------------------------------------- files

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write it to one file, whole or not at all; returns the path.

        Raises:
            SaveFailed: Nothing was written; a file that was there before is unchanged.
        """
        from rome_widgets.editing.edit_file import save_edit

        return save_edit(self, path)

    def to_peft(self, folder: str | os.PathLike[str]) -> Path:
        """Write it as a LoRA adapter that `peft` loads; returns the folder.

        Raises:
            EditRefused: It is not of low rank.
            SaveFailed: The folder could not be written.
        """
        from rome_widgets.editing.export import to_peft

        return to_peft([self], folder)

    def to_code(self) -> str:
        """Python that computes and applies it again."""
        from rome_widgets.editing.export import to_code

        return to_code(self)

    @property
    def _ledger(self) -> Any:
        return ledger_of(self.lm.model)


def _check_strength(value: float) -> float:
    return finite_number(value, "The strength", -MOST_STRENGTH, MOST_STRENGTH, error=SettingsError)


def _identity(facts: Sequence[Fact], updates: Sequence[Update], bases: Mapping[str, str]) -> str:
    about = [*map(asdict, facts), dict(bases)]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for update in updates:
        for name, tensor in update.tensors.items():
            digest.update(f"{update.name} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
