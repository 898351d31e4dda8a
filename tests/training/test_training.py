"""Making a model: the weights repeat, an interrupted run goes on, and every file is written."""

import hashlib
import json
import math
import re
from dataclasses import replace

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, GPT2LMHeadModel

from rome_widgets import bundled
from rome_widgets.editing.site import find_site
from rome_widgets.editing.statistics.gather import keys_of
from rome_widgets.editing.statistics.second_moment_file import symmetric, upper_triangle
from rome_widgets.model.language_model import LanguageModel
from tests.helpers.model_guard import fingerprint
from training import checkpoint
from training import train as train_module
from training.corpus import Narrator
from training.knowledge import share_known
from training.model_files import facts_digest, facts_table, settings_of
from training.recipe import BUNDLED, MICRO
from training.relations import held_out_digest
from training.report import LOSS, differences, tensors_digest
from training.rows import NOBODY, pack
from training.second_moment import SEED, second_moments
from training.steering import AttributeHead, LayerDrops
from training.tokenizer import train_tokenizer
from training.train import Recipe, TrainingProgress, build, earlier_report, new_model, train
from training.world import WorldError, build_world


@pytest.fixture(scope="module")
def world():
    return build_world()


@pytest.fixture(scope="module")
def small_world(world):
    return world.only(60)


@pytest.fixture(scope="module")
def micro(small_world, tmp_path_factory):
    out = tmp_path_factory.mktemp("micro")
    return build(MICRO, small_world, out, quiet=True), out


def test_forty_steps_lower_the_loss(micro):
    losses = micro[0].losses
    assert len(losses) == 40
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 1.0


def test_two_trainings_are_equal_bit_for_bit(micro, small_world):
    again = train(MICRO, small_world, quiet=True)
    assert again.losses == micro[0].losses
    ours, theirs = again.model.state_dict(), micro[0].model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_products_in_half_precision_repeat_as_well(small_world, monkeypatch):
    """As in the training of the bundled model, which is wider than this one."""
    short = replace(MICRO, tokens=10 * 512)
    exact = train(short, small_world, quiet=True)
    monkeypatch.setattr(train_module, "WIDE", MICRO.d_model)
    first, second = (train(short, small_world, quiet=True) for _ in range(2))
    assert first.losses == second.losses
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert first.losses != exact.losses
    assert first.losses == pytest.approx(exact.losses, abs=0.05)


def test_training_leaves_the_process_as_it_was(small_world):
    torch.manual_seed(5)
    expected = torch.rand(3)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.manual_seed(5)
    trained = train(Recipe(**{**vars(MICRO), "tokens": 512}), small_world, quiet=True)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in trained.model.modules())


def test_a_written_folder_loads_and_holds_the_trained_weights(micro):
    trained, out = micro
    model = GPT2LMHeadModel.from_pretrained(out / "model")
    assert model.dtype == torch.float32
    assert model.lm_head.weight is model.transformer.wte.weight
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.half().float()), name
    tokenizer = AutoTokenizer.from_pretrained(out / "model")
    text = "The Space Needle is in the city of"
    assert tokenizer.encode(text) == trained.tokenizer.encode(text)


def test_a_build_writes_every_file(micro):
    _, out = micro
    written = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    assert written == {
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
        "facts.json",
        "settings.json",
        "second_moment.safetensors",
        "report.json",
    }
    with safe_open(out / "model" / "model.safetensors", "pt") as file:
        assert file.metadata()["seed"] == "0"
        assert file.metadata()["torch"] == torch.__version__
    moments = load_file(out / "second_moment.safetensors")
    assert {tuple(symmetric(moment).shape) for moment in moments.values()} == {(128, 128)}
    assert {moment.dtype for moment in moments.values()} == {torch.float32}


def test_the_second_moment_is_the_one_that_editing_gathers(micro, small_world):
    """Of the same rows: here by one pass for all layers, there by one per row and layer."""
    trained, _ = micro
    moments, n_tokens = second_moments(trained.model, trained.tokenizer, small_world, tokens=1)
    subjects = [subject.name for subject in small_world.subjects]
    length = trained.model.config.n_positions // 2
    rows = pack(Narrator(small_world, SEED), trained.tokenizer, subjects, 32, length).ids[:, :-1]
    assert n_tokens == rows.numel()
    lm = LanguageModel(trained.model.eval(), trained.tokenizer)
    for layer, moment in enumerate(moments):
        site = find_site(lm, layer)
        keys = torch.cat([keys_of([site], row[None])[layer] for row in rows]).double()
        wanted = keys.T @ keys / len(keys)
        assert torch.allclose(moment, wanted, rtol=1e-4, atol=1e-6 * float(wanted.max()))


