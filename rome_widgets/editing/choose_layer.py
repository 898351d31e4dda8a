"""Chooses the layer to edit where the user does not say one, always with the reason.

By what is known of the model, else by a rule; by a trace of the prompt where that is asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rome_widgets.editing.request import Request
from rome_widgets.editing.settings import Known
from rome_widgets.editing.site import editable_layers, is_gated
from rome_widgets.errors import SettingsError, said
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.edit import EditProgress

DEPTH = {"gated": 0.16, "plain": 1 / 3}
"""At which share of its layers a model is edited that no table names, by its kind of MLP; as the
published layers are: 5 of 32 and of 28; 8 of 24, 12 of 36, 17 of 48, 15 of 44."""
TRACE = "trace"
"""Asks for the layer where a trace peaks."""
SMALL_EFFECT = 0.05
"""A total effect below this says nothing about layers."""
SMALL_SHARE = 0.1
"""Nor does a peak of less than this share of it: it is where the noise happened to be least."""


def choose_layer(
    lm: LanguageModel,
    request: Request,
    asked: int | str | None,
    known: Known,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[EditProgress], None] = lambda step: None,
) -> tuple[int, str]:
    """The layer of an edit, and who chose it.

    A trace would give each prompt a layer of its own, and its strength does not predict how well an
    edit takes (the paper's later critics measured it, and so did we on the bundled model).

    Raises:
        SettingsError: A word that is none.
        EditRefused: No layer can be edited.
    """
    if isinstance(asked, str):
        if asked != TRACE:
            raise SettingsError(
                f"The layer is {said(asked)}.", f"A whole number, or {TRACE!r}, was wanted."
            )
        return layer_of_peak(lm, *traced_effects(lm, request, check, progress))
    if asked is not None:
        return asked, f"Layer {said(asked)} was asked for."
    if known.layer is not None:
        return known.layer, f"Layer {known.layer} is that of {known.source}."
    return layer_by_rule(lm)


def layer_by_rule(lm: LanguageModel) -> tuple[int, str]:
    """The layer of a model that no table names, and why.

    Raises:
        EditRefused: No layer can be edited.
    """
    editable = editable_layers(lm)
    kind = "gated" if is_gated(lm, editable[0]) else "plain"
    layer = min(editable, key=lambda each: abs(each - DEPTH[kind] * lm.n_layers))
    return layer, f"Layer {layer} of {lm.n_layers} is by the rule for models with {kind} MLPs."


def layers_about_rule(lm: LanguageModel) -> list[int]:
    """The rule's layer and the two a twelfth of the depth below and above it, as far as there are.

    Raises:
        EditRefused: No layer can be edited.
    """
    middle, _ = layer_by_rule(lm)
    step = max(1, round(lm.n_layers / 12))
    about = range(middle - step, middle + step + 1, step)
    return [layer for layer in about if layer in editable_layers(lm)]


def layer_of_peak(lm: LanguageModel, effects: Mapping[int, float], total: float) -> tuple[int, str]:
    """The layer that a trace with these `effects` by layer points to, and the caveat.

    Raises:
        EditRefused: No layer can be edited.
    """
    editable = editable_layers(lm)
    layer = max(editable, key=lambda each: effects[each])
    if total < SMALL_EFFECT or effects[layer] < SMALL_SHARE * total:
        ruled, by_rule = layer_by_rule(lm)
        why = (
            f"the model's own answer hardly depends on the subject (total effect {total:.3f})"
            if total < SMALL_EFFECT
            else f"no MLP brings back more than {effects[layer]:.3f} of {total:.3f}"
        )
        return ruled, f"{by_rule} A trace says nothing: {why}."
    return layer, (
        f"Layer {layer} is where restoring the MLP at the last subject token brings most back "
        f"({effects[layer]:.3f} of {total:.3f}). It need not be where an edit takes best."
    )


def traced_effects(
    lm: LanguageModel,
    request: Request,
    check: Callable[[], None],
    progress: Callable[[EditProgress], None] = lambda step: None,
) -> tuple[dict[int, float], float]:
    """Indirect effect of the MLP at the last subject token by layer, and the total effect."""
    from rome_widgets.tracing.tracer import CausalTracer

    tracer = CausalTracer(lm, request.prompt, request.subject_place)
    pos = tracer.subject_span[1] - 1
    effects, layers = {}, editable_layers(lm)
    for layer in layers:
        check()
        restored = tracer.restore(tracer.cell(pos, layer, "mlp"))
        effects[layer] = restored.probability - tracer.corrupted
        progress(EditProgress("layer", len(effects), len(layers)))
    return effects, tracer.clean - tracer.corrupted
