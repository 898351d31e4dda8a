"""The second moment equals plain sums, is gathered once, and files of others are refused."""

import shutil
import threading
from types import SimpleNamespace

import pytest
import torch

from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics import gather as module
from rome_widgets.editing.statistics import second_moment_file
from rome_widgets.editing.statistics.gather import TOKENS_PER_WIDTH
from rome_widgets.editing.statistics.gather import second_moment as gather
from rome_widgets.editing.statistics.own_text import own_text
from rome_widgets.errors import (
    ArgumentError,
    Cancelled,
    EditFileError,
    ModelChanged,
    SaveFailed,
    SettingsError,
    StatisticsMissing,
)
from tests.helpers import model_guard, world
from tests.helpers.counts import MOMENT_INTERRUPTS
from tests.helpers.interrupts import count_places, hit_by_place, signals_as_before  # noqa: F401

TEXTS = [" ".join(f"w{(7 * i + 3 * j) % 29}" for i in range(12)) for j in range(9)]


def by_hand(lm, layer, texts):
    return mean_of_keys(lm, layer, [world.words(text) for text in texts])


def mean_of_keys(lm, layer, rows):
    keys = []
    module = lm.model.get_submodule(world.down_of(lm.name, layer))
    handle = module.register_forward_hook(lambda m, args, out: keys.append(args[0][0].detach()))
    try:
        for row in rows:
            lm.model(input_ids=torch.tensor([row]))
    finally:
        handle.remove()
    stacked = torch.cat(keys).double()
    return stacked.T @ stacked / len(stacked)


@pytest.mark.parametrize("name", world.SHAPES)
def test_it_is_the_mean_of_k_k_transposed(name):
    lm = world.make_lm(name)
    moment = gather(lm, TEXTS, 1)
    assert moment.n_tokens == 108
    assert world.off(moment.matrix, by_hand(lm, 1, TEXTS)) <= 1e-6
    few = gather(lm, TEXTS[:1], 1)
    assert few._keys is not None
    assert world.off(few.matrix, by_hand(lm, 1, TEXTS[:1])) <= 1e-6


def test_only_the_blocks_below_are_run():
    lm = world.make_lm("gpt2")
    calls = []
    handle = lm.model.transformer.h[2].register_forward_hook(lambda *_: calls.append(1))
    lm.up_to_date()  # With a hook that is not ours its parts are proved again.
    calls.clear()
    gather(lm, TEXTS[:2], 1)
    handle.remove()
    assert calls == []


def test_a_cancelled_gathering_goes_on_where_it_stopped(tmp_path, monkeypatch):
    lm, path, cancel = world.make_lm("gpt2"), tmp_path / "moment", threading.Event()

    def progress(step):
        if step.done == 4:
            cancel.set()

    with pytest.raises(Cancelled):
        gather(lm, TEXTS, 1, path=path, progress=progress, cancel=cancel)
    done = []
    moment = gather(lm, TEXTS, 1, path=path, progress=lambda step: done.append(step.done))
    assert done == [5, 6, 7, 8, 9]
    assert torch.equal(moment.matrix, gather(lm, TEXTS, 1).matrix)
    again = []
    gather(lm, TEXTS, 1, path=path, progress=again.append)
    assert again == []
    whole = path.read_bytes()
    with pytest.raises(EditFileError, match="another model, layer or text"):
        gather(lm, TEXTS[:5], 1, path=path)
    assert path.read_bytes() == whole


def test_a_damaged_file_is_put_aside_and_gathered_again(tmp_path):
    lm, path = world.make_lm("gpt2"), tmp_path / "moment"
    first = gather(lm, TEXTS, 1, path=path)
    blob = bytearray(path.read_bytes())
    blob[-5] ^= 1
    path.write_bytes(blob)
    again = gather(lm, TEXTS, 1, path=path)
    assert torch.equal(first.matrix, again.matrix)
    assert (tmp_path / "moment.bad").exists()


