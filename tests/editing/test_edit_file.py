"""Edits in files: whole or not at all, and every damage is seen."""

import random

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.edit_file import FORMAT, load_edit
from rome_widgets.errors import EditFileError, SaveFailed
from rome_widgets.files import checksummed_file
from tests.helpers import world
from tests.helpers.counts import DAMAGED_EDITS, FLIPPED_BITS
from tests.helpers.gates import write_gate
from tests.model.test_ledger import same, weights


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
