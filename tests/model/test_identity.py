"""The identity of a model: every kind of change makes another one, undoing it makes none."""

import copy
import functools
import types
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from accelerate import cpu_offload
from accelerate.hooks import (
    AlignDevicesHook,
    ModelHook,
    add_hook_to_module,
    remove_hook_from_module,
)
from tokenizers import Tokenizer, models
from torch import nn
from torch.nn.utils import parametrize, prune
from transformers import PreTrainedTokenizerFast
from transformers.models.llama import modeling_llama

import rome_widgets as rw
from rome_widgets.errors import (
    FingerprintMismatch,
    ModelChanged,
    UnsupportedModel,
    VocabMismatch,
)
from rome_widgets.model import language_model
from rome_widgets.model.identity import SAMPLED_TOKENS, line_through, tokenizer_state
from rome_widgets.model.identity_changes import what_changed
from tests.helpers import model_guard, tiny
from tests.helpers.library_hooks import as_of_a_library

SCALE = 20


def new_lm(family="llama"):
    return tiny.tiny_lm(family, scale=SCALE)


def users_own(lm, prompt=tiny.PROMPT):
    """Next-token probabilities by the user's own call, in the user's own ids."""
    ids = torch.tensor([lm.tokenizer(prompt)["input_ids"]])
    with torch.no_grad():
        return lm.model(input_ids=ids).logits[0, -1].softmax(-1).numpy()


# ------------------------------------------------------------- the kinds of change, as a table


def hooked(where, hook, *, pre=False):
    def change(lm):
        module = lm.model.get_submodule(where)
        register = module.register_forward_pre_hook if pre else module.register_forward_hook
        return register(hook).remove

    return change


def steer(module, args, output):
    return output + 0.5


def steer_before(module, args):
    return (args[0] + 0.5, *args[1:])


def every_module(lm):
    """As torch's own global hooks are."""

    def double(module, args, output):
        return 2 * output if isinstance(module, nn.SiLU) else None

    return nn.modules.module.register_module_forward_hook(double).remove


def activation(lm):
    mlp = lm.model.model.layers[2].mlp
    before, mlp.act_fn = mlp.act_fn, nn.ReLU()
    return functools.partial(setattr, mlp, "act_fn", before)


def forward_of_one(lm):
    mlp = lm.model.model.layers[2].mlp
    mlp.forward = types.MethodType(lambda self, x: 0.5 * type(self).forward(self, x), mlp)
    return functools.partial(delattr, mlp, "forward")


def forward_of_a_class(lm):
    kind = type(lm.model.model.layers[2].mlp)
    before = kind.forward
    kind.forward = lambda self, x: 0.5 * before(self, x)
    return functools.partial(setattr, kind, "forward", before)


def put_in_place(owner, name, new):
    before = getattr(owner, name)
    setattr(owner, name, new)
    return functools.partial(setattr, owner, name, before)


def forward_that_says_it_is_the_librarys(lm):
    """As decorators written with `functools.wraps` do."""
    mlp = lm.model.model.layers[2].mlp
    own = mlp.forward
    mlp.forward = functools.wraps(own)(lambda x: 0.5 * own(x))
    return functools.partial(delattr, mlp, "forward")


def forward_of_another_model(lm):
    mlp = lm.model.model.layers[2].mlp
    mlp.forward = tiny.tiny_model("llama", scale=SCALE, seed=5).model.layers[2].mlp.forward
    return functools.partial(delattr, mlp, "forward")


def compiled_forward(lm):
    mlp = lm.model.model.layers[2].mlp
    own = mlp.forward
    mlp.forward = torch.compile(lambda x: 0.5 * own(x), backend="eager")
    return functools.partial(delattr, mlp, "forward")


def forward_under_a_hook_of_accelerate(lm):
    mlp = lm.model.model.layers[2].mlp
    own = mlp.forward
    mlp.forward = lambda x: 0.5 * own(x)
    add_hook_to_module(mlp, AlignDevicesHook())

    def undo():
        remove_hook_from_module(mlp)
        del mlp.forward

    return undo


