"""What runs are stand-ins: they lead to each other and not back, and the user's are only read."""

import copy
import functools
import pickle
import threading
import types
import weakref

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import rome_widgets as rw
from rome_widgets.errors import ModelChanged, UnsupportedModel
from rome_widgets.model.eval_mode import run_in_eval_mode
from rome_widgets.model.hooks import run_hooked
from rome_widgets.model.stand_in import StandIns, running_stand_ins, standing_in
from tests.helpers import tiny
from tests.helpers.counts import COPIES, OWN_PASSES
from tests.helpers.gates import write_gate
from tests.helpers.model_guard import attached_hooks, settle

IDS = torch.tensor([[3, 14, 15, 9, 26]])
DROPPED = 0.4


def with_dropout(seed=0):
    """A tiny GPT-2 whose training mode is easily told."""
    model = tiny.tiny_model("gpt2", scale=20, seed=seed)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = DROPPED
    return model


def own_call(model, ids=IDS):
    with torch.no_grad():
        return model(ids).logits


# ------------------------------------------------------------------ one tree beside the other


@pytest.mark.parametrize("family", tiny.FAMILIES)
def test_stand_ins_are_of_the_same_classes_and_hold_the_same_tensors(family):
    model = tiny.tiny_model(family).train()
    stand_in = StandIns(model).of(model)
    pairs = list(zip(model.named_modules(), stand_in.named_modules(), strict=True))
    for (name, module), (other_name, other) in pairs:
        assert (other_name, type(other)) == (name, type(module))
        assert other is not module
        assert (module.training, other.training) == (True, False)
    tensors = [*model.named_parameters(), *model.named_buffers()]
    others = [*stand_in.named_parameters(), *stand_in.named_buffers()]
    assert all(a == b and s is t for (a, s), (b, t) in zip(tensors, others, strict=True))


def test_shared_modules_stay_shared():
    one = nn.Linear(2, 2)
    model = nn.Sequential(one, nn.ReLU(), one)
    stand_in = StandIns(model).of(model)
    assert stand_in[0] is stand_in[2]
    assert stand_in[0] is not one


def test_a_stand_in_goes_with_its_call():
    model = tiny.tiny_model("gpt2")
    gone = weakref.ref(run_in_eval_mode(model, lambda: standing_in(model)))
    assert running_stand_ins() is None
    assert gone() is None


def test_there_is_none_outside_a_call_and_none_for_what_came_into_the_model_meanwhile():
    model = tiny.tiny_model("gpt2")
    with pytest.raises(RuntimeError, match="within run_in_eval_mode"):
        standing_in(model)
    with pytest.raises(ModelChanged, match="Linear came into the model while it ran"):
        run_in_eval_mode(model, lambda: standing_in(nn.Linear(2, 2)))


def test_what_a_pass_notes_in_modules_is_noted_in_stand_ins():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.calls = 0
            self.register_buffer("last", torch.zeros(1), persistent=False)

        def forward(self, x):
            self.calls += 1
            self.register_buffer("last", x.detach(), persistent=True)
            self.register_buffer("more", x.detach())
            return x

    module = Counting()
    before = copy.deepcopy(vars(module))
    run_in_eval_mode(module, lambda: standing_in(module)(torch.ones(1)))
    assert repr(vars(module)) == repr(before)


# ------------------------------------------------------------- whatever leads to the modules


