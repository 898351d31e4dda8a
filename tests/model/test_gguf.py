"""A GGUF file loads as any other model, its weights unpacked; what is none says so."""

import shutil
import sys

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import rome_widgets as rw
from rome_widgets.errors import MissingExtra, ModelNotFound, RomeWidgetsError, UnsupportedModel
from rome_widgets.model.gguf import quantisation
from rome_widgets.model.load import load_expression
from tests.helpers.gguf_files import N_LAYERS, tiny_llama, write_gguf

EDIT = {"layer": 1, "second_moment": "identity", "settings": {"steps": 2}}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A folder with one GGUF file, nothing in it quantised."""
    folder = tmp_path_factory.mktemp("plain")
    write_gguf(folder / "small.gguf", tiny_llama())
    return folder


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    """The same, quantised."""
    return write_gguf(tmp_path_factory.mktemp("packed") / "small.gguf", tiny_llama(), "Q8_0")


def weights_of(model):
    return {name: weight.clone() for name, weight in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def test_a_file_and_a_folder_that_holds_one_load_with_the_weights_there_are(plain):
    wanted = weights_of(tiny_llama())
    for where in (plain / "small.gguf", str(plain / "small.gguf"), plain):
        lm = rw.load(where, device="cpu")
        assert same(weights_of(lm.model), wanted)
    assert (lm.name, lm.n_layers, lm.n_positions) == ("small", N_LAYERS, 32)
    assert lm.prompt_ids("a b c") == lm.prompt_ids([4, 31, 32])
    assert lm.notes == ("The weights were unpacked from small.gguf: F32 (30 tensors).",)
    assert lm.notes[0] in lm._repr_html_()
    assert not rw.load().notes


def test_a_quantised_file_is_unpacked_and_says_how_it_was_quantised(packed):
    lm = rw.load(packed, device="cpu", dtype="float64")
    assert lm.dtype == torch.float64
    assert "Q8_0 (23 tensors), F32 (7)" in lm.notes[0]
    wanted = weights_of(tiny_llama())
    off = max(float((w - wanted[name]).abs().max()) for name, w in lm.model.state_dict().items())
    assert 0 < off < 0.02  # a step of Q8_0, the largest weight being some 2


def test_it_traces_edits_saves_and_says_by_which_python(packed, tmp_path):
    lm = rw.load(packed, device="cpu")
    before = weights_of(lm.model)
    assert rw.trace(lm, "a b c d", "b c", samples=2).complete
    edit = rw.edit(lm, "{} d", "a b", "e", **EDIT)
    with edit:
        lm.save_pretrained(tmp_path / "edited")
        after = weights_of(lm.model)
    assert same(weights_of(lm.model), before)
    assert not same(after, before)
    again = rw.load(tmp_path / "edited", device="cpu")
    assert same(weights_of(again.model), after)
    assert not again.notes
    assert again.prompt_ids("a b") == lm.prompt_ids("a b")
    python = load_expression(lm)
    assert python == f"rw.load({str(packed)!r}, dtype='float32')"
    assert same(weights_of(eval(python, {"rw": rw}).model), before)


def test_one_that_the_user_had_transformers_unpack_is_as_good(packed, tmp_path):
    where = {"pretrained_model_name_or_path": packed.parent, "gguf_file": packed.name}
    model = AutoModelForCausalLM.from_pretrained(**where)
    lm = rw.LanguageModel(model, AutoTokenizer.from_pretrained(**where))
    assert lm.notes == ("The weights were unpacked from small.gguf.",)
    assert load_expression(lm) == f"rw.load({str(packed)!r}, dtype='float32')"
    with rw.edit(lm, "{} d", "a b", "e", **EDIT) as edit:
        assert edit.applied
    held = model.hf_quantizer, model.config.quantization_config
    lm.save_pretrained(tmp_path / "plain")
    assert (model.hf_quantizer, model.config.quantization_config) == held
    again = rw.load(tmp_path / "plain", device="cpu")
    assert same(weights_of(again.model), weights_of(model))


def test_of_several_files_one_is_to_be_chosen(plain, packed, tmp_path):
    for name, file in (("a.gguf", plain / "small.gguf"), ("b.gguf", packed)):
        (tmp_path / name).write_bytes(file.read_bytes())
    with pytest.raises(ModelNotFound, match=r"2 GGUF files: a\.gguf, b\.gguf.*a\.gguf'\)"):
        rw.load(tmp_path)
    assert "Q8_0" in rw.load(tmp_path / "b.gguf").notes[0]


def test_a_part_of_a_model_is_refused(plain, tmp_path):
    for number in (1, 2):
        shutil.copy(plain / "small.gguf", tmp_path / f"model-0000{number}-of-00002.gguf")
    with pytest.raises(ModelNotFound, match=r"in several GGUF files.*Join the parts"):
        rw.load(tmp_path)


def test_a_folder_of_safetensors_is_loaded_from_these(plain, tmp_path):
    rw.load(plain).save_pretrained(tmp_path)
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    assert not rw.load(tmp_path).notes


@pytest.mark.parametrize("package", ["gguf", "accelerate"])
def test_without_the_extra_its_name_is_said(plain, package, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtra, match=r"pip install gguf accelerate"):
        rw.load(plain)


def test_a_file_that_is_torn_or_of_something_else_is_refused(plain, tmp_path):
    whole = (plain / "small.gguf").read_bytes()
    file = tmp_path / "torn.gguf"
    for size in (0, 3, 20, 300, 2000, len(whole) // 2, len(whole) - 40):
        file.write_bytes(whole[:size])
        with pytest.raises(ModelNotFound, match=r"torn\.gguf"):
            rw.load(file)
    file.write_bytes(b"PK\3\4" + whole[4:])
    with pytest.raises(ModelNotFound, match="does not begin as a GGUF file"):
        rw.load(file)


def test_a_kind_of_model_that_transformers_does_not_know_is_refused(tmp_path):
    file = write_gguf(tmp_path / "other.gguf", tiny_llama(), architecture="unheardof")
    with pytest.raises(RomeWidgetsError, match="unheardof") as caught:
        rw.load(file)
    assert isinstance(caught.value, UnsupportedModel)


def test_how_it_was_quantised_is_read_by_gguf_too(plain, packed, monkeypatch):
    """By versions of transformers without a reader of their own."""
    found = quantisation(plain / "small.gguf"), quantisation(packed)
    monkeypatch.setitem(sys.modules, "transformers.integrations.gguf.reader", None)
    assert (quantisation(plain / "small.gguf"), quantisation(packed)) == found
