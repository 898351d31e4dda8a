"""What users call in place of the model: taken off where it adds nothing, else refused by name."""

import functools

import peft
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import EditRefused, ModelChanged, WrappedModel
from rome_widgets.model.wrappers import unwrap, wrappers_of
from tests.helpers import model_guard, tiny

pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
"""peft asks transformers for what it will call otherwise."""
NOISE = rw.Noise.absolute(1.0)


def model():
    return tiny.tiny_model("llama", scale=20)


def lora(*targets, zero=False):
    config = peft.LoraConfig(
        r=2, target_modules=list(targets), init_lora_weights=zero, task_type="CAUSAL_LM"
    )
    return peft.get_peft_model(model(), config).eval()


def attach(wrapped):
    return rw.LanguageModel(wrapped, tiny.word_tokenizer())


def tracer_of(lm):
    return rw.CausalTracer(lm, tiny.PROMPT, tiny.SUBJECT, noise=NOISE, samples=2)


def users_own(wrapped):
    ids = torch.tensor([tiny.word_tokenizer()(tiny.PROMPT)["input_ids"]])
    with torch.no_grad():
        return float(wrapped(input_ids=ids).logits[0, -1].softmax(-1).max())


def edit(lm):
    return rw.edit(
        lm, "{} w9 w26 w5 w8", tiny.SUBJECT, "w3", layer=2, second_moment="identity",
        settings={"steps": 2},
    )  # fmt: skip


ADAPTERS = {
    "LoRA": lambda: lora("q_proj", "down_proj"),
    "IA3": lambda: peft.get_peft_model(
        model(),
        peft.IA3Config(
            target_modules=["k_proj", "down_proj"],
            feedforward_modules=["down_proj"],
            init_ia3_weights=False,
            task_type="CAUSAL_LM",
        ),
    ).eval(),
}


@pytest.mark.parametrize("kind", ADAPTERS)
def test_adapters_of_the_weights_are_traced_as_they_act_now(kind):
    wrapped = ADAPTERS[kind]()
    lm = attach(wrapped)
    tracer = tracer_of(lm)
    assert tracer.clean == pytest.approx(users_own(wrapped), rel=1e-4)
    with wrapped.disable_adapter():
        with pytest.raises(ModelChanged, match="switched off"):
            tracer.restore([])
        assert tracer_of(lm).clean == pytest.approx(users_own(wrapped), rel=1e-4)
    assert tracer.restore([]).clean == tracer.clean
    wrapped.merge_adapter()
    with pytest.raises(ModelChanged, match="merged"):
        tracer.restore([])
    assert tracer_of(lm).clean == pytest.approx(users_own(wrapped), rel=1e-4)
    model_guard.settle()


def test_another_active_adapter_is_another_model():
    wrapped = lora("q_proj")
    config = peft.LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    wrapped.add_adapter("second", config)
    lm = attach(wrapped)
    tracer = tracer_of(lm)
    wrapped.set_adapter("second")
    with pytest.raises(ModelChanged, match=r"active adapter of .* is second"):
        tracer.trace()
    assert tracer_of(lm).clean == pytest.approx(users_own(wrapped), rel=1e-4)
    model_guard.settle()  # peft lets the active adapter alone be trained


PROMPTS = {
    "PROMPT_TUNING": lambda: peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "PREFIX_TUNING": lambda: peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4),
    "P_TUNING": lambda: peft.PromptEncoderConfig(
        task_type="CAUSAL_LM", num_virtual_tokens=4, encoder_hidden_size=8
    ),
}


@pytest.mark.parametrize("kind", PROMPTS)
def test_virtual_tokens_are_not_lost_silently(kind):
    wrapped = peft.get_peft_model(model(), PROMPTS[kind]()).eval()
    with pytest.raises(WrappedModel, match=f"virtual tokens before every prompt .{kind}") as caught:
        attach(wrapped)
    assert "get_base_model()" in caught.value.remedy
    assert tracer_of(attach(wrapped.get_base_model())).trace().complete


def test_a_tracer_made_without_virtual_tokens_refuses_once_they_are_back():
    wrapped = peft.get_peft_model(model(), PROMPTS["PROMPT_TUNING"]()).eval()
    with wrapped.disable_adapter():
        lm = attach(wrapped)
        tracer = tracer_of(lm)
    with pytest.raises(ModelChanged, match="were switched on"):
        tracer.restore([])
    with pytest.raises(WrappedModel, match="virtual tokens"):
        tracer_of(lm)


def test_a_wrapper_that_computes_something_else_is_refused():
    class Louder(peft.PeftModelForCausalLM):
        def forward(self, *args, **kwargs):
            out = super().forward(*args, **kwargs)
            out.logits = 2 * out.logits
            return out

    with pytest.raises(WrappedModel, match="other predictions than the LlamaForCausalLM"):
        attach(Louder(model(), peft.LoraConfig(target_modules=["q_proj"])).eval())