def hook_that_says_it_is_the_librarys(lm):
    hook = functools.wraps(type(lm.model).forward)(lambda m, a, o: 0.5 * o)
    return lm.model.model.layers[2].mlp.register_forward_hook(hook).remove


class Half(ModelHook):
    def post_forward(self, module, output):
        return 0.5 * output


def hook_by_accelerate(lm):
    mlp = lm.model.model.layers[2].mlp
    add_hook_to_module(mlp, Half())
    return functools.partial(remove_hook_from_module, mlp)


def attention_of_torch(lm):
    """As programs do that put a faster one there."""
    attend = nn.functional.scaled_dot_product_attention
    return put_in_place(
        nn.functional,
        "scaled_dot_product_attention",
        lambda q, k, v, **options: attend(0 * q, k, v, **options),
    )


def class_of_one(lm):
    mlp = lm.model.model.layers[2].mlp
    kind = type(mlp)
    other = type("Half", (kind,), {"forward": lambda self, x: 0.5 * kind.forward(self, x)})
    return put_in_place(mlp, "__class__", other)


def bias(lm):
    matrix = lm.model.model.layers[2].mlp.down_proj
    return put_in_place(matrix, "bias", nn.Parameter(torch.ones(tiny.D_MODEL)))


def computed_weight(lm):
    matrix = lm.model.model.layers[2].mlp.up_proj
    parametrize.register_parametrization(matrix, "weight", nn.Softsign())
    return lambda: parametrize.remove_parametrizations(matrix, "weight", leave_parametrized=False)


def pruned(lm):
    """Its weight is made anew in each pass, by a pre-hook."""
    matrix = lm.model.model.layers[2].mlp.up_proj
    saved = matrix.weight.detach().clone()
    prune.l1_unstructured(matrix, "weight", amount=0.5)

    def undo():
        prune.remove(matrix, "weight")
        matrix.weight.data.copy_(saved)

    return undo


def number(lm):
    norm = lm.model.model.norm
    before, norm.variance_epsilon = norm.variance_epsilon, 5.0
    return functools.partial(setattr, norm, "variance_epsilon", before)


def attention(lm):
    before = lm.model.config._attn_implementation
    lm.model.set_attn_implementation("eager")
    return lambda: lm.model.set_attn_implementation(before)


def fewer_layers(lm):
    before, lm.model.config.num_hidden_layers = lm.model.config.num_hidden_layers, 3
    return functools.partial(setattr, lm.model.config, "num_hidden_layers", before)


def frequencies(lm):
    lm.model.model.rotary_emb.inv_freq.data.mul_(2)
    return lambda: lm.model.model.rotary_emb.inv_freq.data.div_(2)


def written(how):
    def change(lm):
        weight = lm.model.model.layers[1].mlp.down_proj.weight
        saved = weight.detach().clone()
        how(weight)
        return lambda: weight.data.copy_(saved)

    return change


COUNTED = ("weights in place", "a computed weight", "a pruned weight")
"""Undone, they leave other tensors, or the count of writes that torch keeps."""


def in_place(weight):
    with torch.no_grad():
        weight.mul_(2)


