"""Identity of a model: everything that decides what `model(...)` computes now, as one value.

Two identities are equal as long as the model gives the same numbers. Asked in one place,
`LanguageModel.identity`, by whoever keeps something that a model gave: runs, σ, statistics,
edits, what a widget shows. Where two differ, `identity_changes` says it in words.

Of weights it holds which tensor it is and how often torch saw it written, and sums over a line
through each matrix that meets every row and every column: so writes through `.data`, which torch
does not count, are seen too, unless of single elements beside the line. Of code: every module,
its own numbers, hooks and replaced forwards, PEFT's adapters being modules with numbers. Training
mode is no part of it: everything here runs in eval mode, as `model.eval()` makes it, whatever the
model is in. What transformers, accelerate and peft hang on a model is part of the model.

Source:
    No published one.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import sys
import types
import weakref
import zlib
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator, Mapping
from operator import is_
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_modules

from rome_widgets.model.foreign_code import (
    foreign_hooks,
    has_replaced_forward,
    home_of,
    is_of_a_library,
    name_of,
)

T = TypeVar("T")

_LARGEST = 512
"""Entries of a plain container that are looked at; of larger ones, which object it is."""
_DEEPEST = 6

_PATCHED = ("torch", "transformers", "transformers_modules", "peft")
"""Libraries whose functions are read, by name, when a model runs; somebody may put others there."""

_OF_TORCH = frozenset(vars(nn.Module()))
"""What torch itself keeps in a module; modules, weights and hooks are read from there by name."""
_OF_NO_EFFECT = frozenset(
    {
        *("_is_hf_initialized", "_old_forward", "_rome_widgets_ledger"),
        *("gradient_checkpointing", "_gradient_checkpointing_func", "_require_grads_hook"),
        *("generation_config", "name_or_path", "warnings_issued", "loss_type", "_loss_function"),
        *("all_tied_weights_keys", "_weight_conversions", "_tp_plan", "_ep_plan", "_pp_plan"),
        *("_fsdp_plan", "_no_split_modules", "_use_kernels", "_cache", "_compiled_call"),
        *("_keys_to_ignore_on_load_unexpected", "_keys_to_ignore_on_load_missing"),
        *("_keys_to_ignore_on_save", "_skip_keys_device_placement", "kernel_config"),
        *("_keep_in_fp32_modules", "_keep_in_fp32_modules_strict"),
    }
)
"""Attributes of modules that no forward pass in eval mode depends on."""
_NOT_LOOKED_AT = _OF_TORCH | _OF_NO_EFFECT
_OF_THE_CHECKPOINT = frozenset(
    {
        *("_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version"),
        *("_commit_hash", "id2label", "label2id", "problem_type", "_auto_class", "auto_map"),
        *("bos_token_id", "eos_token_id", "pad_token_id", "tokenizer_class", "_auto_map"),
        *("initializer_range", "finetuning_task", "task_specific_params"),
    }
)
"""Values of a configuration that describe the checkpoint, and do not enter a forward pass."""


class ModuleState(NamedTuple):
    """What one module is and holds, its weights aside."""

    name: str
    number: Hashable
    """Tells which object it is."""
    type: str
    values: tuple[tuple[str, Any], ...]
    """Plain values by attribute; a replaced `forward` is among them."""
    hooks: tuple[tuple[Any, str], ...]
    """(which, description) of each hook that is not one of the libraries'."""

    @property
    def replaced(self) -> bool:
        """Whether somebody put another `forward` on it."""
        return any(key == "forward" for key, _ in self.values)


class WeightState(NamedTuple):
    """Which tensor a parameter or buffer is, and what it holds."""

    name: str
    tensor: tuple[Any, ...]
    """Which object, where, dtype, device, shape, and how often torch saw it written."""
    values: int | None
    """Sum over a line through it; None where it cannot be read."""