# -------------------------------------------------------------------------- kept on disk


@pytest.fixture
def cache(tmp_path, monkeypatch):
    folder = tmp_path / "cache"
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(folder))
    return folder


def kept_in(cache):
    return sorted(path.name for path in (cache / "second_moments").iterdir())


def pieces_run(lm, layer=1, texts=TEXTS, **options):
    """The moment, and how many pieces of text were run for it."""
    done = []
    moment = gather(lm, texts, layer, progress=lambda step: done.append(step.done), **options)
    return moment, len(done)


def test_texts_are_run_once(cache):
    lm = world.new_lm("gpt2")
    first, ran = pieces_run(lm)
    again, ran_again = pieces_run(world.new_lm("gpt2"), texts=iter(TEXTS))
    assert (ran, ran_again) == (9, 0)
    assert torch.equal(first.matrix, again.matrix)
    assert len(kept_in(cache)) == 1
    told = []
    options = {"layer": 1, "settings": world.SETTINGS, "second_moment": TEXTS}
    world.edit(lm, world.PROMPT, world.SUBJECT, "w8", progress=told.append, **options)
    assert "statistics" not in {step.phase for step in told}
    world.edit(lm, world.PROMPT, world.SUBJECT, "w8", **options | {"layer": 2})
    assert len(kept_in(cache)) == 2


def other_matrix(model):
    model.transformer.h[1].mlp.c_proj.weight.data[0, 0] += 1


def other_block_below(model):
    torch.nn.init.normal_(model.transformer.h[0].mlp.c_fc.weight)


def other_commit(model):
    model.config._commit_hash = "4d1c0ffee"


def test_another_model_layer_text_or_dtype_is_another_file(cache):
    pieces_run(world.new_lm("gpt2"))
    others = [
        (world.new_lm("gpt2", prepare=other_matrix), {}),
        (world.new_lm("gpt2", prepare=other_block_below), {}),
        (world.new_lm("gpt2", prepare=other_commit), {}),
        (world.new_lm("gpt2", torch.float32), {}),
        (world.new_lm("llama"), {}),
        (world.new_lm("gpt2"), {"layer": 2}),
        (world.new_lm("gpt2"), {"texts": TEXTS[1:]}),
        (world.new_lm("gpt2"), {"texts": TEXTS[::-1]}),
    ]
    for number, (lm, options) in enumerate(others):
        assert pieces_run(lm, **options)[1] > 0
        assert len(kept_in(cache)) == number + 2


@pytest.mark.parametrize("name", ["gpt2", "llama"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16], ids=str)
def test_it_is_of_the_model_without_its_edits(name, dtype, cache):
    """Bit for bit: gathered with edits below applied, or before, or read from the file."""
    lm = world.new_lm(name, dtype)
    wanted, _ = pieces_run(lm, layer=2, path=cache.parent / "before")
    edits = [world.made_up_edit(lm, number, layer=number) for number in range(3)]
    with edits[0], edits[1], edits[2]:
        after = by_hand(lm, 2, TEXTS)
        while_edited, ran = pieces_run(lm, layer=2)
    assert ran == 9
    assert world.off(after, wanted.matrix) > 1e-3
    assert torch.equal(while_edited.matrix, wanted.matrix)
    again, ran = pieces_run(lm, layer=2)
    assert ran == 0
    assert torch.equal(again.matrix, wanted.matrix)


def test_it_is_of_the_model_without_fine_tuning_of_a_bias(cache):
    lm = world.new_lm("gpt2")
    wanted, _ = pieces_run(lm, layer=2, path=cache.parent / "before")
    with world.make_edit(lm, "ft", layer=0):
        found, _ = pieces_run(lm, layer=2)
    assert torch.equal(found.matrix, wanted.matrix)


