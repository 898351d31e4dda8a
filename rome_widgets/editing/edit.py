"""An edit: computed without changing anything, applied and reverted as often as one likes."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from rome_widgets.editing import choose_layer, perplexity
from rome_widgets.editing.compare import SideBySide, compare, target_said, with_one, with_updates
from rome_widgets.editing.methods import Found, Task, find_editor
from rome_widgets.editing.request import Request, read_request
from rome_widgets.editing.settings import EditSettings, changed, known_settings
from rome_widgets.editing.site import Site, find_site
from rome_widgets.editing.statistics import second_moment
from rome_widgets.errors import Cancelled, EditRefused, ModelChanged, SettingsError
from rome_widgets.model.language_model import LanguageModel, check_language_model
from rome_widgets.model.ledger import Update, ledger_of
from rome_widgets.records.edit import Comparison, EditProgress, EditReport, Perplexity
from rome_widgets.records.fact import Fact
from rome_widgets.records.trace import CancelFlag

if TYPE_CHECKING:
    from rome_widgets.editing.statistics.second_moment import SecondMoment

LARGE_UPDATE = 0.5
"""‖ΔW‖ above this share of ‖W‖ is warned of."""
SAID = 0.5
"""A target that is less probable than this with the edit is warned of; from here up it is likelier
than all else together."""


def edit(
    lm: LanguageModel,
    prompt: str | Fact | Mapping[str, Any],
    subject: str | None = None,
    target: str | None = None,
    *,
    method: str = "rome",
    layer: int | None = None,
    settings: EditSettings | Mapping[str, Any] | None = None,
    second_moment: SecondMoment | str | os.PathLike[str] | Iterable[str] | None = None,
    seed: int = 0,
    progress: Callable[[EditProgress], None] | None = None,
    cancel: CancelFlag | None = None,
) -> Edit:
    """Compute how to make the model say something else about a subject; changes nothing.

    Args:
        lm: The model, with whatever edits it carries.
        prompt: Text with one literal `{}` for the subject; or a Fact, or a CounterFact record.
        subject: The entity; not needed with a Fact or a record.
        target: The word wanted next, without a leading space.
        method: "rome", "r-rome", "ft" or "ft-l".
        layer: Where; None: the published table's or the card's, else the trace's peak.
        settings: Numbers to use in place of the model's own; see `EditSettings`.
        second_moment: Statistics of the keys, of the model without its edits. Texts are run
            through it once and kept in the cache folder; for many edits, or to keep them in a
            file of yours, `rome_widgets.second_moment` gives a
            `SecondMoment` to pass here, as may be the file; "identity" does without.
        seed: Of the sampled prefixes.
        progress: Called after each step, in this thread.
        cancel: Checked between steps; stops with `Cancelled`.

    Raises:
        PromptError, SubjectNotFound, SettingsError: Bad input; nothing was run.
        EditRefused: The matrix cannot be edited.
        StatisticsMissing: No second moment is known for this model.
        NonFinite: The optimisation diverged.
        Cancelled: `cancel` was set.

    Example:
        >>> change = edit(lm, "{} is in the city of", "The Space Needle", "Paris")
        >>> with change:
        ...     print(change.compare("The Space Needle is in the city of"))

    Source:
        Meng et al. 2022, section 3.1.
    """
    started = time.perf_counter()
    lm = check_language_model(lm)
    editor = find_editor(method)
    request = read_request(lm, prompt, subject, target)
    known = known_settings(lm.name, lm.n_layers, method, card_of(lm))
    chosen = changed(known.settings, settings)

    def check() -> None:
        if cancel is not None and cancel.is_set():
            raise Cancelled("The edit was cancelled; the model is unchanged.")

    check()
    layer, why = choose_layer.choose(lm, request, layer, known, check)
    site = find_site(lm, layer)
    tell = progress or (lambda step: None)
    version = lm.weights_version
    found = editor(
        Task(site, request, chosen, second_moment, _check_seed(seed), check, tell, cancel)
    )
    if lm.weights_version != version:
        raise ModelChanged(
            "The model's weights changed while the edit was computed.",
            "One set of weights was wanted.",
            "Compute it again.",
        )
    source = known.source + (", with changes" if chosen != known.settings else "")
    return _finish(site, request, method, chosen, source, why, seed, found, started)


def card_of(lm: LanguageModel) -> Mapping[str, Any] | None:
    """What the model's own card says about edits; see `bundled.settings`."""
    from rome_widgets import bundled

    return bundled.settings() if second_moment.is_bundled(lm) else None


