"""Edits in files: whole or not at all, every damage seen, and other tools read them."""

import random
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.edit_file import FORMAT, load_edit
from rome_widgets.editing.export import to_peft
from rome_widgets.errors import EditFileError, EditRefused, SaveFailed
from rome_widgets.files import checksummed_file
from tests.helpers import world
from tests.helpers.counts import DAMAGED_EDITS, FLIPPED_BITS
from tests.helpers.gates import write_gate
from tests.model.test_ledger import same, weights

FIRST_FORMAT = Path(__file__).parent.parent / "data" / "edit-1.safetensors"


@pytest.mark.parametrize("method", ["rome", "ft"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_a_loaded_edit_does_what_the_saved_one_did(dtype, method, tmp_path):
    lm = world.new_lm("gpt2", dtype)
    edit = world.make_edit(lm, method)
    edit.strength = 0.7
    with edit:
        wanted = weights(lm)
    copy = rw.load_edit(lm, edit.save(tmp_path / "an edit"))
    assert copy.id == edit.id
    assert copy.report == edit.report
    assert copy.fact == edit.fact
    assert copy.strength == 0.7
    with copy:
        assert same(wanted, weights(lm))


def test_a_file_of_the_first_format_is_read_for_ever():
    """Written before edits measured a perplexity; of a tiny GPT-2, Λ and u in float32."""
    lm = world.new_lm("gpt2", torch.float32)
    edit = rw.load_edit(lm, FIRST_FORMAT)
    report = edit.report
    assert edit.id == "d1b6b537dbcebfc69c1f52c02304d369"
    assert edit.fact == rw.Fact("w3 {} w26 w5", "w14 w15", "w8")
    assert (report.method, report.layer, report.seed, edit.strength) == ("rome", 1, 0, 0.7)
    assert report.settings["prefixes"] == ((3, 2), (5, 2))
    assert (len(report.steps), report.stopped, report.warnings) == (8, "steps", ())
    assert report.steps[-1].norm == pytest.approx(1.84661, rel=1e-4)
    assert report.key_dot_u == pytest.approx(4.26724, rel=1e-4)
    assert report.prefixes[:2] == ("", "")
    assert report.perplexity is None
    assert report.perplexity_text == ""
    (update,) = edit.updates
    name = "transformer.h.1.mlp.c_proj.weight"
    assert (update.name, update.transposed, update.shape) == (name, True, (20, 8))
    before = lm.model.get_parameter(name).detach().clone()
    edit.apply(force=True)  # another release of torch may draw other weights
    assert torch.equal(lm.model.get_parameter(name), before + update.delta(0.7, before))
    edit.revert()
    assert torch.equal(lm.model.get_parameter(name), before)
    assert edit.perplexity().n_tokens > 1


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    edit = world.make_edit(world.make_lm("gpt2"))
    return edit.save(tmp_path_factory.mktemp("edits") / "edit").read_bytes()


def damaged(blob, generator):
    """The bytes with one thing wrong, and what."""
    kind = generator.choice(["bit", "bit", "bit", "cut", "more", "swap", "zeros", "length"])
    where = generator.randrange(len(blob))
    changed = bytearray(blob)
    if kind == "bit":
        changed[where] ^= 1 << generator.randrange(8)
    elif kind == "cut":
        del changed[where:]
    elif kind == "more":
        changed += bytes(generator.randrange(256) for _ in range(generator.randrange(1, 9)))
    elif kind == "swap":
        other = generator.randrange(len(blob))
        changed[where], changed[other] = changed[other], changed[where]
    elif kind == "zeros":
        changed[where : where + 16] = bytes(len(changed[where : where + 16]))
    else:
        changed[:8] = generator.getrandbits(64).to_bytes(8, "little")
    return kind, bytes(changed)


def test_every_flipped_bit_is_seen(saved, tmp_path):
    lm, path = world.make_lm("gpt2"), tmp_path / "edit"
    bits = random.Random(1).sample(range(8 * len(saved)), FLIPPED_BITS)
    for bit in bits:
        changed = bytearray(saved)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(EditFileError):
            load_edit(lm, path)
    write_gate("edit_bits", {"flipped": len(bits), "accepted": 0})


def test_every_damage_is_seen(saved, tmp_path):
    lm, generator, seen = world.make_lm("gpt2"), random.Random(0), 0
    path = tmp_path / "edit"
    for _ in range(DAMAGED_EDITS):
        kind, blob = damaged(saved, generator)
        if blob == saved:
            continue
        path.write_bytes(blob)
        with pytest.raises(EditFileError):
            load_edit(lm, path)
        seen += 1
        assert kind
    write_gate("edit_files", {"damaged": seen, "accepted": 0})
    path.write_bytes(saved)
    load_edit(lm, path)


def test_files_that_are_sealed_and_nonsense_are_refused(saved, tmp_path):
    lm = world.make_lm("gpt2")
    path = tmp_path / "edit"
    path.write_bytes(saved)
    header, tensors = checksummed_file.read(path, FORMAT)
    broken = [
        ({**header, "updates": [{"name": "w", "kind": "Else", "transposed": True}]}, tensors),
        ({**header, "updates": "all"}, tensors),
        ({**header, "report": {}}, tensors),
        ({**header, "bases": {}}, tensors),
        ({**header, "fact": {"prompt": "{}{}", "subject": "a"}}, tensors),
        ({**header, "strength": "much"}, tensors),
        ({}, tensors),
        (header, {}),
        (header, {name: tensor[0] for name, tensor in tensors.items()}),
        (header, {name: torch.full_like(tensor, np.nan) for name, tensor in tensors.items()}),
        (header, {name: tensor.long() for name, tensor in tensors.items()}),
    ]
    for number, (head, some) in enumerate(broken):
        checksummed_file.write(path, FORMAT, head, some)
        with pytest.raises(EditFileError):
            load_edit(lm, path)
        assert number >= 0
    checksummed_file.write(path, FORMAT._replace(name="other"), header, tensors)
    with pytest.raises(EditFileError, match="was wanted"):
        load_edit(lm, path)
    with pytest.raises(EditFileError, match="cannot be read"):
        load_edit(lm, tmp_path / "nowhere")


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path):
    edit = world.make_edit(world.make_lm("gpt2"))
    with pytest.raises(SaveFailed):
        edit.save(tmp_path / "nowhere" / "edit")
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed):
        edit.to_peft(tmp_path / "file" / "adapter")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


