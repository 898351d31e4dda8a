"""A model and its tokenizer as the rest of the package sees them."""

import pytest
import torch
from transformers import MptConfig, MptForCausalLM

import rome_widgets as rw
from rome_widgets.errors import (
    ContextTooLong,
    NonFinite,
    StateError,
    UnsupportedModel,
    VocabMismatch,
)
from rome_widgets.model.language_model import check_language_model
from tests.helpers import families, tiny


@pytest.mark.parametrize("tokenizer", [None, "gpt2"])
def test_a_model_needs_its_tokenizer(tokenizer):
    with pytest.raises(UnsupportedModel, match="tokenizer"):
        rw.LanguageModel(tiny.tiny_model("gpt2"), tokenizer)


@pytest.mark.filterwarnings("ignore:.*script_method:DeprecationWarning")
def test_wrappers_are_unwrapped():
    model = tiny.tiny_model("gpt2")

    class Traced:
        """As nnsight holds a model."""

        def __init__(self):
            self._module = model

    assert rw.LanguageModel(Traced(), tiny.word_tokenizer()).model is model
    assert rw.LanguageModel(torch.compile(model), tiny.word_tokenizer()).model is model


def test_the_users_tokenizer_is_never_changed():
    tokenizer = tiny.TOKENIZERS["byte-level"]()

    def state():
        backend = tokenizer.backend_tokenizer
        return (
            backend.to_str(),
            backend.encode_special_tokens,
            backend.encode("<|endoftext|>a").ids,
            tokenizer.padding_side,
            tokenizer.pad_token,
        )

    before = state()
    model = tiny.GPT2LMHeadModel(
        tiny.GPT2Config(n_layer=2, n_embd=8, n_head=2, vocab_size=len(tokenizer), **tiny._special)
    )
    lm = rw.LanguageModel(model.eval(), tokenizer)
    rw.trace(lm, "The Space Needle is in", "The Space Needle", noise=rw.Noise.absolute(0.1))
    assert before == state()


def test_the_embedding_may_be_narrower_than_the_stream():
    model = families.tiny_family("opt, norm on the stream")
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    assert (lm.d_embedding, lm.geometry.d_model) == (6, families.D_MODEL)


@pytest.fixture(scope="module")
def lm():
    return tiny.tiny_lm("gpt2", scale=40, dtype=torch.float64)


IDS = torch.tensor([[3, 14, 15, 9, 26, 5, 8], [2, 7, 1, 8, 28, 18, 4]])


def logits(lm):
    """`[row, vocab]` of a plain pass over `IDS`."""
    with torch.no_grad():
        return lm.model(input_ids=IDS).logits[:, -1]


def test_it_says_what_it_is(lm):
    assert repr(lm) == "LanguageModel('tiny gpt2': 5 layers, d_model 8, float64 on cpu)"
    assert rw.LanguageModel(lm.model, lm.tokenizer).name == "GPT2LMHeadModel"
    assert lm.n_parameters == sum(weight.numel() for weight in lm.model.parameters())
    assert (lm.n_layers, lm.engine) == (tiny.N_LAYERS, "replay")


# ------------------------------------------------------------------------------------ runs


def test_predictions_are_the_softmax_of_a_plain_pass(lm):
    wanted = logits(lm).softmax(-1)
    found = lm.next_token_probabilities(IDS)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    assert found.requires_grad is False
    logs = lm.next_token_logits(IDS, gradients=True).log_softmax(dim=-1)
    torch.testing.assert_close(logs.exp().detach(), wanted, rtol=1e-12, atol=1e-12)


def test_log_probabilities_have_gradients_and_visitors_act_in_their_call_only(lm):
    scale = torch.ones((), dtype=torch.float64, requires_grad=True)
    visitors = [(lm.sites("mlp")[2], lambda seen: seen.output * scale)]
    found = lm.next_token_logits(IDS, visitors, gradients=True).log_softmax(dim=-1)[0, 8]
    (slope,) = torch.autograd.grad(found, [scale])
    with torch.no_grad():
        scale += 1e-5
        step = lm.next_token_logits(IDS, visitors, gradients=True).log_softmax(dim=-1)[0, 8] - found
        scale += 1
        moved = lm.next_token_probabilities(IDS, visitors)
    assert float(step) == pytest.approx(1e-5 * float(slope), rel=1e-2)
    plain = lm.next_token_probabilities(IDS)
    assert (moved - plain).abs().max() > 1e-4
    torch.testing.assert_close(plain, logits(lm).softmax(-1))


@pytest.mark.parametrize(
    ("dtype", "wide"), [(torch.bfloat16, torch.float32), (torch.float64, torch.float64)]
)
def test_a_softmax_is_taken_in_float32_or_wider(dtype, wide):
    found = tiny.tiny_lm("gpt2", dtype=dtype).next_token_probabilities(IDS)
    assert found.dtype == wide
    assert found.sum(-1).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_embeddings_are_what_the_embedding_puts_out(lm):
    found = lm.embed([3, 28, 3])
    assert found.shape == (3, tiny.D_MODEL)
    assert torch.equal(found, lm.model.transformer.wte.weight[[3, 28, 3]].detach())


def test_fewer_tokens_go_into_a_call_once_memory_ran_out_until_that_is_forgotten():
    lm = tiny.tiny_lm("gpt2")
    most = lm.tokens_per_call
    lm.use_less_memory(100 * most)
    assert lm.tokens_per_call == most // 2
    lm.use_less_memory(10)
    assert lm.tokens_per_call == 5
    lm.use_less_memory(1)
    assert lm.tokens_per_call == 1
    lm.forget_memory()
    assert lm.tokens_per_call == most