class Identity:
    """One value for everything that decides a model's output; equal, hashable, tells differences.

    Made by `IdentityReader.read`.
    """

    def __init__(
        self,
        modules: tuple[ModuleState, ...],
        weights: tuple[WeightState, ...],
        code: tuple[tuple[str, Any], ...],
        config: tuple[tuple[str, Any], ...],
        tokenizer: tuple[tuple[str, Any], ...],
    ) -> None:
        self.modules, self.weights = modules, weights
        self.code, self.config, self.tokenizer = code, config, tokenizer

    @functools.cached_property
    def _all(self) -> tuple[Any, ...]:
        return self.weights, self.modules, self.code, self.config, self.tokenizer

    @functools.cached_property
    def _hash(self) -> int:
        return hash(self._all)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Identity) and self._all == other._all

    def __hash__(self) -> int:
        return self._hash

    def __repr__(self) -> str:
        return f"Identity({len(self.modules)} modules, {len(self.weights)} weights)"

    @functools.cached_property
    def structure(self) -> Hashable:
        """What a model is built of: where its parts are has to be found again when it changes."""
        built = [
            (*state[:3], *(value for key, value in state.values if key in _IS_CODE))
            for state in self.modules
        ]
        depth = [value for key, value in self.config if key.endswith("num_hidden_layers")]
        return tuple(built), self.code, tuple(depth)

    @property
    def without_weights(self) -> Hashable:
        """All but the weights, which edits change."""
        return self._all[1:]

    def without(self, names: Collection[str]) -> Hashable:
        """All but the weights of these names."""
        return tuple(each for each in self.weights if each.name not in names), self.without_weights

    @functools.cached_property
    def built(self) -> str:
        """SHA-256 of the modules' names and types and of what PEFT switches; for files."""
        about = [
            (state.name, state.type, [pair for pair in state.values if pair[0] in _OF_ADAPTERS])
            for state in self.modules
        ]
        return hashlib.sha256(repr(about).encode()).hexdigest()

    @property
    def foreign(self) -> tuple[str, ...]:
        """Hooks and replaced forwards that nobody knows the inside of, in words."""
        found = [
            f"{what} on {state.name or 'the model itself'}"
            for state in self.modules
            for _, what in state.hooks
        ]
        found += [
            f"a replaced forward of {state.name or 'the model'}"
            for state in self.modules
            if state.replaced
        ]
        return (*found, *(value for key, value in self.code if key.startswith(GLOBAL_HOOK)))

    def inside(self, name: str) -> Hashable:
        """Only what is of the module of this name and in it, of all code, and of the tokenizer."""
        return (
            tuple(state for state in self.weights if _within(state.name, name)),
            tuple(state for state in self.modules if _within(state.name, name)),
            self.code,
            self.tokenizer,
        )

    def foreign_in(self, name: str) -> bool:
        """Whether there is code of somebody else on the module of this name or in it."""
        inside = [state for state in self.modules if _within(state.name, name)]
        return any(state.hooks or state.replaced for state in inside) or any(
            key.startswith(GLOBAL_HOOK) for key, _ in self.code
        )

    @property
    def unread(self) -> bool:
        """Whether there are weights whose values cannot be read, so that a write may go unseen."""
        return any(
            state.values is None and (not state.tensor or state.tensor[-1].numel())
            for state in self.weights
        )


def _within(name: str, outer: str) -> bool:
    return name == outer or name.startswith(f"{outer}.")


# ------------------------------------------------------------------------------- reading