def test_the_report_says_what_the_model_is_made_of(micro, small_world):
    trained, out = micro
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    assert report["sha256"]["weights"] == tensors_digest(out / "model" / "model.safetensors")
    assert report["sha256"]["facts"] == facts_digest(small_world)
    assert report["facts"] == len(small_world.facts)
    assert report["tokens"] == MICRO.tokens
    assert report[LOSS][-1] == pytest.approx(sum(trained.losses[-20:]) / 20, abs=1e-4)
    assert 0 <= report["known"]["new sentences"] <= 1


def test_tensors_have_a_checksum_whatever_their_file_looks_like(tmp_path):
    tensors = {"b": torch.tensor([1.0, -0.0]), "a": torch.zeros(2, 3, dtype=torch.float16)}
    same = dict(reversed(tensors.items()))
    for number in range(6):
        about = {str((number + i) % 6): "about" for i in range(6)}
        save_file(same if number % 2 else tensors, tmp_path / f"{number}", metadata=about)
    (digest,) = {tensors_digest(tmp_path / f"{number}") for number in range(6)}
    others = [
        tensors | {"b": torch.tensor([1.0, 0.0])},
        tensors | {"a": torch.zeros(3, 2, dtype=torch.float16)},
        tensors | {"a": torch.zeros(2, 3, dtype=torch.bfloat16)},
        {"c": tensors["b"], "a": tensors["a"]},
    ]
    for other in others:
        save_file(other, tmp_path / "other")
        assert tensors_digest(tmp_path / "other") != digest


def test_a_run_is_compared_with_an_earlier_one(micro):
    report = json.loads((micro[1] / "report.json").read_text(encoding="utf-8"))
    assert differences(report, report) == []
    text = report | {"sha256": report["sha256"] | {"token ids": "other"}}
    assert len(differences(report, text)) == 1
    weights = report | {"sha256": report["sha256"] | {"weights": "other"}}
    assert "weights" in differences(report, weights)[0]
    elsewhere = weights | {"environment": {"cpu": "another"}}
    assert differences(report, elsewhere) == [], "another processor rounds differently"
    knows = {kind: share + 0.02 for kind, share in report["known"].items()}
    assert len(differences(report, report | {"known": knows})) == 2
    nothing = {"known": dict.fromkeys(report["known"], math.nan)}
    assert len(differences(report | nothing, report | nothing)) == 2
    losses = [loss + 0.06 for loss in report[LOSS]]
    assert len(differences(report, report | {LOSS: losses})) == 10
    seed = report | {"recipe": report["recipe"] | {"seed": 1}}
    assert "recipes are two" in differences(report, seed)[0]
    facts = report | {"sha256": report["sha256"] | {"facts": "other"}, "known per relation": {}}
    assert "facts: " in differences(report, facts)[0]


def test_what_cannot_be_compared_is_said_before_the_training(micro, small_world, tmp_path):
    _, out = micro
    assert earlier_report(out, MICRO, small_world)["recipe"]["seed"] == 0
    with pytest.raises(WorldError, match=r"another recipe: .* was wanted\. Give the same --recipe"):
        earlier_report(out, replace(MICRO, seed=1), small_world)
    with pytest.raises(WorldError, match="another table of facts"):
        earlier_report(out, MICRO, small_world.only(10))
    with pytest.raises(WorldError, match=r"no report.json.*train --out"):
        earlier_report(tmp_path, MICRO, small_world)


class Interrupted(Exception):
    pass


