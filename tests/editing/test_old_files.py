"""Files of former versions are read for ever, with every value that they were written with.

`tests/data/old_files.json` says what those versions read from them.
"""

import hashlib
import json
from pathlib import Path

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics.choose_second_moment import second_moment_of
from tests.helpers import world

DATA = Path(__file__).parent.parent / "data"
WANTED = json.loads((DATA / "old_files.json").read_text("utf-8"))
EDITS = {method: DATA / f"edit-2-{method}.safetensors" for method in ("rome", "r-rome", "ft-l")}


def listed(value):
    """As JSON has it."""
    if isinstance(value, dict):
        return {name: listed(each) for name, each in value.items()}
    return [listed(each) for each in value] if isinstance(value, (list, tuple)) else value


@pytest.mark.parametrize("method", EDITS)
def test_every_value_of_an_edits_report_is_read(method):
    wanted = WANTED[f"edit-{method}"]
    made = rw.load_edit(world.make_lm("gpt2", torch.float32), EDITS[method])
    assert made.id == wanted["id"]
    assert repr(made) == wanted["repr"]
    for name, value in wanted["report"].items():
        assert listed(getattr(made.report, name)) == value, name


@pytest.mark.parametrize("method", EDITS)
def test_an_edit_is_applied_as_it_was_computed_and_taken_back(method):
    lm = world.new_lm("gpt2", torch.float32)
    made = rw.load_edit(lm, EDITS[method])
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    made.apply(force=True)  # another release of torch may draw other weights
    for update in made.updates:
        name = update.name
        wanted = before[name] + update.delta(made.strength, before[name])
        assert torch.equal(lm.model.get_parameter(name), wanted)
    made.revert()
    assert all(torch.equal(before[name], now) for name, now in lm.model.state_dict().items())
    assert made.to_code()
    assert made.perplexity().n_tokens > 1


def test_a_second_moment_is_solved_with_as_it_was():
    wanted = WANTED["second_moment"]
    site = find_site(world.make_lm("gpt2", torch.float32), 1)
    path = DATA / "second_moment-1.safetensors"
    moment = second_moment_of(site, path, wanted=True, ridge=1e-4)
    assert moment.n_tokens == wanted["n_tokens"]
    assert hashlib.sha256(moment.matrix.numpy().tobytes()).hexdigest() == wanted["matrix"]
    solved = moment.solve(torch.arange(1.0, 21.0, dtype=torch.float64))
    assert solved.tolist() == pytest.approx(list(map(float.fromhex, wanted["solved"])), rel=1e-9)


def test_a_file_of_the_first_format_is_read_for_ever():
    """Written before edits measured a perplexity; of a tiny GPT-2, Λ and u in float32."""
    lm = world.new_lm("gpt2", torch.float32)
    edit = rw.load_edit(lm, DATA / "edit-1.safetensors")
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