class IdentityReader:
    """Reads the identity of one model, as often as it is asked.

    A read walks the modules and looks at about one in d_model of the weights. On a CPU that takes,
    of the time of a pass over a short prompt, half for the bundled model (1.8 ms on an idle
    machine), .08 for SmolLM2-135M and .07 for Gemma 3 270M.
    On a GPU (not measured) it starts some ten kernels for each dtype and waits once for the device.

    Args:
        model: The model.
        tokenizer: Its tokenizer.
        wrappers: What the user calls in place of the model, and what is between.
    """

    def __init__(
        self, model: nn.Module, tokenizer: Any, wrappers: Iterable[nn.Module] = ()
    ) -> None:
        self._model, self._tokenizer = model, tokenizer
        self._wrappers = tuple(wrappers)
        self._lines, self._code = _Lines(), _Code()
        self._restless: frozenset[tuple[str, str]] = frozenset()
        """(module, attribute) and buffers that a pass itself changes."""

    def read(self, tokenizer: Any = None, *, model: nn.Module | None = None) -> Identity:
        """The identity now, with another tokenizer, or of what stands in for the model."""
        named = list((self._model if model is None else model).named_modules())
        around = [(f"({type(wrapper).__name__})", wrapper) for wrapper in self._wrappers]
        modules = tuple(self._module_state(name, module) for name, module in [*named, *around])
        weights = {
            f"{name}.{key}" if name else key: weight
            for name, module in named
            for key, weight in self._weights_of(name, module)
        }
        sums = self._lines.sums(weights)
        return Identity(
            modules,
            tuple(
                WeightState(name, _which_tensor(weight), sums.get(name))
                for name, weight in weights.items()
            ),
            tuple(self._code.read(self._model, {type(module) for _, module in named})),
            tuple(_all_config_values(self._model, named)),
            tokenizer_state(self._tokenizer if tokenizer is None else tokenizer),
        )

    def leaving_out_what_changes(self, stand_in: nn.Module, passes: Callable[[], T]) -> T:
        """Run passes of the model's stand-in; what they change in it is ignored from now on.

        So do the user's own passes in the model. Buffers and plain values only: a pass leaves
        parameters alone.
        """
        before = self.read(model=stand_in)
        found = passes()
        self._leave_out_what_differs(before, self.read(model=stand_in))
        return found

    def _leave_out_what_differs(self, before: Identity, after: Identity) -> None:
        parameters = {name for name, _ in self._model.named_parameters(remove_duplicate=False)}
        values = {(s.name, key): v for s in before.modules for key, v in s.values}
        moved = {
            (state.name, key)
            for state in after.modules
            for key, value in state.values
            if (state.name, key) not in values or values[state.name, key] != value
        }
        tensors = {state.name: state for state in before.weights}
        moved |= {
            (state.name.rpartition(".")[0], state.name.rpartition(".")[2])
            for state in after.weights
            if state.name not in parameters and tensors.get(state.name) != state
        }
        self._restless |= moved

    def _module_state(self, name: str, module: nn.Module) -> ModuleState:
        holds = vars(module)
        values = tuple(
            (key, _frozen(holds[key]))
            for key in sorted(holds.keys() - _NOT_LOOKED_AT)
            if self._counts(name, module, key, holds[key])
        )
        hooks = ()
        if module._forward_hooks or module._forward_pre_hooks or "_hf_hook" in holds:
            hooks = tuple(
                ((each.kind, each.key, _number(each.hook)), each.words)
                for each in foreign_hooks(module)
            )
        return ModuleState(name, _number(module), type(module).__name__, values, hooks)

    def _counts(self, name: str, module: nn.Module, key: str, value: Any) -> bool:
        if (name, key) in self._restless:
            return False
        if key == "forward":
            return has_replaced_forward(module)
        if key == "_hf_hook":
            return not any(True for _ in foreign_hooks(module))
        if key.startswith("_") and key not in (*SWITCHES, *_IS_CODE):
            # A whole model of transformers keeps notes of its own there.
            return not hasattr(module, "get_input_embeddings")
        return not (key.startswith("max_seq_len_cached") and _rotates_dynamically(module))

    def _weights_of(self, name: str, module: nn.Module) -> Iterator[tuple[str, Tensor]]:
        for key, weight in module._parameters.items():
            if weight is not None:
                yield key, weight
        dynamic = bool(module._buffers) and _rotates_dynamically(module)
        for key, weight in module._buffers.items():
            rewritten = dynamic and key.endswith("inv_freq") and "original" not in key
            if weight is not None and not rewritten and (name, key) not in self._restless:
                yield key, weight


def _rotates_dynamically(module: nn.Module) -> bool:
    """Whether a rotary embedding rewrites its own frequencies by the length of the prompt."""
    kind = getattr(module, "rope_type", None)
    kinds = kind.values() if isinstance(kind, Mapping) else [kind]
    return any("dynamic" in str(each) or each == "longrope" for each in kinds)


# ------------------------------------------------------------------------------- weights


def _which_tensor(weight: Tensor) -> tuple[Any, ...]:
    """Which tensor it is, where and what, and how often it was written in place.

    Tensors of inference mode do not count; offloaded weights are other tensors after each pass.
    """
    if weight.is_meta:
        return ()
    writes = 0 if weight.is_inference() else weight._version
    return (
        *(_number(weight), weight.data_ptr(), writes),
        *(weight.dtype, weight.device, weight.shape),
    )