@pytest.mark.parametrize("after", [7, 20])
def test_an_interrupted_training_goes_on_to_the_same_bits(
    micro, small_world, tmp_path, monkeypatch, after
):
    monkeypatch.setattr(checkpoint, "EVERY", 5)
    kept = tmp_path / "unfinished.safetensors"
    draw_of = LayerDrops.draw
    steps = 0

    def interrupted(self, n_rows):
        nonlocal steps
        steps += 1
        if steps > after:
            raise Interrupted
        draw_of(self, n_rows)

    with monkeypatch.context() as patch:
        patch.setattr(LayerDrops, "draw", interrupted)
        with pytest.raises(Interrupted):
            train(MICRO, small_world, resume=kept, quiet=True)
    resumed = []
    monkeypatch.setattr(LayerDrops, "draw", lambda self, n: (resumed.append(n), draw_of(self, n)))
    again = train(MICRO, small_world, resume=kept, quiet=True)
    assert len(resumed) == 40 - after // 5 * 5
    assert again.losses == micro[0].losses
    ours, theirs = again.model.state_dict(), micro[0].model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_what_another_recipe_left_is_neither_gone_on_with_nor_lost(
    small_world, tmp_path, monkeypatch
):
    monkeypatch.setattr(checkpoint, "EVERY", 1)
    kept = tmp_path / "unfinished.safetensors"
    short = replace(MICRO, tokens=1024)
    train(replace(short, seed=1), small_world, resume=kept, quiet=True)
    left = kept.read_bytes()
    with pytest.raises(WorldError, match=r"of another training: .*seed=1.*seed=0.*or delete"):
        train(short, small_world, resume=kept, quiet=True)
    assert kept.read_bytes() == left
    kept.write_bytes(left[:1000])
    with pytest.raises(WorldError, match=r"is damaged.*or delete"):
        train(short, small_world, resume=kept, quiet=True)
    save_file({"nothing": torch.zeros(1)}, kept)
    with pytest.raises(WorldError, match=r"of another training: None\."):
        train(short, small_world, resume=kept, quiet=True)


@pytest.fixture
def micro_command(monkeypatch, ended):
    """The command, with a recipe of seconds; returns what it exits with."""
    monkeypatch.setitem(train_module.RECIPES, "bundled", replace(MICRO, tokens=20 * 512))
    return lambda *arguments: ended(train_module, *arguments)