@pytest.mark.parametrize("which", ["wrapper", "tuner"])
def test_a_replaced_forward_of_a_wrapper_is_refused_by_name(which):
    wrapped = lora("q_proj")
    lm = attach(wrapped)
    replaced = wrapped if which == "wrapper" else wrapped.base_model
    own = replaced.forward

    @functools.wraps(own)
    def halved(*args, **kwargs):
        found = own(*args, **kwargs)
        found.logits = found.logits / 2
        return found

    replaced.forward = halved
    for use in (lambda: tracer_of(lm), lambda: attach(wrapped)):
        with pytest.raises(WrappedModel, match=f"replaced forward on {type(replaced).__name__}"):
            use()
    del replaced.forward


@pytest.mark.parametrize("target", ["embed_tokens", "lm_head"])
def test_an_adapter_of_an_embedding_is_traced(target):
    wrapped = lora(target)
    lm = attach(wrapped)
    assert lm.d_embedding == tiny.D_MODEL
    assert tracer_of(lm).clean == pytest.approx(users_own(wrapped), rel=1e-4)
    assert edit(lm).report.layer == 2


def test_a_hook_on_the_wrapper_is_refused_by_name():
    wrapped = lora("q_proj")
    wrapped.register_forward_hook(lambda module, args, output: output)
    with pytest.raises(WrappedModel, match="forward hook '<lambda>' of tests") as caught:
        attach(wrapped)
    assert "LlamaForCausalLM" in caught.value.remedy


@pytest.mark.parametrize("zero", [False, True])
def test_an_adapter_on_the_edited_matrix_is_refused_with_what_to_do(zero):
    """One that adds nothing yet leaves the matrix what the MLP puts out."""
    lm = attach(lora("down_proj", zero=zero))
    if zero:
        edit(lm).apply().revert()
        return
    with pytest.raises(EditRefused, match="carries an adapter that is not merged") as caught:
        edit(lm)
    assert "merge_and_unload()" in caught.value.remedy


@pytest.mark.parametrize("how", ["merge_and_unload", "merge_adapter", "an adapter elsewhere"])
def test_merged_matrices_and_those_without_an_adapter_are_edited(how):
    wrapped = lora("q_proj" if how == "an adapter elsewhere" else "down_proj")
    if how == "merge_adapter":
        wrapped.merge_adapter()
    lm = attach(wrapped.merge_and_unload() if how == "merge_and_unload" else wrapped)
    change = edit(lm)
    before = lm.model.get_parameter(change.updates[0].name).clone()
    assert change.apply().applied
    change.revert()
    assert torch.equal(lm.model.get_parameter(change.updates[0].name), before)


COMPILED = {
    "replaced blocks": lambda m: [
        m.model.layers.__setitem__(i, torch.compile(block, backend="eager"))
        for i, block in enumerate(list(m.model.layers))
    ],
    "blocks in place": lambda m: [block.compile(backend="eager") for block in m.model.layers],
    "the model in place": lambda m: m.compile(backend="eager"),
    "its forward": lambda m: setattr(m, "forward", torch.compile(m.forward, backend="eager")),
    "one MLP": lambda m: setattr(
        m.model.layers[1], "mlp", torch.compile(m.model.layers[1].mlp, backend="eager")
    ),
    "a wrapper": lambda m: torch.compile(m, backend="eager"),
}


@pytest.mark.parametrize("what", COMPILED)
def test_what_is_compiled_traces_and_edits_as_it_is_written(what):
    plain = tracer_of(attach(model())).trace()
    made = model()
    given = COMPILED[what](made)
    lm = attach(given if what == "a wrapper" else made)
    assert lm.engine == "replay"
    trace = tracer_of(lm).trace()
    for kind in plain.kinds:
        assert trace.scores[kind] == pytest.approx(plain.scores[kind], abs=1e-6)
    edit(lm).apply().revert()


def test_compiled_after_attaching_is_said():
    lm = attach(model())
    tracer = tracer_of(lm)
    lm.model.model.layers[1].compile(backend="eager")
    with pytest.raises(ModelChanged, match=r"model\.layers\.1 was compiled"):
        tracer.trace()
    assert tracer_of(lm).trace().complete


def test_wrappers_are_told_from_the_outermost_in():
    wrapped = lora("q_proj")
    outer = torch.compile(wrapped, backend="eager")
    inner = unwrap(outer)
    assert type(inner).__name__ == "LlamaForCausalLM"
    names = [type(each).__name__ for each in wrappers_of(outer)]
    assert names == ["OptimizedModule", "PeftModelForCausalLM", "LoraModel"]
    assert wrappers_of(inner) == ()
