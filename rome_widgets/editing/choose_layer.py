"""Chooses the layer to edit where the user does not say one, always with the reason."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rome_widgets.editing.request import Request
from rome_widgets.editing.settings import Known
from rome_widgets.editing.site import editable_layers
from rome_widgets.errors import said
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.records.edit import EditProgress

SMALL_EFFECT = 0.05
"""A total effect below this says nothing about layers."""


def choose_layer(
    lm: LanguageModel,
    request: Request,
    asked: int | None,
    known: Known,
    check: Callable[[], None] = lambda: None,
    progress: Callable[[EditProgress], None] = lambda step: None,
) -> tuple[int, str]:
    """The layer of an edit, and who chose it: the user, what is known of the model, or a trace.

    A trace's strength does not predict how well an edit takes (the paper's later critics measured
    it, and so did we on the bundled model); it is a place to start.
    """
    if asked is not None:
        return asked, f"Layer {said(asked)} was asked for."
    if known.layer is not None:
        return known.layer, f"Layer {known.layer} is that of {known.source}."
    return layer_of_peak(lm, *traced_effects(lm, request, check, progress))


def layer_of_peak(lm: LanguageModel, effects: Mapping[int, float], total: float) -> tuple[int, str]:
    """The layer that a trace with these `effects` by layer points to, and the caveat.

    Raises:
        EditRefused: No layer can be edited.
    """
    editable = editable_layers(lm)
    if total < SMALL_EFFECT:
        third = min(editable, key=lambda each: abs(each - lm.n_layers / 3))
        return third, (
            f"Layer {third} is a third of the way up: the model's own answer hardly depends on "
            f"the subject (total effect {total:.3f}), so a trace says nothing."
        )
    layer = max(editable, key=lambda each: effects[each])
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