class Doubling:
    """A callable of the user's that holds what it calls."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return 2 * self.inner(x)


class Helper:
    def __init__(self, owner):
        self.owner = owner

    def doubled(self, x):
        return 2 * type(self.owner).forward(self.owner, x)


def closure(mlp):
    old = mlp.forward
    mlp.forward = lambda x: 2 * old(x)


def two_closures(mlp):
    old = mlp.forward

    def once(x):
        return old(x)

    mlp.forward = lambda x: 2 * once(x)


def closure_over_the_module(mlp):
    mlp.forward = lambda x: 2 * type(mlp).forward(mlp, x)


def global_name(mlp):
    space = {"old": mlp.forward}
    exec("def double(x):\n    return 2 * old(x)", space)
    mlp.forward = space["double"]


def global_function(mlp):
    space = {"layer": mlp}
    source = "def inner(x):\n    return type(layer).forward(layer, x)\n"
    exec(source + "def double(x):\n    return 2 * inner(x)", space)
    mlp.forward = space["double"]


def default_argument(mlp):
    mlp.forward = lambda x, old=mlp.forward: 2 * old(x)


def keyword_default(mlp):
    def double(x, *, old=mlp.forward):
        return 2 * old(x)

    mlp.forward = double


def method(mlp):
    mlp.forward = types.MethodType(lambda self, x: 2 * type(self).forward(self, x), mlp)


def method_of_a_helper(mlp):
    mlp.forward = Helper(mlp).doubled


def helper_in_an_attribute(mlp):
    mlp.helper = Helper(mlp)
    mlp.forward = types.MethodType(lambda self, x: self.helper.doubled(x), mlp)


def callable_object(mlp):
    mlp.forward = Doubling(mlp.forward)


def partial(mlp):
    old = mlp.forward
    mlp._old_forward = old

    def new_forward(module, *args, **kwargs):
        return 2 * module._old_forward(*args, **kwargs)

    mlp.forward = functools.update_wrapper(functools.partial(new_forward, mlp), old)


def in_containers(mlp):
    mlp.kept = {"all": [(mlp, {"x": {mlp}})]}
    mlp.forward = types.MethodType(
        lambda self, x: 2 * type(self).forward(self.kept["all"][0][0], x), mlp
    )


def weak_reference(mlp):
    mlp.itself = weakref.ref(mlp)
    mlp.forward = types.MethodType(lambda self, x: 2 * type(self).forward(self.itself(), x), mlp)


def compiled(mlp):
    old = mlp.forward
    mlp.forward = torch.compile(lambda x: 2 * old(x), backend="eager")


def borrowed_and_wrapped(mlp):
    old = mlp.forward

    @functools.wraps(old)
    def double(*args, **kwargs):
        return 2 * old(*args, **kwargs)

    mlp.forward = double


FORWARDS = [
    *(closure, two_closures, closure_over_the_module, global_name, global_function),
    *(default_argument, keyword_default, method, method_of_a_helper, helper_in_an_attribute),
    *(callable_object, partial, in_containers, weak_reference, compiled, borrowed_and_wrapped),
]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("replace", FORWARDS, ids=lambda each: each.__name__)
def test_a_replaced_forward_reaches_stand_ins_only(replace, training):
    """Visitors act within it, no dropout does, and the user's own call is as it was."""
    model = with_dropout()
    mlp = model.transformer.h[2].mlp
    replace(mlp)
    wanted = own_call(model)
    settle()
    model.train(training)
    seen = []

    def passes():
        running = standing_in(model)
        return run_hooked(lambda: running(IDS).logits, [(mlp.c_proj, seen.append)])

    found = run_in_eval_mode(model, passes)
    assert torch.equal(found, wanted)
    assert len(seen) == 1
    assert attached_hooks(model) == []
    assert all(module.training == training for module in model.modules())
    model.eval()
    assert torch.equal(own_call(model), wanted)
    assert not torch.equal(wanted, own_call(with_dropout()))


def parametrized(layer):
    parametrize.register_parametrization(layer.mlp.c_proj, "weight", nn.Softsign())


def with_weight_norm(layer):
    parametrizations.weight_norm(layer.mlp.c_proj)


def with_old_weight_norm(layer):
    with pytest.warns(FutureWarning):
        nn.utils.weight_norm(layer.mlp.c_proj)
    with torch.no_grad():
        layer.mlp.c_proj.weight_g.mul_(1.5)


def pruned(layer):
    prune.l1_unstructured(layer.mlp.c_proj, "weight", amount=0.5)


@pytest.mark.parametrize(
    "reparametrize", [parametrized, with_weight_norm, with_old_weight_norm, pruned]
)
def test_weights_that_are_made_for_each_pass(reparametrize):
    model = with_dropout()
    reparametrize(model.transformer.h[2])
    wanted, found = own_call(model), run_in_eval_mode(model, lambda: standing_in(model)(IDS).logits)
    assert torch.equal(found, wanted)
    assert not torch.equal(wanted, own_call(with_dropout()))


# ------------------------------------------------------------------------- the user's own hooks


class Recorder:
    """What many write: it knows modules by which object they are."""

    def __init__(self, model):
        self.names = {module: name for name, module in model.named_modules()}
        self.seen = []

    def hook(self, module, args, output):
        self.seen.append(self.names[module])
        return 0.5 * output


def by_object(model):
    mlp = model.transformer.h[1].mlp
    return mlp, lambda module, args, output: 0.5 * output if module is mlp else None


def by_name(model):
    return model.transformer.h[1].mlp, Recorder(model).hook


def by_attribute(model):
    """A hook that sets what `forward` reads."""
    norm = model.transformer.ln_f

    def set_it(module, args, output=None):
        module.eps = 0.5

    return norm, set_it


