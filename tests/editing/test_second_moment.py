"""The second moment equals plain sums, survives a cancel, and files of others are refused."""

import threading

import pytest
import torch
import world

from rome_widgets.editing import second_moment
from rome_widgets.editing.second_moment import SecondMoment, gather
from rome_widgets.errors import Cancelled, EditFileError, SettingsError

TEXTS = [" ".join(f"w{(7 * i + 3 * j) % 29}" for i in range(12)) for j in range(9)]


def by_hand(lm, layer, texts):
    keys = []
    module = lm.model.get_submodule(world.down_of(lm.name, layer))
    handle = module.register_forward_hook(lambda m, args, out: keys.append(args[0][0].detach()))
    try:
        for text in texts:
            lm.model(input_ids=torch.tensor([world.words(text)]))
    finally:
        handle.remove()
    stacked = torch.cat(keys).double()
    return stacked.T @ stacked / len(stacked)


@pytest.mark.parametrize("name", world.SHAPES)
def test_it_is_the_mean_of_k_k_transposed(name):
    lm = world.make_lm(name)
    moment = gather(lm, 1, TEXTS)
    assert moment.n_tokens == 108
    assert world.off(moment.matrix, by_hand(lm, 1, TEXTS)) <= 1e-6
    few = gather(lm, 1, TEXTS[:1])
    assert few._keys is not None
    assert world.off(few.matrix, by_hand(lm, 1, TEXTS[:1])) <= 1e-6


def test_only_the_blocks_below_are_run():
    lm = world.make_lm("gpt2")
    calls = []
    handle = lm.model.transformer.h[2].register_forward_hook(lambda *_: calls.append(1))
    gather(lm, 1, TEXTS[:2])
    handle.remove()
    assert calls == []


def test_a_cancelled_gathering_goes_on_where_it_stopped(tmp_path, monkeypatch):
    lm, path, cancel = world.make_lm("gpt2"), tmp_path / "moment", threading.Event()

    def progress(step):
        if step.done == 4:
            cancel.set()

    with pytest.raises(Cancelled):
        gather(lm, 1, TEXTS, path=path, progress=progress, cancel=cancel)
    done = []
    moment = gather(lm, 1, TEXTS, path=path, progress=lambda step: done.append(step.done))
    assert done == [5, 6, 7, 8, 9]
    assert torch.equal(moment.matrix, gather(lm, 1, TEXTS).matrix)
    again = []
    gather(lm, 1, TEXTS, path=path, progress=again.append)
    assert again == []
    gather(lm, 1, TEXTS[:5], path=path, progress=again.append)
    assert len(again) == 5


def test_a_damaged_file_is_put_aside_and_gathered_again(tmp_path):
    lm, path = world.make_lm("gpt2"), tmp_path / "moment"
    first = gather(lm, 1, TEXTS, path=path)
    blob = bytearray(path.read_bytes())
    blob[-5] ^= 1
    path.write_bytes(blob)
    again = gather(lm, 1, TEXTS, path=path)
    assert torch.equal(first.matrix, again.matrix)
    assert (tmp_path / "moment.bad").exists()


def test_an_edit_takes_texts_or_a_file_or_a_moment(tmp_path):
    lm, path = world.make_lm("gpt2"), tmp_path / "moment"
    moment = gather(lm, 1, TEXTS, path=path)
    options = {"layer": 1, "settings": dict(world.SETTINGS, ridge=1e-4)}
    arguments = (lm, world.PROMPT, world.SUBJECT, "w8")
    by = [world.edit(*arguments, second_moment=m, **options) for m in (moment, TEXTS, path)]
    assert len({edit.id for edit in by}) == 1
    assert all("108 tokens" in edit.report.second_moment for edit in by)
    with pytest.raises(EditFileError, match="Layer 2"):
        world.edit(*arguments, second_moment=path, **options | {"layer": 2})
    with pytest.raises(EditFileError, match="cannot be read"):
        world.edit(*arguments, second_moment=tmp_path / "nowhere", **options)
    with pytest.raises(SettingsError):
        world.edit(*arguments, second_moment=[], **options)
    wrong = SecondMoment("wrong", matrix=torch.eye(7, dtype=torch.float64))
    with pytest.raises(SettingsError, match="Width 20"):
        world.edit(*arguments, second_moment=wrong, **options)


def test_a_moment_that_is_not_quite_positive_gets_more_ridge():
    matrix = torch.diag(torch.tensor([1.0, 1.0, -1e-9], dtype=torch.float64))
    moment = SecondMoment("nearly", matrix=matrix, ridge=0.0)
    assert torch.isfinite(moment.solve(torch.ones(3, dtype=torch.float64))).all()


def test_the_shipped_statistics_are_used(bundled_lm):
    site = second_moment.find_site(bundled_lm, 3)
    moment = second_moment.choose(site, None, wanted=True, ridge=1e-4)
    assert "shipped with the model" in moment.about
    assert moment.matrix.shape == (512, 512)
