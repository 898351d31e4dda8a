"""Cache of runs, shared by tracers of one prompt and noise on a model that stayed the same."""

from __future__ import annotations

import hashlib
import weakref
from collections.abc import Hashable, Sequence

from torch import Tensor

from rome_widgets.model.language_model import LanguageModel, to_numpy
from rome_widgets.model.memory import Lacking, attempt, within_memory
from rome_widgets.model.precision import reduced_precision
from rome_widgets.model.replay import CannotReplay
from rome_widgets.tracing.replayed_runs import ReplayedRuns
from rome_widgets.tracing.runs import Runs


def cached_runs(
    lm: LanguageModel,
    ids: Sequence[int],
    positions: Sequence[int],
    noise: Tensor,
    other_ids: Sequence[int] | None = None,
) -> Runs:
    """The runs of a prompt: those that somebody already keeps, if the model still gives them.

    Fast runs where replay is right for this model and prompt, else slow ones. Arguments are those
    of `Runs`.

    Raises:
        NonFinite: NaN or infinity in the logits.
        OutOfMemory: No room for a pass over one draw.
    """
    kept: weakref.WeakValueDictionary[Hashable, Runs]
    kept = lm.remember("runs", None, weakref.WeakValueDictionary)
    draws = hashlib.sha256(to_numpy(noise).tobytes()).digest()
    passes = (lm.identity, lm.engine, reduced_precision(lm.device, lm.dtype))
    read = tuple(ids), None if other_ids is None else tuple(other_ids)
    key = (*passes, *read, tuple(positions), tuple(noise.shape), draws)
    runs = kept.get(key)
    if runs is None or not runs.still_hold():
        what = f"run {len(noise)} samples of the prompt"
        runs = kept[key] = within_memory(
            lambda: _new_runs(lm, ids, positions, noise, other_ids), what
        )
    return runs


def _new_runs(
    lm: LanguageModel,
    ids: Sequence[int],
    positions: Sequence[int],
    noise: Tensor,
    other_ids: Sequence[int] | None,
) -> Runs:
    replay, read = lm.replay, (ids, positions, noise, other_ids)
    if replay is None:
        return Runs(lm, *read)
    try:
        found = attempt(lambda: ReplayedRuns(lm, replay, *read))
    except CannotReplay as why:
        found, reason = None, str(why)
    else:
        if not isinstance(found, Lacking):
            return found
        reason = "memory does not hold the states of a pass over all samples"
    runs = Runs(lm, *read)
    runs.note = f"Whole forward passes are used for this prompt: {reason}."
    return runs
