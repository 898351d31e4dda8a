"""Making a model: the text and the weights repeat, and what is shipped is what the code makes."""

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from training.corpus import Narrator
from training.evaluate import by_role, trace
from training.relations import RELATIONS, fill
from training.rows import NOBODY, UNLIMITED, pack
from training.sidecars import EDIT_SETTINGS, FINE_TUNING_SETTINGS, facts_digest, facts_table
from training.steering import LayerDrops, key_mask
from training.tokenizer import train_tokenizer
from training.train import Recipe, build, new_model, train
from training.world import LEAST_SUBJECTS, build_world, largest_count
from transformers import AutoTokenizer, GPT2LMHeadModel

from rome_widgets import bundled

ROOT = Path(__file__).parent.parent
MICRO = Recipe(
    n_layer=2,
    d_model=32,
    n_head=2,
    positions=64,
    vocab=900,
    tokens=40 * 512,
    batch_tokens=512,
    mlp_drop=(0.5, 0.0),
    attn_drop=(0.5, 0.0),
    attribute_layer=1,
)


@pytest.fixture(scope="module")
def world():
    return build_world()


@pytest.fixture(scope="module")
def small_world(world):
    return world.only(60)


@pytest.fixture(scope="module")
def micro(small_world, tmp_path_factory):
    out = tmp_path_factory.mktemp("micro") / "model"
    return build(MICRO, small_world, out, quiet=True), out


# The facts


def test_the_world_is_large_enough_for_shared_last_pieces(world):
    assert len(world.subjects) >= 600
    assert len(world.facts) >= 1500


def test_every_subject_has_one_row(world):
    assert len({subject.name for subject in world.subjects}) == len(world.subjects)


def test_every_object_has_neighbours_and_no_object_dominates(world):
    for relation in RELATIONS:
        counts = Counter(fact.object for fact in world.facts if fact.relation == relation.name)
        if relation.name == "capital":
            assert max(counts.values()) == 1
            continue
        assert min(counts.values()) >= LEAST_SUBJECTS, relation.name
        assert max(counts.values()) <= sum(counts.values()) / 4, relation.name


def test_a_subject_does_not_give_its_object_away(world):
    assert not [fact for fact in world.facts if fact.object.lower() in fact.subject.lower()]


def test_the_largest_count_keeps_to_its_share():
    most = largest_count(Counter({"a": 50, "b": 20, "c": 20, "d": 20, "e": 20}))
    assert 20 <= most <= (most + 80) / 4


def test_templates_are_enough_and_hold_one_place():
    for relation in RELATIONS:
        assert len(relation.templates) >= 8
        assert len(relation.held_out) >= 3
        for template in relation.templates + relation.held_out:
            assert template.count("{}") == 1
            assert template == template.strip()


def test_held_out_templates_are_new_sentences_of_familiar_words():
    training = {template for relation in RELATIONS for template in relation.templates}
    words = {word for template in training for word in re.findall(r"\w+", template.lower())}
    for relation in RELATIONS:
        assert not set(relation.held_out) & set(relation.templates), relation.name
        for template in relation.held_out:
            assert set(re.findall(r"\w+", template.lower())) <= words, template


def test_a_held_out_template_never_occurs_in_the_text_of_its_subject(world):
    narrator = Narrator(world, seed=0)
    text = "\n".join(narrator.document().text for _ in range(3000))
    by_name = {relation.name: relation for relation in RELATIONS}
    for fact in world.facts:
        for template in by_name[fact.relation].held_out:
            assert fill(template, fact.subject) + f" {fact.object}" not in text


# The text


def text_digest(hash_seed):
    code = (
        "import hashlib\n"
        "from training.corpus import Narrator\n"
        "from training.world import build_world\n"
        "n = Narrator(build_world(), 3)\n"
        "t = '|'.join(f'{d.text}{d.mentions}' for d in (n.document() for _ in range(500)))\n"
        "print(hashlib.sha256(t.encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": str(hash_seed)}
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_the_text_is_the_same_in_every_process():
    first, second = text_digest(1), text_digest(2)
    assert len(first) == 64
    assert first == second


def test_a_mention_is_where_the_name_stands(world):
    narrator = Narrator(world, seed=1)
    mentions = 0
    for _ in range(300):
        document = narrator.document()
        for start, stop, name in document.mentions:
            assert document.text[start:stop] == name
            mentions += 1
    assert mentions > 200


def test_pronouns_are_those_of_the_subject(world):
    pronouns = {subject.name: subject.pronoun.capitalize() for subject in world.subjects}
    narrator = Narrator(world, seed=2)
    found = 0
    for _ in range(2000):
        document = narrator.document()
        names = {name for _, _, name in document.mentions}
        used = set(re.findall(r"\. (He|She|It) (?!is true)", document.text))
        if used:
            assert used == {pronouns[name] for name in names}, document.text
            found += 1
    assert found > 50


def test_rows_know_the_pieces_of_names(world):
    tokenizer = train_tokenizer(world, 2000, 128)
    names = [subject.name for subject in world.subjects]
    rows = pack(Narrator(world, 0), tokenizer, names, n_rows=20, length=48)
    assert rows.ids.shape == (20, 49)
    row, last = (rows.subject != NOBODY).nonzero()[5].tolist()
    name = names[rows.subject[row, last]]
    pieces = tokenizer.encode(name)
    first = last - len(pieces) + 1
    assert rows.ids[row, first : last + 1].tolist() == pieces
    assert rows.readable_until[row, first:last].tolist() == [last] * (len(pieces) - 1)
    assert rows.readable_until[row, last] == UNLIMITED