def _check_seed(seed: int) -> int:
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise SettingsError(f"The seed is {seed!r}.", "A whole number was wanted.")
    return seed


def _finish(
    site: Site,
    request: Request,
    method: str,
    settings: EditSettings,
    source: str,
    why: str,
    seed: int,
    found: Found,
    started: float,
) -> Edit:
    lm = site.lm
    for update in found.updates:
        for tensor in update.tensors.values():
            if not torch.isfinite(tensor).all():
                raise EditRefused("The update has NaN or infinity.", "Finite numbers were wanted.")
    update_norm, weight_norm, rounding = _sizes(site, found.updates)
    text = perplexity.ordinary_text(lm, settings, seed, found.figures.get("prefixes", ()))
    both = with_updates(lm, found.updates)
    measured = perplexity.measure(both, lm, text)
    doubts = (
        *found.warnings,
        *_not_said(site, both, request, found),
        *_doubts(update_norm, weight_norm, measured),
    )
    report = EditReport(
        method=method,
        model=lm.name,
        prompt=request.prompt,
        subject=request.fact.subject,
        target=request.fact.target,
        target_tokens=tuple(lm.token_text(token) for token in request.target_ids),
        layer=site.layer,
        why_layer=why,
        settings=asdict(settings),
        settings_from=source,
        seed=seed,
        engine=lm.engine,
        steps=found.steps,
        stopped=found.stopped,
        update_norm=update_norm,
        weight_norm=weight_norm,
        rounding=rounding,
        seconds=time.perf_counter() - started,
        warnings=doubts,
        perplexity=measured,
        perplexity_text=text,
        **found.figures,
    )
    ledger = ledger_of(lm.model)
    bases = {update.name: ledger.fingerprint(update.name) for update in found.updates}
    on_top = tuple(other.id for other in lm.edits)
    return Edit(lm, request.fact, tuple(found.updates), report, bases, on_top)


def _sizes(site: Site, updates: Sequence[Update]) -> tuple[float, float, float]:
    """‖ΔW‖, ‖W‖, and the share of ΔW that storing it loses."""
    with torch.no_grad():
        weight = site.weight.to(site.dtype)
        delta = sum(u.delta(1.0, weight) for u in updates if u.name == site.weight_name)
        if not isinstance(delta, torch.Tensor):
            return 0.0, float(weight.norm()), 0.0
        stored = (weight + delta).to(site.weight.dtype).to(site.dtype) - weight
        norm = float(delta.norm())
        lost = float((stored - delta).norm())
        return norm, float(weight.norm()), lost / norm if norm else 0.0


def _not_said(site: Site, both: SideBySide, request: Request, found: Found) -> list[str]:
    """What to say where the model said the target before, or does not say it now."""
    target, n_tokens = request.fact.target, len(request.target_ids)
    before, after = target_said(both, site.lm, request.prompt, request.target_ids)
    if not before.instead:
        return [
            f"The model says “{target}” already (p = {before.probability:.2g}): there is nothing "
            "to change. Choose another target."
        ]
    if after.probability >= SAID:
        return []
    shorter = [f"a shorter target (this one has {n_tokens} tokens)"] if n_tokens > 1 else []
    longer = ["a larger clamp"] if found.figures.get("clamped") else []
    more = ["more steps"] if found.stopped == "steps" else []
    remedies = ", ".join([*shorter, *longer, *more, "another layer"])
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