@pytest.mark.parametrize("pre", [False, True], ids=["hook", "pre-hook"])
@pytest.mark.parametrize("make", [by_object, by_name, by_attribute])
def test_a_users_hook_is_given_the_users_module(make, pre):
    model = with_dropout()
    module, hook = make(model)
    if pre and make is not by_attribute:
        inner = hook
        hook = lambda module, args: inner(module, args, args[0])  # noqa: E731
    (module.register_forward_pre_hook if pre else module.register_forward_hook)(hook)
    found = run_in_eval_mode(model, lambda: standing_in(model)(IDS).logits)
    wanted = own_call(model)
    if make is by_attribute and not pre:
        wanted = run_in_eval_mode(model, lambda: standing_in(model)(IDS).logits)
        found = own_call(model)
    assert torch.equal(found, wanted)
    assert not torch.equal(wanted, own_call(with_dropout()))


def test_a_users_hook_that_takes_itself_off_acts_once():
    model = with_dropout()
    calls = []

    def once(module, args, output):
        calls.append(1)
        handle.remove()

    handle = model.lm_head.register_forward_hook(once)
    run_in_eval_mode(model, lambda: [standing_in(model)(IDS) for _ in range(3)])
    assert calls == [1]


def test_code_that_calls_the_users_modules_in_training_mode_is_refused():
    """It may know them by ways that nobody can follow; in eval mode it does no harm."""
    model = with_dropout()
    layer = model.transformer.h[1]

    def more(module, args, output):
        return output + layer.mlp(args[0])

    handle = model.transformer.h[3].mlp.register_forward_hook(more)
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    ids = torch.tensor([[3, 14, 15]])
    wanted = own_call(model, ids)[:, -1].softmax(-1)
    torch.testing.assert_close(lm.next_token_probabilities(ids), wanted)
    model.train()
    with pytest.raises(UnsupportedModel, match=r"in training mode.*model\.eval\(\)"):
        lm.next_token_probabilities(ids)
    model.eval()
    handle.remove()
    model.train()
    assert lm.next_token_probabilities(ids).isfinite().all()
    model.eval()


# -------------------------------------------------- beside the user's own work in other threads


def beside_a_trace(lm, work, count):
    """What `work` gives, `count` times, while another thread traces without end."""
    stop, failed = threading.Event(), []

    def trace():
        try:
            while not stop.is_set():
                tiny.tiny_tracer(lm, samples=1).trace(["mlp"])
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=trace)
    thread.start()
    try:
        return [work() for _ in range(count)]
    finally:
        stop.set()
        thread.join()
        assert failed == []


def test_a_users_own_passes_beside_traces_are_as_without():
    """In training mode, with dropout: the same random numbers give the same logits, bit by bit."""
    lm = rw.LanguageModel(with_dropout(), tiny.word_tokenizer())
    lm.model.train()

    def own():
        torch.manual_seed(1)
        return own_call(lm.model)

    wanted = own()
    found = beside_a_trace(lm, own, OWN_PASSES)
    changed = sum(not torch.equal(each, wanted) for each in found)
    write_gate("own_passes", {"passes": len(found), "changed": changed})
    assert changed == 0
    lm.model.eval()
    assert not torch.equal(own_call(lm.model), wanted)


def test_copies_made_beside_traces_are_as_without():
    lm = rw.LanguageModel(with_dropout(), tiny.word_tokenizer())
    lm.model.train()
    before = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    ways = [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))]
    number = 0

    def copied():
        nonlocal number
        number += 1
        model = ways[number % 2](lm.model)
        weights = model.state_dict()
        return (
            bool(attached_hooks(model)),
            not all(module.training for module in model.modules()),
            not all(torch.equal(weights[name], weight) for name, weight in before.items()),
        )

    found = beside_a_trace(lm, copied, COPIES)
    hooks, eval_mode, weights = (sum(each) for each in zip(*found, strict=True))
    counts = {"copies": len(found), "hooks": hooks, "eval mode": eval_mode, "weights": weights}
    write_gate("copies", counts)
    assert (hooks, eval_mode, weights) == (0, 0, 0)
    lm.model.eval()


def test_the_mode_that_the_user_sets_during_a_trace_stays():
    lm = rw.LanguageModel(with_dropout(), tiny.word_tokenizer())
    numbers = iter(range(1000))

    def switch():
        training = next(numbers) % 2 == 0
        lm.model.train(training)
        return all(module.training == training for module in lm.model.modules())

    assert all(beside_a_trace(lm, switch, 200))
    lm.model.eval()