def test_fine_tuning_has_no_adapter_of_low_rank(tmp_path):
    with pytest.raises(EditRefused, match="all directions"):
        world.make_edit(world.make_lm("gpt2"), "ft").to_peft(tmp_path)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # peft asks transformers by an old name
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_peft_merges_the_adapter_to_the_very_same_weights(name, tmp_path):
    peft = pytest.importorskip("peft")
    from tests.helpers.families import tiny_family

    lm = world.new_lm(name, torch.float32)
    edit = world.make_edit(lm)
    edit.strength = 0.6
    folder = edit.to_peft(tmp_path / "adapter")
    with edit:
        wanted = weights(lm)
        ids = torch.tensor([[3, 14, 15, 26]])
        logits = lm.run(lambda: lm.model(input_ids=ids).logits)
    fresh = tiny_family(name, dtype=torch.float32)
    adapted = peft.PeftModel.from_pretrained(fresh, folder).eval()
    with torch.no_grad():
        assert torch.allclose(adapted(input_ids=ids).logits, logits, atol=1e-5)
    merged = adapted.merge_and_unload()
    assert same(wanted, merged.state_dict())


def test_several_edits_of_one_matrix_are_one_adapter_of_their_rank(tmp_path):
    import json

    import safetensors.torch

    lm = world.new_lm("gpt2", torch.float32)
    edits = [world.made_up_edit(lm, number) for number in range(3)]
    folder = to_peft(edits, tmp_path / "adapter")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert config["r"] == config["lora_alpha"] == 3
    assert config["fan_in_fan_out"]
    tensors = safetensors.torch.load_file(folder / "adapter_model.safetensors")
    a, b = (next(t for n, t in tensors.items() if f"lora_{x}" in n) for x in "AB")
    like = torch.zeros(20, 8)
    wanted = sum(edit.updates[0].delta(1.0, like) for edit in edits)
    assert torch.allclose((b @ a).T, wanted, atol=1e-6)
    with pytest.raises(EditRefused, match="One adapter has one rank"):
        to_peft([edits[0], world.made_up_edit(lm, 5, layer=2, rank=2)], tmp_path)


def test_a_saved_model_has_the_edit_in_its_weights(bundled_lm, tmp_path):
    edit = rw.edit(bundled_lm, "{} is in the city of", "The Space Needle", "Paris")
    with edit:
        bundled_lm.save_pretrained(tmp_path)
        wanted = weights(bundled_lm)
    again = rw.load(tmp_path, device="cpu", dtype="float32")
    assert same(wanted, weights(again))


def test_the_code_of_an_edit_computes_it_again(bundled_lm):
    edit = rw.edit(bundled_lm, "{} is in the city of", "The Space Needle", "Paris", method="r-rome")
    edit.strength = 0.5
    scope = {}
    exec(edit.to_code(), scope)
    assert scope["edit"].id == edit.id
    assert scope["edit"].strength == 0.5
    assert scope["edit"].applied
    scope["lm"].revert_all()
    assert sys.modules