class Edit:
    """A change of a model's weights that can be put in and taken out, bit for bit.

    Made by `edit` and `load_edit`.

    Attributes:
        fact: Prompt with its hole, subject, and the new target.
        updates: What changes, by parameter.
        report: How it was computed, and what should make one doubt it.
        bases: SHA-256, by parameter, of the weights without any edit when it was computed.
        on_top_of: Ids of the edits the model carried when it was computed.
        id: Names the edit; the same for a copy that was saved and loaded.
    """

    def __init__(
        self,
        lm: LanguageModel,
        fact: Fact,
        updates: tuple[Update, ...],
        report: EditReport,
        bases: dict[str, str],
        on_top_of: tuple[str, ...] = (),
    ) -> None:
        self.lm = lm
        self.fact = fact
        self.updates = updates
        self.report = report
        self.bases = bases
        self.on_top_of = on_top_of
        self.id = _identity(fact, updates, bases)
        self._strength = 1.0
        self._entered: list[float | None] = []

    def __repr__(self) -> str:
        state = f"applied, strength {self.strength:g}" if self.applied else "not applied"
        return (
            f"Edit({self.fact.text!r} → {self.fact.target!r}, {self.report.method}, "
            f"layer {self.report.layer}, {state})"
        )

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
    def strength(self, value: float) -> None:
        value = _check_strength(value)
        if self.applied:
            self._ledger.apply(self, value)
        self._strength = value

    def apply(self, *, force: bool = False) -> Edit:
        """Put it into the weights, until it is reverted; does nothing where it is in already.

        Args:
            force: Also on a matrix with other values than it was computed on.

        Raises:
            ModelChanged: Somebody else wrote the matrix since it was edited.
            FingerprintMismatch: The model is another than the one it was computed on.
        """
        self._ledger.apply(self, self.strength, force=force)
        return self

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
            self._leave()
            raise

    def __exit__(self, *error: object) -> None:
        self._leave()

    def _leave(self) -> None:
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

    def preview(
        self, prompts: str | Iterable[str], *, strength: float | None = None
    ) -> list[tuple[Any, Any]]:
        """Next-token probabilities without and with it, whether it is applied or not.

        No weight is touched. What an applied edit makes of the same prompts differs by rounding.

        Args:
            prompts: Any texts.
            strength: The one to show; the edit's own by default.

        Returns:
            Per prompt two `[vocab]` arrays of probabilities.
        """
        from rome_widgets.model.language_model import to_numpy

        both = self._side_by_side(strength)
        rows = [self.lm.encode(prompt, (0, len(prompt))).ids for prompt in _listed(prompts)]
        if not rows:
            return []
        before, after = to_numpy(both.probabilities(rows))
        return list(zip(before, after, strict=True))

    def compare(
        self,
        prompts: str | Iterable[str],
        *,
        k: int = 8,
        generate: int = 0,
        strength: float | None = None,
    ) -> list[Comparison]:
        """The likeliest next tokens without and with it, and what the model would write.

        Args:
            prompts: Any texts.
            k: Likeliest tokens of each side to show.
            generate: Tokens to write greedily on each side; 0 for none.
            strength: The one to show; the edit's own by default.
        """
        both = self._side_by_side(strength)
        return [
            compare(both, self.lm, prompt, self.fact.target, k=k, generate=generate)
            for prompt in _listed(prompts)
        ]

    def perplexity(self, *, strength: float | None = None) -> Perplexity | None:
        """Perplexity, without and with it, of the text in the report; touches no weight.

        Args:
            strength: The one to show; the edit's own by default.
        """
        text = self.report.perplexity_text
        text = text or perplexity.ordinary_text(self.lm, EditSettings(), self.report.seed)
        return perplexity.measure(self._side_by_side(strength), self.lm, text)

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
        return with_one(self.lm, self, shown)

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


def _listed(prompts: str | Iterable[str]) -> list[str]:
    return [prompts] if isinstance(prompts, str) else list(prompts)


def _check_strength(value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e6:
        raise SettingsError(f"The strength is {value!r}.", "A finite number was wanted.")
    return float(value)


def _identity(fact: Fact, updates: Sequence[Update], bases: Mapping[str, str]) -> str:
    digest = hashlib.sha256(json.dumps([asdict(fact), dict(bases)], sort_keys=True).encode())
    for update in updates:
        for name, tensor in update.tensors.items():
            digest.update(f"{update.name} {name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(tensor.cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:32]