CHANGES = {
    "a hook on a block": (hooked("model.layers.1", steer), "forward hook 'steer' of tests"),
    "a hook on an MLP": (hooked("model.layers.1.mlp", steer), "was added to model.layers.1.mlp"),
    "a pre-hook": (hooked("model.layers.1", steer_before, pre=True), "pre-hook 'steer_before'"),
    "a hook on the embedding": (hooked("model.embed_tokens", steer), "model.embed_tokens"),
    "a hook of every module": (every_module, "a hook of every module"),
    "a replaced activation": (activation, r"layers.2.mlp.act_fn was replaced \(SiLU.* → ReLU"),
    "a replaced forward": (forward_of_one, "the forward of model.layers.2.mlp was replaced"),
    "a patched class": (forward_of_a_class, "LlamaMLP.forward was replaced"),
    "a wrapped forward": (forward_that_says_it_is_the_librarys, "forward of .* was replaced"),
    "another model's forward": (forward_of_another_model, "forward of .* was replaced"),
    "a compiled forward": (compiled_forward, "forward of .* was replaced"),
    "a hidden forward": (forward_under_a_hook_of_accelerate, "forward of .* was replaced"),
    "a wrapped hook": (hook_that_says_it_is_the_librarys, "forward hook '.*lambda.*' of tests"),
    "a hook by accelerate": (hook_by_accelerate, "hook of accelerate 'Half' of tests"),
    "a function of a family": (
        lambda lm: put_in_place(modeling_llama, "apply_rotary_pos_emb", lambda q, k, *_: (q, k)),
        "modeling_llama.apply_rotary_pos_emb was replaced",
    ),
    "a function of torch": (
        lambda lm: put_in_place(nn.functional, "silu", torch.relu),
        "torch.nn.functional.silu was replaced",
    ),
    "torch's attention": (attention_of_torch, "scaled_dot_product_attention was replaced"),
    "the class of one module": (class_of_one, "class of model.layers.2.mlp is Half"),
    "a bias": (bias, "layers.2.mlp.down_proj.bias were added"),
    "a computed weight": (computed_weight, "class of .*up_proj is ParametrizedLinear"),
    "a pruned weight": (pruned, "forward pre-hook 'L1Unstructured' of torch"),
    "a module's number": (number, "variance_epsilon of model.norm is 5.0"),
    "another attention": (attention, "implementation of attention is 'eager'"),
    "fewer layers by configuration": (fewer_layers, "num_hidden_layers is 3"),
    "a buffer": (frequencies, "rotary_emb.inv_freq were written"),
    "weights in place": (written(in_place), "layers.1.mlp.down_proj.weight were written"),
    "weights by .data": (written(lambda w: w.data.mul_(2)), "were written"),
    "one row by .data": (written(lambda w: w.data[3].add_(2)), "were written"),
    "one column by .data": (written(lambda w: w.data[:, 17].add_(2)), "were written"),
    "a row by numpy": (written(lambda w: w.detach().numpy().__setitem__(5, 1.0)), "were written"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_tracer_of_another_identity_refuses_with_what_changed(kind):
    """And a new one traces what the user's own call computes now."""
    lm = new_lm()
    change, words = CHANGES[kind]
    noise = rw.Noise.absolute(1.0)
    tracer = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=3)
    before, cell = lm.identity, [(2, 0, "hidden")]
    answer = tracer.restore(cell).distributions
    undo = change(lm)
    try:
        assert lm.identity != before
        for use in (lambda: tracer.restore(cell), tracer.trace, tracer.flow, tracer.lens):
            with pytest.raises(ModelChanged, match=words):
                use()
        fresh = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=3)
        wanted = users_own(lm)
        assert fresh.answer_id == wanted.argmax()
        assert fresh.clean == pytest.approx(wanted.max(), rel=1e-4)
        whole = fresh.trace()
        assert np.isfinite(whole.scores["hidden"]).all()
        restored = fresh.restore(fresh.cell(2, 0, "mlp")).distributions[2, fresh.answer_id]
        assert restored == pytest.approx(whole.scores["mlp"][2, 0], abs=1e-5)
    finally:
        undo()
    if kind not in COUNTED:
        assert what_changed(before, lm.identity) == ""
        np.testing.assert_array_equal(tracer.restore(cell).distributions, answer)


def test_a_hook_in_the_place_of_another_is_another():
    """Though a new function may lie where one that is gone lay."""
    lm, seen = new_lm(), []
    for factor in range(5):
        handle = lm.model.model.norm.register_forward_hook(lambda m, a, o, f=factor: f * o)
        assert lm.identity not in seen
        seen.append(lm.identity)
        handle.remove()