# --------------------------------------------------------------------------------- weights


def test_the_version_of_the_weights_tells_every_way_of_changing_them():
    lm = tiny.tiny_lm("gpt2")
    norm = lm.model.transformer.ln_f
    seen = [lm.identity]
    assert lm.identity == seen[0]

    def differs():
        assert lm.identity not in seen
        seen.append(lm.identity)

    saved = norm.weight
    with torch.no_grad():
        saved.mul_(1.0)
    differs()
    norm.weight = torch.nn.Parameter(saved.detach().clone())
    differs()
    norm.weight = saved
    lm.model.set_attn_implementation("eager")
    differs()
    lm.model.double()
    differs()
    lm.model.float()


# ------------------------------------------------------------------------------------ text


def test_the_longest_prompt_is_the_smaller_of_what_model_and_tokenizer_take(lm):
    assert lm.n_positions == tiny.N_POSITIONS
    tokenizer = tiny.word_tokenizer()
    tokenizer.model_max_length = 9
    assert rw.LanguageModel(lm.model, tokenizer).n_positions == 9
    mamba = rw.LanguageModel(families.tiny_family("mamba"), tiny.word_tokenizer())
    assert mamba.n_positions is None


def mpt():
    return MptForCausalLM(
        MptConfig(d_model=8, n_heads=2, n_layers=2, max_seq_len=tiny.N_POSITIONS, vocab_size=29)
    )


def dynamic():
    rope = {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}
    config = tiny.LlamaConfig(**tiny._common, **tiny._special, rope_parameters=rope)
    return tiny.LlamaForCausalLM(config)


def test_positions_are_counted_by_whatever_name_the_model_has_for_them():
    model = mpt().eval()
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    assert lm.n_positions == tiny.N_POSITIONS
    with pytest.raises(ContextTooLong, match="17 tokens"):
        lm.encode("w1 " * 17, "w1")


def test_rotary_positions_that_are_scaled_by_length_have_no_end():
    lm = rw.LanguageModel(dynamic().eval(), tiny.word_tokenizer())
    assert lm.n_positions is None
    prompt = " ".join(f"w{i % 27 + 1}" for i in range(3 * tiny.N_POSITIONS))
    ids = lm.encode(prompt, "w3").ids
    assert len(ids) == 3 * tiny.N_POSITIONS


def test_a_prompt_that_is_too_long_for_a_model_that_does_not_say_so_is_refused():
    model = tiny.tiny_model("gpt2")
    lm = rw.LanguageModel(model, tiny.word_tokenizer())
    model.config.n_positions = 10**9
    assert lm.n_positions is None
    prompt = " ".join(f"w{i % 27 + 1}" for i in range(2 * tiny.N_POSITIONS))
    with pytest.raises(ContextTooLong, match="fails over its 32 tokens and not over the first 16"):
        rw.CausalTracer(lm, prompt, "w3", noise=rw.Noise.absolute(1.0), samples=2)


def test_texts_become_ids_that_the_model_embeds_or_are_refused():
    lm = rw.LanguageModel(tiny.tiny_model("gpt2"), tiny.word_tokenizer(n_words=40))
    assert lm.encode_text(tiny.PROMPT) == lm.encode_alone(tiny.PROMPT) == IDS[0].tolist()
    assert lm.encode_text("w5 " * 100) == [5] * 100
    assert lm.answer_ids("w3 w5", "w7 w9") == [7, 9]
    assert lm.token_text(28) == "w28"
    for call in (lm.encode_text, lm.encode_alone, lambda text: lm.answer_ids("w3", text)):
        with pytest.raises(VocabMismatch, match="id 35, but the model embeds only 29"):
            call("w5 w35")


# ----------------------------------------------------------------------------------- kinds


def test_kinds_are_those_that_the_model_has(lm):
    assert lm.check_kinds("all") == lm.kinds == ("hidden", "mlp", "attn")
    assert lm.check_kinds(["attn", "hidden"]) == ("hidden", "attn")
    mamba = rw.LanguageModel(families.tiny_family("mamba"), tiny.word_tokenizer())
    assert mamba.check_kinds("all") == ("hidden",)
    with pytest.raises(StateError, match=r"no states of kind 'mlp'.*\n*.*Ask for kinds"):
        mamba.check_kinds(["hidden", "mlp"])


@pytest.mark.parametrize("given", ["gpt2", 3, None])
def test_what_is_no_language_model_is_refused_with_the_remedy(given):
    with pytest.raises(UnsupportedModel) as caught:
        check_language_model(given)
    call = "rome_widgets.load('gpt2')" if given == "gpt2" else "rome_widgets.LanguageModel("
    assert call in caught.value.remedy


def test_a_model_that_overflows_in_float16_is_refused_and_bfloat16_offered():
    """At the start token, which the probe's own ids are without."""

    def model(dtype):
        large = tiny.tiny_model("neox", scale=20)
        with torch.no_grad():
            large.gpt_neox.embed_in.weight[0, 0] = 65504.0  # of what every word here becomes
            large.gpt_neox.layers[0].mlp.dense_4h_to_h.bias[0] = 40.0
        return large.to(dtype)

    for dtype in (torch.float32, torch.bfloat16):
        rw.LanguageModel(model(dtype), tiny.word_tokenizer())
    with pytest.raises(NonFinite, match=r"layers\.\d.*bfloat16") as caught:
        rw.LanguageModel(model(torch.float16), tiny.word_tokenizer())
    assert 'dtype="bfloat16"' in caught.value.remedy