class _Lines:
    """Sums over a line through each weight, by views that are made once.

    Integer sums of the elements' bits, each times an odd number of its own: they repeat exactly,
    and no write of a single element on the line leaves its sum as it was.
    """

    def __init__(self) -> None:
        self._key: Any = None
        self._groups: list[_Group] = []

    def sums(self, weights: Mapping[str, Tensor]) -> dict[str, int]:
        """By name, of those that can be read."""
        readable = {
            name: weight
            for name, weight in weights.items()
            if _computes_as_a_tensor(type(weight))
            and weight.layout is torch.strided
            and not weight.is_meta
        }
        key = [(name, weight.data_ptr(), weight.shape) for name, weight in readable.items()]
        key += [(weight.dtype, weight.device, weight.stride()) for weight in readable.values()]
        if key != self._key:
            by_kind: dict[Any, dict[str, Tensor]] = {}
            for name, weight in readable.items():
                if weight.numel():
                    by_kind.setdefault((weight.dtype, weight.device), {})[name] = weight
            self._groups = [_Group(some) for some in by_kind.values()]
            self._key = key
        found: dict[str, int] = {}
        for group in self._groups:
            found |= group.sums()
        return found


@functools.cache
def _computes_as_a_tensor(kind: type[Tensor]) -> bool:
    """Whether a class of tensors leaves it to torch what its operations do."""
    functions = (Tensor.__torch_function__, nn.Parameter.__torch_function__)
    return (
        kind.__torch_function__ in functions
        and kind.__torch_dispatch__ == Tensor.__torch_dispatch__  # pyright: ignore[reportAttributeAccessIssue]
    ) or kind is Tensor


class _Group:
    """Lines through weights of one dtype on one device."""

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        self._names = list(weights)
        self._views = [line_through(weight.detach()) for weight in weights.values()]
        ends = list(itertools.accumulate(view.numel() for view in self._views))
        some = self._views[0]
        lines = zip(self._names, self._views, strict=True)
        self._odd = torch.cat([_odd_numbers(name, len(view)) for name, view in lines])
        self._odd = self._odd.to(some.device)
        self._last = torch.tensor(ends, device=some.device) - 1
        self._bits = _INTEGERS.get(some.element_size() if not some.is_complex() else 0)

    def sums(self) -> dict[str, int]:
        if self._bits is None:
            return {}
        with torch.no_grad():
            line = torch.cat(self._views)
            bits = line.view(self._bits).to(torch.int64)
            totals = (bits * self._odd).cumsum(0)[self._last].tolist()
        differences = (b - a for a, b in itertools.pairwise([0, *totals]))
        return {n: d % 2**64 for n, d in zip(self._names, differences, strict=True)}


def _odd_numbers(name: str, count: int) -> Tensor:
    """`[count]`: the same for a name whatever other weights there are.

    From the CPU's generator, and one of its own: the user's random numbers do not move.
    """
    generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
    numbers = torch.randint(-(2**62), 2**62, (count,), generator=generator, device="cpu")
    return numbers * 2 + 1