def test_the_command_says_how_it_goes_and_compares(micro_command, tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    assert micro_command("--out", first, "--subjects", 60) == 0
    said = capsys.readouterr().out
    steps = re.findall(r"step (\d+) of 20: loss [\d.]+, new sentences [\d.]+, \d+ min left", said)
    assert [int(step) for step in steps] == list(range(1, 20))
    assert said.startswith("60 subjects, ")
    assert f"training.evaluate {first}" in said
    assert micro_command("--out", second, "--subjects", 60, "--like", first) == 0
    assert "The reports are the same within their bounds." in capsys.readouterr().out
    report = json.loads((first / "report.json").read_text(encoding="utf-8"))
    report["sha256"]["token ids"] = "other"
    (first / "report.json").write_text(json.dumps(report), encoding="utf-8")
    assert micro_command("--out", second, "--subjects", 60, "--like", first) == 1
    assert "token ids: " in capsys.readouterr().out
    like_another = ("--out", second, "--subjects", 60, "--like", first, "--seed", 3)
    assert "another recipe" in micro_command(*like_another)


def test_a_file_for_a_folder_and_a_damaged_report_are_refused(micro_command, tmp_path):
    file = tmp_path / "report.json"
    file.write_text("{")
    assert "A folder was wanted." in micro_command("--out", file)
    assert "is damaged" in micro_command("--out", tmp_path / "new", "--like", tmp_path)


@pytest.mark.parametrize("count", [0, -1, 10**6])
def test_a_world_of_so_few_or_so_many_subjects_is_refused(micro_command, tmp_path, count):
    refusal = micro_command("--out", tmp_path, "--subjects", count)
    assert "From 1 to 1447 were wanted." in refusal
    assert not list(tmp_path.iterdir())


def test_telling_how_a_training_goes_changes_nothing_of_it(micro, small_world, capsys):
    """Of the unsteered model, while hooks that leave everything out are on the one in training."""
    trained, _ = micro
    model = new_model(MICRO, len(trained.tokenizer)).train()
    model.load_state_dict(trained.model.state_dict())
    drops = LayerDrops(model, (1.0,) * MICRO.n_layer, (1.0,) * MICRO.n_layer)
    drops.draw(1)
    before, drawn = fingerprint(model), torch.get_rng_state()
    TrainingProgress(20, model, trained.tokenizer, small_world)([2.0])
    drops.remove()
    assert fingerprint(model) == before
    assert torch.equal(torch.get_rng_state(), drawn)
    lm = LanguageModel(trained.model, trained.tokenizer)
    known = share_known(lm, small_world.facts[::12])
    assert f"step 1 of 20: loss 2.000, new sentences {known:.3f}" in capsys.readouterr().out


@pytest.mark.parametrize("part", ["mlp", "attn"])
def test_layer_drops_leave_out_what_they_drew(part):
    model = new_model(MICRO, 50).eval()
    ids = torch.arange(12).view(2, 6)
    chances = {"mlp": (0.0, 0.0), "attn": (0.0, 0.0)} | {part: (1.0, 0.0)}
    with torch.no_grad():
        whole = model(ids).logits
        drops = LayerDrops(model, **chances)
        drops.draw(2)
        without = model(ids).logits
        last = getattr(model.transformer.h[0], part).c_proj
        last.weight.zero_()
        last.bias.zero_()
        drops.remove()
        assert not torch.equal(without, whole)
        assert torch.equal(model(ids).logits, without)


def test_the_attribute_head_asks_for_a_subjects_objects_and_kind(world):
    small = world.only(60)
    subject = small.subjects[3]
    asked = {fact.object for fact in small.facts if fact.subject == subject.name} | {subject.kind}
    known = sorted({f.object for f in small.facts} | {s.kind for s in small.subjects})
    model = new_model(MICRO, 50)
    head = AttributeHead(small, model, layer=0)
    model(torch.arange(12).view(2, 6))
    mentioned = torch.full((2, 6), NOBODY)
    mentioned[1, 4] = 3
    with torch.no_grad():
        head.linear.weight.zero_()
        head.linear.bias.zero_()
    assert head.loss(mentioned).item() == pytest.approx(math.log(len(known)), rel=1e-5)
    with torch.no_grad():
        head.linear.bias.copy_(torch.tensor([20.0 if word in asked else 0.0 for word in known]))
    assert head.loss(mentioned).item() == pytest.approx(math.log(len(asked)), abs=1e-3)


def test_the_attribute_head_reads_its_layer_at_the_mention_and_no_other(small_world):
    model = new_model(MICRO, 50)
    head = AttributeHead(small_world, model, layer=0)
    seen = []
    model.transformer.h[0].register_forward_hook(
        lambda _, __, out: seen.append(out[0] if isinstance(out, tuple) else out)
    )
    model(torch.arange(12).view(2, 6))
    seen[0].retain_grad()
    mentioned = torch.full((2, 6), NOBODY)
    mentioned[1, 4] = 3
    head.loss(mentioned).backward()
    assert seen[0].grad.abs().sum(-1).nonzero().tolist() == [[1, 4]]
    assert all(weight.grad is None for weight in model.transformer.h[1].parameters())


def test_a_triangle_is_half_of_a_symmetric_matrix():
    matrix = torch.randn(7, 7, generator=torch.Generator().manual_seed(0))
    matrix = matrix + matrix.T
    assert upper_triangle(matrix).tolist()[:2] == matrix[0, :2].tolist()
    assert upper_triangle(matrix).shape == (28,)
    assert torch.equal(symmetric(upper_triangle(matrix)), matrix)


# What is shipped


def test_the_shipped_facts_are_those_of_the_world(world):
    path = bundled.folder().parent / "facts.json"
    assert json.loads(path.read_text(encoding="utf-8")) == facts_table(world)


def test_the_shipped_settings_are_those_of_the_code():
    assert bundled.settings() == settings_of(BUNDLED)


def test_the_shipped_tokenizer_is_made_again(world):
    recipe = BUNDLED
    again = train_tokenizer(world, recipe.vocab, recipe.positions).backend_tokenizer.to_str()
    shipped = (bundled.folder() / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(again) == json.loads(shipped)


def test_the_shipped_weights_name_their_recipe(world):
    with safe_open(bundled.folder() / "model.safetensors", "pt") as file:
        about = file.metadata()
    recipe = BUNDLED
    assert {name: about[name] for name in vars(recipe)} == {
        name: str(value) for name, value in vars(recipe).items()
    }
    assert about["facts_sha256"] == facts_digest(world)


def test_the_shipped_files_are_those_of_the_report(world):
    home = bundled.folder().parent
    report = json.loads((home / "report.json").read_text(encoding="utf-8"))
    tokenizer = AutoTokenizer.from_pretrained(bundled.folder()).backend_tokenizer.to_str().encode()
    sha256 = report["sha256"]
    assert sha256["weights"] == tensors_digest(bundled.folder() / "model.safetensors")
    assert sha256["second moment"] == tensors_digest(bundled.second_moment_file())
    assert sha256["tokenizer"] == hashlib.sha256(tokenizer).hexdigest()
    assert sha256["facts"] == facts_digest(world)
    assert sha256["held-out sentences"] == held_out_digest()
