"""In whatever state a caller left torch and the model: the same results, and the same state.

The state is also looked at from another thread, all the while: what is one for the process, and
what the model itself is, must not change even for a moment.
"""

import threading
import time
from contextlib import contextmanager, nullcontext

import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import RomeWidgetsError
from tests.helpers import families, tiny
from tests.helpers.counts import FULL
from tests.helpers.engine_steps import Steps, difference
from tests.helpers.gates import write_gate
from tests.helpers.interrupts import torch_flags
from tests.helpers.model_guard import attached_hooks, settle
from tests.helpers.torch_state import default_device, default_dtype, deterministic

STEPS = [name for name in vars(Steps) if not name.startswith("_")]
QUICK = ["attach", "trace", "estimate", "rome", "ft"]
"""Steps that run in each state in the quick count; the others take turns."""
AT_A_TURN = 3
REFUSED = {name: {"peft"} for name in ("a default device", "a default device for a while")}
"""PEFT itself loads its weights there, where they have no values: that is said in words."""
NEAR = 1e-6


@contextmanager
def in_training(model):
    model.train()
    try:
        yield
    finally:
        model.eval()


@contextmanager
def checkpointed(model):
    name = "activation_checkpointing"  # transformers renamed it
    name = name if hasattr(model, f"{name}_enable") else "gradient_checkpointing"
    getattr(model, f"{name}_enable")()
    try:
        with in_training(model):
            yield
    finally:
        getattr(model, f"{name}_disable")()


@contextmanager
def frozen(model):
    model.requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(True)


@contextmanager
def with_gradients(model):
    """Left by a step of the user's own training; an edit must neither use nor clear them."""
    for weight in model.parameters():
        weight.grad = torch.ones_like(weight)
    try:
        yield
        assert all((weight.grad == 1).all() for weight in model.parameters())
    finally:
        model.zero_grad()


STATES = {
    "inference mode": lambda model: torch.inference_mode(),
    "no_grad": lambda model: torch.no_grad(),
    "autocast": lambda model: torch.autocast("cpu", dtype=torch.bfloat16),
    "default dtype float64": lambda model: default_dtype(torch.float64),
    "default dtype bfloat16": lambda model: default_dtype(torch.bfloat16),
    "a default device": lambda model: default_device("meta"),
    "a default device for a while": lambda model: torch.device("meta"),
    "deterministic algorithms": lambda model: deterministic(),
    "anomaly mode": lambda model: torch.autograd.set_detect_anomaly(True),
    "training mode": in_training,
    "checkpointing": checkpointed,
    "frozen weights": frozen,
    "gradients": with_gradients,
}


def new_lm(tied=False):
    model = families.tiny_family("gpt2", dtype=torch.float32)
    assert model.transformer.drop.p
    if tied:
        model.lm_head.weight = model.transformer.wte.weight
    return rw.LanguageModel(model, tiny.word_tokenizer(), name="gpt2")


# ---------------------------------------------------------------------------- what is looked at


def process():
    """What torch keeps for all threads."""
    return (
        torch.get_float32_matmul_precision(),
        torch.backends.cuda.matmul.fp32_precision,
        torch.backends.mkldnn.matmul.fp32_precision,
        torch.get_default_dtype(),
        torch.are_deterministic_algorithms_enabled(),
        torch.is_anomaly_enabled(),
    )


_LEDGER = {"_rome_widgets_ledger"}
"""What a model has of ours: where its edits are noted."""


def state_of(model):
    """What a user may have set in a model, and what may hang on it."""
    return (
        tuple((module.training, frozenset(vars(module)) - _LEDGER) for module in model.modules()),
        tuple((weight.requires_grad, weight.grad is None) for weight in model.parameters()),
        tuple(attached_hooks(model)),
    )


@contextmanager
def watching(model):
    """Every state that another thread sees meanwhile: one, if nobody changes any."""
    seen, stop, ready = set(), threading.Event(), threading.Event()

    def watch():
        while not stop.is_set():
            seen.add((process(), torch_flags(), state_of(model)))
            ready.set()
            time.sleep(1e-3)

    thread = threading.Thread(target=watch)
    thread.start()
    ready.wait()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


# -------------------------------------------------------------------------------------- the test


def run(lm, folder, names, around=nullcontext):
    """What every step gives, or its refusal; and how many states another thread saw."""
    steps, found, states = Steps(lm, folder), {}, 0
    with around(lm.model) if around is not nullcontext else nullcontext():
        for name in names:
            before = (process(), torch_flags(), state_of(lm.model))
            with watching(lm.model) as seen:
                steps._edit = None  # those of other steps would do for some
                try:
                    found[name] = getattr(steps, name)()
                except RomeWidgetsError as refusal:
                    found[name] = refusal
            after = (process(), torch_flags(), state_of(lm.model))
            assert after == before, f"{name} changed the caller's state"
            states = max(states, len(seen))
    return found, states


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """What the steps give by themselves."""
    return {
        tied: run(new_lm(tied), tmp_path_factory.mktemp("plain"), STEPS)[0]
        for tied in ([False, True] if FULL else [False])
    }


def _turn(number):
    others = [step for step in STEPS if step not in QUICK]
    return [others[(number * AT_A_TURN + more) % len(others)] for more in range(AT_A_TURN)]


_figures = {}


@pytest.mark.parametrize("name", STATES)
def test_the_callers_state_changes_no_result_and_is_left(plain, name, tmp_path):
    names = STEPS if FULL else [*QUICK, *_turn(list(STATES).index(name))]
    for tied, wanted in plain.items():
        lm = new_lm(tied)
        folder = tmp_path / str(tied)
        folder.mkdir()
        found, states = run(lm, folder, names, STATES[name])
        settle()
        refused = {step: each for step, each in found.items() if isinstance(each, RomeWidgetsError)}
        off = {step: difference(wanted[step], found[step]) for step in found if step not in refused}
        assert {step: by for step, by in off.items() if not by <= NEAR} == {}
        assert refused.keys() <= REFUSED.get(name, set()), refused
        assert states == 1, "another thread saw a state that was not the caller's"
        _figures[name, tied] = len(found)


def test_weights_of_inference_mode_are_refused_where_gradients_are_needed():
    with torch.inference_mode():
        model = families.tiny_family("gpt2", dtype=torch.float32)
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    wanted = tiny.tiny_tracer(new_lm()).trace("hidden").scores
    assert difference(wanted, tiny.tiny_tracer(lm).trace("hidden").scores) <= NEAR
    with pytest.raises(RomeWidgetsError, match="inference"):
        tiny.tiny_tracer(lm).estimate()
    with pytest.raises(RomeWidgetsError, match="inference"):
        rw.edit(lm, "w3 {} w26", "w14", "w8", second_moment="identity")


def test_the_figures():
    """Also writes the gate; it needs the tests above in the same run."""
    if not _figures:
        pytest.fail("Run this file as a whole.")
    write_gate("callers_state", {"states": len(STATES), "steps": sum(_figures.values())})
    assert len({name for name, _ in _figures}) == len(STATES)