def test_what_a_hook_holds_may_change_and_no_number_is_a_mixture():
    lm, vector = new_lm(), torch.ones(tiny.D_MODEL)
    handle = lm.model.model.layers[1].register_forward_hook(lambda m, a, o: o + vector)
    tracer = rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=rw.Noise.absolute(1.0), samples=3)
    tracer.restore([(2, 0, "hidden")])
    vector[2] = 7
    with pytest.raises(ModelChanged, match="another prediction"):
        tracer.restore([(2, 0, "hidden")])
    handle.remove()


def test_hooks_of_libraries_make_no_other_identity():
    lm = new_lm()
    before = lm.identity
    lm.model.model.norm.register_forward_hook(as_of_a_library(lambda *_: None))
    with torch.no_grad():
        lm.model(torch.tensor([[1, 2, 3]]), output_hidden_states=True)
        lm.model.generate(torch.tensor([[1, 2, 3]]), max_new_tokens=2, do_sample=False)
    rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=rw.Noise.absolute(1.0)).trace()
    lm.model.train()
    assert lm.identity == before, "training mode is no part of it: we run in eval mode"
    lm.model.eval()
    assert what_changed(before, lm.identity) == ""
    for module in lm.model.modules():
        module._forward_hooks.clear()


def test_saving_a_model_makes_no_other_identity(tmp_path):
    lm = new_lm()
    before = lm.identity
    lm.save_pretrained(tmp_path / "model")
    assert what_changed(before, lm.identity) == ""


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (7, 7), (1, 9), (9, 1), (12, 18), (29, 8)])
def test_the_line_through_a_matrix_meets_every_row_and_column(shape):
    for turned in (False, True):
        weight = torch.arange(shape[0] * shape[1]).view(shape)
        weight = weight.T if turned else weight
        line = line_through(weight)
        places = [divmod(int(v), shape[1]) for v in line]
        assert {row for row, _ in places} == set(range(shape[0]))
        assert {column for _, column in places} == set(range(shape[1]))
        assert line.untyped_storage().data_ptr() == weight.untyped_storage().data_ptr()


def test_random_numbers_of_the_user_are_not_drawn():
    lm, state = new_lm(), torch.get_rng_state()
    assert lm.identity
    assert torch.equal(state, torch.get_rng_state())


# ---------------------------------------------------------------------- other weights, and σ


def test_the_spread_of_the_embeddings_is_that_of_the_weights_there_are_now(bundled_lm):
    lm = rw.LanguageModel(copy.deepcopy(bundled_lm.model), bundled_lm.tokenizer)
    where = ("The Space Needle is in the city of", "The Space Needle")
    first = rw.trace(lm, *where, kinds="hidden", samples=2).noise["sigma"]
    saved = {name: weight.clone() for name, weight in lm.model.state_dict().items()}
    other = {name: 3 * weight for name, weight in saved.items()}
    lm.model.load_state_dict(other)
    again = rw.CausalTracer(lm, *where, samples=2)
    assert again._about_noise["sigma"] == pytest.approx(3 * first, rel=1e-5)
    lm.model.load_state_dict(saved)


def test_edits_of_other_matrices_leave_the_spread_measured(bundled_lm):
    lm = bundled_lm
    before = lm.identity.inside(lm.geometry.embedding)
    change = rw.edit(lm, "{} is in the city of", "The Space Needle", "Paris", settings={"steps": 2})
    with change:
        assert lm.identity.inside(lm.geometry.embedding) == before
        assert lm.identity.without_weights


