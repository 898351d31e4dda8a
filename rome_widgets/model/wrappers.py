"""Take a model out of its wrappers, where they add nothing to what it computes.

`torch.compile`, nnsight and PEFT wrap the transformers model in a module of their own, which the
user goes on calling. What the wrapper itself does to a prompt would be lost inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from torch import Tensor, nn

from rome_widgets.errors import WrappedModel
from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.foreign_code import foreign_hooks, has_replaced_forward
from rome_widgets.model.structure.geometry import all_logits, tolerance
from rome_widgets.records.html import and_more


def unwrap(model: Any) -> Any:
    """The transformers model inside `torch.compile`, nnsight or PEFT; anything else as it is."""
    while (inner := _inside(model)) is not None:
        model = inner
    return model


def wrappers_of(model: Any) -> tuple[nn.Module, ...]:
    """The wrappers around the transformers model, the outermost first."""
    return tuple(_wrappers_of(model))


def _wrappers_of(model: Any) -> Iterator[nn.Module]:
    while (inner := _inside(model)) is not None:
        if isinstance(model, nn.Module):  # nnsight's is none
            yield model
        tuner = getattr(model, "base_model", None) if _is_peft(model) else None
        if isinstance(tuner, nn.Module) and tuner is not inner:
            yield tuner
        model = inner


def _inside(model: Any) -> Any:
    for attribute in ("_orig_mod", "_module"):
        inner = getattr(model, "__dict__", {}).get(attribute)
        inner = inner if inner is not None else getattr(model, "_modules", {}).get(attribute)
        if isinstance(inner, nn.Module):
            return inner
    return model.get_base_model() if _is_peft(model) else None


def _is_peft(model: Any) -> bool:
    # By its class: a compiled wrapper passes on what is asked of it.
    return hasattr(type(model), "get_base_model") and hasattr(model, "peft_config")


def check_wrappers(wrappers: Iterable[nn.Module], inner: nn.Module) -> None:
    """Refuse wrappers of which a part of the work would be lost.

    Raises:
        WrappedModel: With what would be lost.
    """
    name = type(inner).__name__
    for wrapper in wrappers:
        outer = type(wrapper).__name__
        hooks = [each.words for each in foreign_hooks(wrapper)]
        passed_on = getattr(vars(wrapper).get("forward"), "__self__", None) is inner
        if has_replaced_forward(wrapper) and not passed_on:
            hooks.append("a replaced forward")
        if hooks:
            raise WrappedModel(
                f"There is {and_more(hooks)} on {outer}, which the {name} inside does not run.",
                "A wrapper that adds nothing was wanted.",
                f"Attach it to the {name} instead.",
            )
        for config in _active_configs(wrapper):
            kind = getattr(config.peft_type, "value", config.peft_type)
            if getattr(config, "is_prompt_learning", False):
                raise WrappedModel(
                    f"{outer} puts virtual tokens before every prompt ({kind}), which would be "
                    f"lost: the {name} inside does not have them.",
                    "A model that reads the tokens of the prompt, and no others, was wanted.",
                    "Use an adapter of the weights, such as LoRA, or trace the model without the "
                    "virtual tokens: LanguageModel(model.get_base_model(), tokenizer).",
                )
            if getattr(config, "alora_invocation_tokens", None):
                raise WrappedModel(
                    f"The adapter of {outer} acts after invocation tokens only ({kind}), which "
                    f"{outer} looks for in every prompt and the {name} inside does not.",
                    "An adapter that acts on every token was wanted.",
                    "Trace the model inside with the adapter merged, or without it.",
                )


def _active_configs(wrapper: Any) -> list[Any]:
    """The configurations of PEFT's adapters that act now."""
    if not _is_peft(wrapper) or getattr(wrapper, "_adapters_disabled", False):
        return []
    active = wrapper.active_adapter
    names = [active] if isinstance(active, str) else list(active)
    return [wrapper.peft_config[name] for name in names if name in wrapper.peft_config]


def prove_wrappers(wrappers: Iterable[nn.Module], inner: nn.Module, ids: Tensor) -> None:
    """Refuse a PEFT wrapper that computes something else than the model inside, on a probe.

    Others are not asked: `torch.compile` would take minutes, nnsight another call.

    Raises:
        WrappedModel: With how far they are apart.
    """
    for wrapper in wrappers:
        if not _is_peft(wrapper):
            continue
        wanted, found = run_in_eval_mode(
            wrapper,
            lambda wrapper=wrapper: (all_logits(wrapper, ids), all_logits(inner, ids)),
        )
        off = (found.float() - wanted.float()).abs().max()
        if not off <= tolerance(wanted.dtype) * wanted.float().abs().max():
            raise WrappedModel(
                f"{type(wrapper).__name__} gives other predictions than the "
                f"{type(inner).__name__} inside it, off by {float(off):.2g}.",
                "A wrapper that adds nothing was wanted.",
                "Merge the adapter, model.merge_and_unload(), and pass what that returns.",
            )
        return