_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def line_through(weight: Tensor) -> Tensor:
    """`[n]`: elements that meet every row and every column of a matrix; its storage's, no copy.

    Every s-th element in memory, s being at most as large as either side and without a common
    divisor with the rows' length. A vector comes out whole; of more axes, the first are one.
    """
    flat = weight
    if not weight.is_contiguous():
        turned = weight.mT if weight.ndim == 2 else weight
        if not turned.is_contiguous():
            return weight.flatten()[:1] if not weight.ndim else weight.select(0, 0).flatten()
        flat = turned
    if flat.ndim < 2:
        return flat.view(-1)
    width = flat.shape[-1]
    step = max(1, min(width, flat.numel() // width))
    while math.gcd(step, width) > 1:
        step -= 1
    return flat.view(-1)[::step]


# ------------------------------------------------------------------------ values and code

_numbers: dict[int, tuple[weakref.ref[Any], int]] = {}
_count = itertools.count()


def _number(thing: Any) -> Hashable:
    """A number that no other object gets, not even one that takes its place in memory."""
    place = id(thing)
    known = _numbers.get(place)
    if known is not None and known[0]() is thing:
        return known[1]
    try:
        reference = weakref.ref(thing, functools.partial(_forget, place))
    except TypeError:
        return place
    number = next(_count)
    _numbers[place] = (reference, number)
    return number


def _forget(place: int, reference: weakref.ref[Any]) -> None:
    known = _numbers.get(place)
    if known is not None and known[0] is reference:
        _numbers.pop(place, None)


def _frozen(value: Any, depth: int = 0) -> Hashable:
    """A plain value as something that can be compared and hashed; else which object it is."""
    kind = type(value)  # not `isinstance`: a configuration takes long to say what it is
    if kind in _ATOMS or issubclass(kind, (int, str, bytes)):
        return value
    if issubclass(kind, float):
        return value if value == value else "nan"
    if issubclass(kind, Tensor):
        return _which_tensor(value)
    if depth < _DEEPEST and issubclass(kind, (dict, list, tuple, set, frozenset)):
        return _frozen_container(value, depth)
    return OpaqueObject(kind.__name__, _number(value))


class OpaqueObject(NamedTuple):
    """Stands for an object that is not looked into."""

    type: str
    number: Hashable


_ATOMS = frozenset({type(None), bool, int, str, bytes, torch.dtype, torch.device})


def _frozen_container(value: Any, depth: int) -> Hashable:
    if len(value) > _LARGEST:
        return type(value).__name__, len(value)
    if isinstance(value, dict):
        return tuple((_frozen(k, depth + 1), _frozen(v, depth + 1)) for k, v in value.items())
    parts = (_frozen(each, depth + 1) for each in value)
    return frozenset(parts) if isinstance(value, (set, frozenset)) else tuple(parts)


def _all_config_values(
    model: nn.Module, named: Iterable[tuple[str, nn.Module]]
) -> Iterator[tuple[str, Any]]:
    """Of the model's configuration, and of others that modules hold by themselves."""
    own = getattr(model, "config", None)
    yield from _config_values(own)
    seen = {id(own), *(id(value) for value in vars(own).values())} if own is not None else set()
    for name, module in named:
        config = vars(module).get("config")
        if hasattr(config, "to_dict") and id(config) not in seen:
            seen.add(id(config))
            yield from ((f"{key} of {name}", value) for key, value in _config_values(config))


def _config_values(config: Any) -> Iterator[tuple[str, Any]]:
    """Names and values of a configuration, those of configurations in it with a dot."""
    for key, value in vars(config).items() if config is not None else ():
        if key in _OF_THE_CHECKPOINT:
            continue
        if hasattr(value, "to_dict") and hasattr(value, "get_text_config"):
            yield from ((f"{key}.{inner}", each) for inner, each in _config_values(value))
        else:
            yield key, _frozen(value)


GLOBAL_HOOK = "hook of every module "
_OF_ADAPTERS = ("_disable_adapters", "_active_adapter", "merged_adapters", "scaling")
SWITCHES = ("forward", "_adapters_disabled", *_OF_ADAPTERS)
_IS_CODE = ("forward", "_compiled_call_impl", "_orig_mod")


class _Code:
    """Code that modules run and do not hold: of their classes, of libraries, attention, hooks.

    A library's functions are looked up by name whenever a model runs, so that whoever patches
    `torch.nn.functional.silu` changes a model without touching it.
    """

    def __init__(self) -> None:
        self._known: dict[Any, tuple[list[Any], list[tuple[str, Hashable]]]] = {}

    def read(self, model: Any, classes: Iterable[type[nn.Module]]) -> Iterator[tuple[str, Any]]:
        """Names, and which object each of them is now."""
        kinds = sorted(classes, key=lambda kind: kind.__qualname__)
        owners = dict.fromkeys(owner for kind in kinds for owner in _classes_of(kind))
        homes = dict.fromkeys([*_RUN_BY_ALL, *(owner.__module__ for owner in owners)])
        for number, hook in [
            *torch_modules._global_forward_hooks.items(),
            *torch_modules._global_forward_pre_hooks.items(),
        ]:
            if not is_of_a_library(hook):
                yield f"{GLOBAL_HOOK}{number}", f"a hook of every module, {name_of(hook)}"
        attention = getattr(getattr(model, "config", None), "_attn_implementation", None)
        if isinstance(attention, str):
            function = _attention_functions().get(attention)
            homes |= {home_of(function): None}
            yield "attention function", _number(function)
        for owner in owners:
            yield from self._functions(owner, owner.__qualname__)
        for home in homes:
            if home.partition(".")[0] in _PATCHED and home in sys.modules:
                yield from self._functions(sys.modules[home], home)

    def _functions(self, owner: Any, name: str) -> list[tuple[str, Hashable]]:
        """Those that a class or a module of Python holds, by name."""
        holds = list(vars(owner).items())
        values = [value for _, value in holds]
        known = self._known.get(owner)
        if known is None or len(known[0]) != len(values) or not all(map(is_, known[0], values)):
            found = [
                (f"{name}.{key}", _number(value))
                for key, value in holds
                if callable(value) and not isinstance(value, type)
                if not key.startswith("__") or key == "__call__"  # torch itself wraps __init__
            ]
            known = self._known[owner] = values, found
        return known[1]


_RUN_BY_ALL = ("torch.nn.functional", "transformers.masking_utils")


def _classes_of(kind: type[nn.Module]) -> tuple[type, ...]:
    """A class and what it inherits, but for what every whole model of transformers does."""
    return tuple(owner for owner in kind.__mro__ if owner not in _inherited_by_all())


@functools.cache
def _inherited_by_all() -> frozenset[type]:
    from transformers import PreTrainedModel

    return frozenset(PreTrainedModel.__mro__) - {nn.Module}


@functools.cache
def _attention_functions() -> Mapping[str, Any]:
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    return ALL_ATTENTION_FUNCTIONS


# ----------------------------------------------------------------------------- tokenizer


def tokenizer_state(tokenizer: Any) -> tuple[tuple[str, Any], ...]:
    """What decides the ids that a text becomes; attributes only, as others may be using it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    names = (*_TOKENIZER_FLAGS, "special_tokens_map", "model_max_length")
    found = [(name, _frozen(getattr(tokenizer, name, None))) for name in names]
    return (
        *found,
        ("tokens", _length(tokenizer)),
        *((name, _frozen(getattr(type(tokenizer), name, None))) for name in _TOKENIZER_CALLS),
        *((key, _frozen(value)) for key, value in _own_calls(tokenizer)),
        *((part, repr(getattr(backend, part, None))) for part in _BACKEND if backend is not None),
        *([("model", _subwords(backend))] if backend is not None else []),
    )


def _subwords(backend: Any) -> tuple[Any, ...]:
    """Of the model that cuts words into tokens: its kind and options, and a sample of its tokens.

    Of each of these, what it is cut into, so that merges count as the vocabulary does. To write all
    of it out, as `repr` does, takes a quarter of a second where there are 262,144 tokens.
    """
    model, n_tokens = backend.model, backend.get_vocab_size(with_added_tokens=False)
    options = [(name, getattr(model, name, None)) for name in _SUBWORD_OPTIONS]
    sampled = map(model.id_to_token, range(0, n_tokens, -(-n_tokens // SAMPLED_TOKENS) or 1))
    by_chance = getattr(model, "dropout", None)  # of merges: a token is cut otherwise each time
    cut = [
        (token, None if by_chance else tuple(part.id for part in model.tokenize(token)))
        for token in sampled
        if token
    ]
    return (type(model).__name__, n_tokens, *options, *cut)


SAMPLED_TOKENS = 256
"""Tokens of a tokenizer that are looked at, all where there are no more."""
_SUBWORD_OPTIONS = (
    *("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "fuse_unk"),
    *("byte_fallback", "ignore_merges", "max_input_chars_per_word", "unk_id"),
)
_TOKENIZER_CALLS = ("__call__", "encode", "_encode_plus", "tokenize", "convert_tokens_to_ids")
_BACKEND = ("normalizer", "pre_tokenizer", "post_processor", "decoder")


def _own_calls(tokenizer: Any) -> list[tuple[str, Any]]:
    """Methods that somebody has put on this one tokenizer."""
    of_functions = (types.FunctionType, types.MethodType, functools.partial)
    held = list(getattr(tokenizer, "__dict__", {}).items())
    return [(key, value) for key, value in held if isinstance(value, of_functions)]


_TOKENIZER_FLAGS = ("add_bos_token", "add_eos_token", "add_prefix_space", "split_special_tokens")


def _length(tokenizer: Any) -> int | None:
    try:
        return len(tokenizer)
    except TypeError:
        return None