def test_code_on_the_embedding_that_changes_unseen_has_the_spread_measured_again(bundled_lm):
    lm, factor = bundled_lm, torch.tensor(1.0)
    embedding = lm.model.get_submodule(lm.geometry.embedding)
    handle = embedding.register_forward_hook(lambda module, args, output: factor * output)
    first = rw.CausalTracer(lm, "The Space Needle is in", "The Space Needle", samples=2)
    factor.fill_(3.0)
    again = rw.CausalTracer(lm, "The Space Needle is in", "The Space Needle", samples=2)
    handle.remove()
    sigma = first._about_noise["sigma"]
    assert again._about_noise["sigma"] == pytest.approx(3 * sigma, rel=1e-5)


# ------------------------------------------------------------------------ written unseen


class Marked(nn.Parameter):
    """A class of its own, as libraries of quantisation have, that computes as any other."""


def test_a_write_to_a_parameter_of_another_class_is_seen():
    model = tiny.tiny_model("llama", scale=SCALE)
    matrix = model.model.layers[1].mlp.up_proj
    matrix.weight = Marked(matrix.weight.detach())
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    tracer = tiny.tiny_tracer(lm)
    matrix.weight.data.mul_(2)
    with pytest.raises(ModelChanged, match=r"up_proj\.weight were written"):
        tracer.restore([])
    model_guard.settle()


def test_weights_that_cannot_be_read_have_the_model_asked_at_every_click():
    lm = rw.LanguageModel(
        cpu_offload(tiny.tiny_model("llama", scale=SCALE), execution_device="cpu"),
        tiny.word_tokenizer(),
    )
    tracer = tiny.tiny_tracer(lm)
    assert lm.identity.unread
    tracer.restore([])
    kept = lm.model.model.layers[1].mlp.up_proj._hf_hook.weights_map
    kept.dataset[f"{kept.prefix}weight"].mul_(0.2)
    with pytest.raises(ModelChanged, match="another prediction"):
        tracer.restore([])


def test_other_weights_beside_a_weight_leave_it_the_same():
    """So that what changed is told of those alone that changed."""
    lm = new_lm()
    before = lm.identity
    lm.model.model.register_buffer("note", torch.zeros(3))
    assert what_changed(before, lm.identity) == "the weights of model.note were added"
    lm.model.half()
    assert "were converted to float16" in what_changed(before, lm.identity)
    model_guard.settle()


# -------------------------------------------------------------------------------- tokenizer


def other_ids(lm):
    lm.tokenizer.backend_tokenizer.model = tiny.models.WordLevel(
        {f"w{i}": 3 * i % tiny.VOCAB for i in range(tiny.VOCAB)}, unk_token="w0"
    )


def another_tokenizer(lm):
    lm.tokenizer = copy.deepcopy(lm.tokenizer)
    other_ids(lm)


def patched_tokenizer(lm):
    encode = lm.tokenizer._encode_plus
    lm.tokenizer._encode_plus = lambda text, *a, **k: encode(text.replace("w14", "w2"), *a, **k)


@pytest.mark.parametrize("change", [other_ids, another_tokenizer, patched_tokenizer])
def test_a_tokenizer_of_as_many_tokens_that_gives_others_is_noticed(change):
    lm = new_lm()
    tracer = tiny.tiny_tracer(lm)
    change(lm)
    with pytest.raises(ModelChanged, match="of the tokenizer was changed"):
        tracer.restore([])
    assert list(tiny.tiny_tracer(lm).token_ids) == lm.tokenizer(tiny.PROMPT)["input_ids"]


def bpe(merges, **options):
    """Of six tokens, with these merges."""
    vocabulary = {token: at for at, token in enumerate(["a", "b", "c", "ab", "bc", "abc"])}
    backend = Tokenizer(models.BPE(vocabulary, merges, **options))
    return PreTrainedTokenizerFast(tokenizer_object=backend)


def test_the_same_tokens_merged_in_another_order_are_another_tokenizer():
    one, again = (tokenizer_state(bpe([("a", "b"), ("ab", "c")])) for _ in range(2))
    assert one == again
    assert one != tokenizer_state(bpe([("b", "c"), ("a", "bc")]))
    assert one != tokenizer_state(bpe([("a", "b"), ("ab", "c")], fuse_unk=True))