def test_edits_may_come_and_go_while_it_is_gathered(cache):
    lm = world.new_lm("gpt2")
    wanted, _ = pieces_run(lm, layer=2, path=cache.parent / "before")
    edit = world.made_up_edit(lm, 0, layer=0)

    def come_and_go(step):
        (edit.revert if edit.applied else edit.apply)()

    found = gather(lm, TEXTS, 2, progress=come_and_go)
    edit.revert()
    assert torch.equal(found.matrix, wanted.matrix)


def test_weights_written_by_somebody_else_meanwhile_are_seen(cache):
    lm = world.new_lm("gpt2")

    def write(step):
        if step.done == 3:
            with torch.no_grad():
                lm.model.transformer.h[0].mlp.c_fc.weight[0, 0] += 1

    with pytest.raises(ModelChanged, match="while statistics were gathered"):
        gather(lm, TEXTS, 1, progress=write)
    with torch.no_grad():
        lm.model.transformer.h[0].mlp.c_fc.weight[0, 0] -= 1
    other, ran = pieces_run(lm)
    assert ran == 6 or ran == 9  # taking away what was added need not give the same bits
    model_guard.settle()
    assert torch.equal(other.matrix, gather(lm, TEXTS, 1, path=cache / "fresh").matrix)


def test_an_interrupt_anywhere_loses_nothing_and_spoils_nothing(cache, monkeypatch):
    monkeypatch.setattr(second_moment_file, "SAVE_EVERY", 0.0)
    here = SimpleNamespace(lm=world.new_lm("gpt2"))

    def operation(here):
        gather(here.lm, TEXTS, 1)

    wanted = gather(here.lm, TEXTS, 1, path=cache.parent / "fresh").matrix
    operation(here)
    shutil.rmtree(cache)
    places = count_places(operation, here)
    landed = 0
    for place in range(1, places, max(1, places // MOMENT_INTERRUPTS)):
        shutil.rmtree(cache, ignore_errors=True)
        if hit_by_place(operation, here, place) is None:
            continue
        landed += 1
        assert torch.equal(gather(here.lm, TEXTS, 1).matrix, wanted), f"at {place} of {places}"
        assert not [name for name in kept_in(cache) if name.endswith(".bad")]
    assert landed >= 0.9 * MOMENT_INTERRUPTS


def test_an_interrupt_keeps_what_was_gathered(cache):
    lm = world.new_lm("gpt2")

    def interrupt(step):
        if step.done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gather(lm, TEXTS, 1, progress=interrupt)
    found, ran = pieces_run(lm)
    assert ran == 5
    assert torch.equal(found.matrix, gather(lm, TEXTS, 1, path=cache / "fresh").matrix)


def test_a_cache_that_cannot_be_written_costs_only_the_work(cache, caplog):
    lm = world.new_lm("gpt2")
    wanted = gather(lm, TEXTS, 1, path=cache.parent / "fresh").matrix
    cache.write_text("a file where the folder should be")
    for _ in range(2):
        again, ran = pieces_run(lm)
        assert ran == 9
        assert torch.equal(again.matrix, wanted)
    assert "not kept" in caplog.text
    assert cache.read_text() == "a file where the folder should be"
    with pytest.raises(SaveFailed):
        gather(lm, TEXTS, 1, path=cache / "asked for")


def test_several_layers_are_gathered_in_one_pass(cache, tmp_path):
    lm, passes = world.new_lm("gpt2"), []
    handle = lm.model.transformer.h[0].register_forward_hook(lambda *_: passes.append(1))
    lm.up_to_date()  # With a hook that is not ours its parts are proved again.
    passes.clear()
    found = gather(lm, iter(TEXTS), [0, -1], path=tmp_path)
    handle.remove()
    assert (list(found), len(passes)) == ([0, 3], len(TEXTS))
    for layer, moment in found.items():
        assert torch.equal(moment.matrix, gather(lm, TEXTS, layer).matrix)
        assert (tmp_path / f"layer-{layer}.safetensors").is_file()
    arguments = (lm, world.PROMPT, world.SUBJECT, "w8")
    made = world.edit(*arguments, layer=0, second_moment=found, settings={"steps": 2})
    assert made.report.second_moment == found[0].about
    with pytest.raises(StatisticsMissing):
        world.edit(*arguments, layer=1, second_moment=found)


def test_a_layer_that_was_begun_is_gone_on_with_beside_a_new_one(cache):
    lm, cancel = world.new_lm("gpt2"), threading.Event()

    def tell(step):
        if step.done == 3:
            cancel.set()

    with pytest.raises(Cancelled, match="3 of 9 pieces"):
        gather(lm, TEXTS, 1, progress=tell, cancel=cancel)
    both = gather(lm, TEXTS, [2, 1])
    assert list(both) == [2, 1]
    for layer, moment in both.items():
        assert world.off(moment.matrix, by_hand(lm, layer, TEXTS)) <= 1e-6


def test_layers_that_do_not_fit_together_take_several_passes(cache, monkeypatch):
    lm = world.new_lm("gpt2")
    at_once = gather(lm, TEXTS, range(4))
    shutil.rmtree(cache)
    monkeypatch.setattr(module, "MOST_SUMS", 2 * 8 * find_site(lm, 0).d_in ** 2)
    for layer, moment in gather(lm, TEXTS, range(4)).items():
        assert torch.equal(moment.matrix, at_once[layer].matrix)


def test_the_folder_of_several_layers_is_made_before_anything_is_run(cache, tmp_path):
    lm, folder = world.new_lm("gpt2"), tmp_path / "not" / "yet"
    gather(lm, TEXTS, [0, 1], path=folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "layer-0.safetensors",
        "layer-1.safetensors",
    ]
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveFailed, match="was not written"):
        gather(lm, TEXTS, [0, 1], path=tmp_path / "file", progress=pytest.fail)


def test_the_models_own_text_is_gathered_from(cache):
    lm = world.new_lm("gpt2")
    moment = gather(lm, "self", 1, n_tokens=50)
    assert moment.about == "50 tokens that the model wrote itself"
    texts = own_text(lm, 50, longest=lm.n_positions)
    assert world.off(moment.matrix, mean_of_keys(lm, 1, texts)) <= 1e-6
    width = find_site(lm, 1).d_in
    assert gather(lm, "self", 1).n_tokens == TOKENS_PER_WIDTH * width


def test_texts_are_read_up_to_a_number_of_tokens_and_no_further(cache):
    lm, read = world.new_lm("gpt2"), []

    def endless():
        while True:
            read.append("w3 w4 w5")
            yield read[-1]

    moment = gather(lm, endless(), 1, n_tokens=8)
    assert (moment.n_tokens, len(read)) == (8, 3)
    ids = lm.encode_text("w3 w4 w5")
    wanted = mean_of_keys(lm, 1, [ids, ids, ids[:2]])
    assert world.off(moment.matrix, wanted) <= 1e-6
    with pytest.raises(SettingsError, match="n_tokens is 0"):
        gather(lm, TEXTS, 1, n_tokens=0)


def test_a_path_is_a_file_of_lines(cache, tmp_path):
    lm, path = world.new_lm("gpt2"), tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    assert torch.equal(gather(lm, path, 1).matrix, gather(lm, TEXTS, 1).matrix)
    path.write_bytes(b"\xff\xfe\x00")
    for wrong in (path, tmp_path / "none.txt", tmp_path):
        with pytest.raises(SettingsError, match="cannot be read as text"):
            gather(lm, wrong, 1)
    path.write_text("\n\n")
    with pytest.raises(SettingsError, match="no text"):
        gather(lm, path, 1)


def test_what_comes_in_that_is_no_text_is_told(cache):
    with pytest.raises(ArgumentError, match="One of the texts is 5"):
        gather(world.new_lm("gpt2"), iter(["w3", 5]), 1)