def test_the_key_mask_hides_a_name_but_its_last_piece(world):
    tokenizer = train_tokenizer(world, 2000, 128)
    rows = pack(Narrator(world, 0), tokenizer, [s.name for s in world.subjects], 20, 48)
    causal = torch.ones(48, 48, dtype=torch.bool).tril()
    assert torch.equal(key_mask(rows, 0.0), causal.expand(20, 1, 48, 48))
    mask = key_mask(rows, 1.0)[:, 0]
    for row, last in (rows.subject != NOBODY).nonzero().tolist():
        assert mask[row, last + 1 :, last].all()
    for row, key in (rows.readable_until != UNLIMITED).nonzero().tolist():
        until = int(rows.readable_until[row, key])
        assert mask[row, key : until + 1, key].all()
        assert not mask[row, until + 1 :, key].any()


# The training


def test_forty_steps_lower_the_loss(micro):
    losses = micro[0].losses
    assert len(losses) == 40
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 1.0


def test_two_trainings_are_equal_bit_for_bit(micro, small_world):
    again = train(MICRO, small_world, quiet=True)
    assert again.losses == micro[0].losses
    ours, theirs = again.model.state_dict(), micro[0].model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


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
    model = GPT2LMHeadModel.from_pretrained(out)
    assert model.dtype == torch.float32
    assert model.lm_head.weight is model.transformer.wte.weight
    for name, tensor in trained.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor.half().float()), name
    tokenizer = AutoTokenizer.from_pretrained(out)
    text = "The Space Needle is in the city of"
    assert tokenizer.encode(text) == trained.tokenizer.encode(text)


def test_a_build_writes_every_file(micro):
    _, out = micro
    written = {path.name for path in out.parent.iterdir()} | {path.name for path in out.iterdir()}
    assert written >= {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "facts.json",
        "settings.json",
        "second_moment.safetensors",
    }
    with safe_open(out / "model.safetensors", "pt") as file:
        assert file.metadata()["seed"] == "0"
        assert file.metadata()["torch"] == torch.__version__
    moments = load_file(out.parent / "second_moment.safetensors")
    assert {tuple(moment.shape) for moment in moments.values()} == {(128, 128)}


def test_layer_drops_leave_out_what_they_drew():
    model = new_model(MICRO, 50).eval()
    ids = torch.arange(12).view(2, 6)
    with torch.no_grad():
        whole = model(ids).logits
        drops = LayerDrops(model, (1.0, 0.0), (0.0, 0.0))
        drops.draw(2)
        without = model(ids).logits
        with drops.paused():
            assert torch.equal(model(ids).logits, whole)
        model.transformer.h[0].mlp.c_proj.weight.zero_()
        model.transformer.h[0].mlp.c_proj.bias.zero_()
        drops.remove()
        assert not torch.equal(without, whole)
        assert torch.equal(model(ids).logits, without)


# The evaluation


def test_the_tracing_of_the_card_keeps_the_identities():
    torch.manual_seed(0)
    model = new_model(Recipe(n_layer=3, d_model=32, n_head=2), 50).eval()
    model.transformer.wte.weight.data *= 20
    ids, span, answer = [3, 9, 4, 1, 7], (1, 3), 11
    clean, corrupted, scores = trace(model, ids, span, answer, torch.randn(4, 2, 32))
    assert clean != pytest.approx(corrupted, rel=1e-3)
    assert torch.allclose(scores["hidden"][0], torch.tensor(corrupted))
    assert scores["hidden"][-1, -1] == pytest.approx(clean, rel=1e-4)
    still, same, silent = trace(model, ids, span, answer, torch.zeros(4, 2, 32))
    assert same == pytest.approx(still, rel=1e-5)
    assert torch.allclose(silent["mlp"], torch.tensor(still))


def test_roles_are_averaged_in_their_order():
    scores = torch.arange(7.0)[:, None].expand(7, 2)
    assert by_role(scores, (1, 4))[:, 0].tolist() == [1, 2, 3, 4, 5, 6]
    assert by_role(scores, (1, 3))[1].isnan().all()


# What is shipped


def test_the_shipped_facts_are_those_of_the_world(world):
    path = bundled.folder().parent / "facts.json"
    assert json.loads(path.read_text(encoding="utf-8")) == facts_table(world)


def test_the_shipped_settings_are_those_of_the_code():
    wanted = {"edit": EDIT_SETTINGS, "fine_tuning": FINE_TUNING_SETTINGS}
    assert bundled.settings() == wanted


def test_the_shipped_tokenizer_is_made_again(world):
    recipe = Recipe()
    again = train_tokenizer(world, recipe.vocab, recipe.positions).backend_tokenizer.to_str()
    shipped = (bundled.folder() / "tokenizer.json").read_text(encoding="utf-8")
    assert json.loads(again) == json.loads(shipped)


def test_the_shipped_weights_name_their_recipe(world):
    with safe_open(bundled.folder() / "model.safetensors", "pt") as file:
        about = file.metadata()
    recipe = Recipe()
    assert {name: about[name] for name in vars(recipe)} == {
        name: str(value) for name, value in vars(recipe).items()
    }
    assert about["facts_sha256"] == facts_digest(world)