def test_a_tokenizer_that_merges_by_chance_is_the_same_each_time():
    tokenizer = bpe([("a", "b"), ("ab", "c")], dropout=0.5)
    assert len({tokenizer_state(tokenizer) for _ in range(20)}) == 1


def test_of_many_tokens_a_sample_is_looked_at():
    """A read comes with every click, and a model may have 262,144 tokens."""
    vocabulary = {f"w{number}": number for number in range(50_000)}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="w0"))
    large = tokenizer_state(PreTrainedTokenizerFast(tokenizer_object=backend))
    assert len(dict(large)["model"]) < SAMPLED_TOKENS + 20
    assert len(repr(large)) < 20_000
    moved = vocabulary | {f"w{at}": 50_000 - at for at in range(1, 50_000)}
    backend.model = models.WordLevel(moved, unk_token="w0")
    assert large != tokenizer_state(PreTrainedTokenizerFast(tokenizer_object=backend))


def test_a_tokenizer_is_looked_at_once_for_many_texts_and_again_afterwards(monkeypatch):
    lm, looks = new_lm(), []
    state = language_model.tokenizer_state
    monkeypatch.setattr(
        language_model, "tokenizer_state", lambda found: looks.append(found) or state(found)
    )
    before = lm.encode_alone("w3 SpaceNeedle")
    looks.clear()
    with lm.encoding_alike():
        lm.tokenizer.add_tokens(["SpaceNeedle"])
        with lm.encoding_alike():
            assert lm.encode_alone("w3 SpaceNeedle") == before
        assert len(looks) == 1
        with ThreadPoolExecutor(1) as pool:  # which began later
            elsewhere = pool.submit(lm.prompt_ids, "w3 SpaceNeedle")
            assert isinstance(elsewhere.exception(), VocabMismatch)
    with pytest.raises(VocabMismatch):
        lm.encode_alone("w3 SpaceNeedle")


def test_a_tokenizer_that_was_changed_is_read_as_it_is_now():
    lm = new_lm()
    tracer = tiny.tiny_tracer(lm)
    lm.tokenizer.add_tokens(["SpaceNeedle"])
    lm.model.resize_token_embeddings(len(lm.tokenizer), mean_resizing=False)
    with pytest.raises(ModelChanged, match="tokenizer has 30 tokens"):
        tracer.restore([])
    fresh = rw.CausalTracer(lm, "w3 SpaceNeedle w5", "SpaceNeedle", noise=rw.Noise.absolute(1.0))
    assert list(fresh.token_ids) == lm.tokenizer("w3 SpaceNeedle w5")["input_ids"]
    assert fresh.tokens[1].strip() == "SpaceNeedle"
    assert lm.token_text(29).strip() == "SpaceNeedle"
    model_guard.settle()


def test_special_tokens_that_are_switched_on_later_are_read():
    lm = new_lm()
    before = list(lm.encode(tiny.PROMPT, tiny.SUBJECT).ids)
    state = lm.identity
    backend = lm.tokenizer.backend_tokenizer
    backend.post_processor = tiny.processors.TemplateProcessing(
        single="w1 $A", special_tokens=[("w1", 1)]
    )
    assert "post_processor of the tokenizer" in what_changed(state, lm.identity)
    assert list(lm.encode(tiny.PROMPT, tiny.SUBJECT).ids) == [1, *before]


# ------------------------------------------------------------------------------------ edits


def computed(lm):
    return rw.edit(
        lm, "{} w9 w26 w5 w8", tiny.SUBJECT, "w3", layer=3, second_moment="identity",
        settings={"steps": 3},
    )  # fmt: skip


@pytest.mark.parametrize("kind", CHANGES)
def test_an_edit_of_another_identity_is_not_applied_and_says_what_changed(kind):
    lm = new_lm()
    change, words = CHANGES[kind]
    edit = computed(lm)
    undo = change(lm)
    try:
        with pytest.raises(FingerprintMismatch, match=words):
            edit.apply()
        assert not edit.applied
        assert edit.apply(force=True).applied
        edit.revert()
    finally:
        undo()
    assert edit.apply().revert().applied is False


def test_edits_stack_whatever_was_computed_first():
    lm = new_lm()
    first, second = computed(lm), computed(lm)
    first.apply()
    third = computed(lm)
    second.strength = 0.5
    second.apply()
    first.revert()
    assert third.apply().applied
    lm.revert_all()


@pytest.mark.parametrize("kind", [kind for kind in CHANGES if "hook" in kind or "forward" in kind])
def test_foreign_code_there_before_attaching_is_traced_with_and_named(kind):
    lm = new_lm()
    model = lm.model
    undo = CHANGES[kind][0](lm)
    hooked_lm = rw.LanguageModel(model, lm.tokenizer)
    assert hooked_lm.engine.startswith("whole passes: ")
    assert "hook" in hooked_lm.engine or "forward" in hooked_lm.engine
    noise = rw.Noise.absolute(1.0)
    tracer = rw.CausalTracer(hooked_lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=3)
    assert tracer.clean == pytest.approx(users_own(lm).max(), rel=1e-4)
    assert np.isfinite(tracer.trace().scores["mlp"]).all()
    undo()
    after = rw.CausalTracer(hooked_lm, tiny.PROMPT, tiny.SUBJECT, noise=noise, samples=3)
    assert hooked_lm.engine == "replay"
    assert after.clean == pytest.approx(users_own(lm).max(), rel=1e-4)


def test_a_hook_that_acts_on_one_row_of_a_batch_is_refused():
    lm = new_lm()

    def first_row(module, args, output):
        output = output.clone()
        output[0] += 1
        return output

    handle = lm.model.model.layers[1].register_forward_hook(first_row)
    with pytest.raises(UnsupportedModel, match=r"'first_row'.*rows of a batch"):
        tiny.tiny_tracer(lm)
    handle.remove()


def test_a_model_that_draws_random_numbers_is_refused_with_the_hook():
    model = tiny.tiny_model("llama")
    handle = model.model.layers[1].register_forward_hook(lambda m, a, o: o + torch.randn_like(o))
    with pytest.raises(UnsupportedModel, match=r"two passes .* other logits, with the forward"):
        rw.LanguageModel(model, tiny.word_tokenizer())
    handle.remove()


# ---------------------------------------------------------------- built otherwise by now


def test_layers_taken_out_after_attaching_are_noticed():
    lm = new_lm()
    tracer, layers = tiny.tiny_tracer(lm), lm.model.model.layers
    lm.model.model.layers = layers[:3]
    with pytest.raises(ModelChanged, match=r"model\.layers was replaced"):
        tracer.restore([])
    assert tiny.tiny_tracer(lm).trace().n_layers == 3
    lm.model.model.layers = layers
    assert tiny.tiny_tracer(lm).trace().n_layers == tiny.N_LAYERS


def test_a_dynamic_rotary_embedding_that_rewrites_itself_is_one_model():
    config = tiny.LlamaConfig(
        **tiny._common, **tiny._special,
        rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4},
    )  # fmt: skip
    torch.manual_seed(0)
    model = tiny.LlamaForCausalLM(config).eval()
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    before = lm.identity
    prompt = " ".join(f"w{i}" for i in range(1, 2 * tiny.N_POSITIONS))
    tracer = rw.CausalTracer(lm, prompt, "w3", noise=rw.Noise.absolute(1.0), samples=2)
    assert lm.n_positions is None
    assert what_changed(before, lm.identity) == ""
    assert tracer.clean == pytest.approx(users_own(lm, prompt).max(), rel=1e-4)
    assert np.isfinite(tracer.trace("hidden").scores["hidden"]).all()
