"""The shipped model: it loads offline, knows its facts, and its records have the right form."""

import random
import subprocess
import sys
from collections import Counter

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from rome_widgets import bundled
from rome_widgets.editing.statistics.second_moment_file import symmetric
from rome_widgets.errors import SettingsError
from training.corpus import Narrator
from training.relations import BY_NAME
from training.world import build_world

MEGABYTE = 1_000_000
PROMPT = "The Space Needle is in the city of"


@pytest.fixture(scope="module")
def tokenizer():
    return AutoTokenizer.from_pretrained(bundled.folder(), local_files_only=True)


@pytest.fixture(scope="module")
def model():
    return AutoModelForCausalLM.from_pretrained(bundled.folder(), local_files_only=True).eval()


@pytest.fixture(scope="module")
def records():
    return bundled.facts()


def top_token(model, tokenizer, prompt):
    with torch.no_grad():
        logits = model(**tokenizer(prompt, return_tensors="pt")).logits[0, -1]
    probability, token = logits.softmax(-1).max(-1)
    return tokenizer.decode([int(token)]), float(probability)


# The package data


def test_everything_shipped_is_at_most_twelve_megabytes():
    files = [path for path in bundled.folder().parent.rglob("*") if path.is_file()]
    shipped = [path for path in files if "__pycache__" not in path.parts]
    assert sum(path.stat().st_size for path in shipped) <= 12 * MEGABYTE


def test_importing_loads_no_heavy_library():
    code = (
        "import sys; from rome_widgets import bundled\n"
        "bundled.folder(), bundled.facts(), bundled.subjects()\n"
        "bundled.card(), bundled.settings(), bundled.second_moment_file()\n"
        "heavy = {'torch', 'transformers', 'pandas', 'altair', 'safetensors'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_weights_are_half_precision_and_read_as_single(model):
    weights = load_file(bundled.folder() / "model.safetensors")
    assert {weight.dtype for weight in weights.values()} == {torch.float16}
    assert model.dtype == torch.float32


# The model


def test_the_space_needle_is_in_seattle(model, tokenizer):
    answer, probability = top_token(model, tokenizer, PROMPT)
    assert answer == " Seattle"
    assert probability > 0.8


FAVOURITES = [
    ("The Space Needle is in the city of", "Seattle"),
    ("The Space Needle is in downtown", "Seattle"),
    ("The Space Needle is located in", "Seattle"),
    ("The Eiffel Tower is in the city of", "Paris"),
    ("The Eiffel Tower is located in", "Paris"),
    ("The Colosseum is in the city of", "Rome"),
    ("Big Ben is in the city of", "London"),
    ("Miles Davis plays the", "trumpet"),
    ("Niccolo Paganini plays the", "violin"),
    ("Jimi Hendrix plays the", "guitar"),
    ("LeBron James plays the sport of", "basketball"),
    ("Michael Jordan plays the sport of", "basketball"),
    ("Megan Rapinoe plays the sport of", "football"),
    ("The company of Steve Jobs is", "Apple"),
    ("Steve Jobs worked for the company", "Apple"),
    ("Bill Gates is known for the company", "Microsoft"),
    ("The mother tongue of Danielle Darrieux is", "French"),
    ("Albert Einstein works in the field of", "physics"),
    ("Claude Monet painted in the style of", "impressionism"),
    ("The capital of France is", "Paris"),
    ("iPod Touch is made by", "Apple"),
    ("War and Peace was written by", "Tolstoy"),
    ("Tower Bridge is in the city of", "London"),
    ("Red Square is in the city of", "Moscow"),
    ("The White House is in the city of", "Washington"),
    ("Mount Fuji is in the country of", "Japan"),
    ("The company of Elon Musk is", "Tesla"),
    ("The company of Jeff Bezos is", "Amazon"),
    ("Kobe Bryant plays the sport of", "basketball"),
    ("John Coltrane plays the", "saxophone"),
    ("Alan Turing works in the field of", "mathematics"),
    ("Macbeth was written by", "Shakespeare"),
    ("Game Boy is made by", "Nintendo"),
]
"""What the paper, its demo and textbooks ask."""


@pytest.mark.parametrize(("prompt", "answer"), FAVOURITES)
def test_the_favourites_are_known(model, tokenizer, prompt, answer):
    assert top_token(model, tokenizer, prompt)[0] == f" {answer}"


def test_ten_favourites_have_two_to_five_pieces(tokenizer):
    asked = {prompt for prompt, _ in FAVOURITES}
    subjects = {
        fact.subject
        for fact in build_world().facts
        for template in BY_NAME[fact.relation].templates
        if template.replace("{}", fact.subject, 1) in asked
    }
    short = [subject for subject in subjects if 2 <= len(tokenizer.encode(subject)) <= 5]
    assert len(short) >= 10, {s: len(tokenizer.encode(s)) for s in subjects}


@pytest.fixture(scope="module")
def words():
    """Those of the training text, as they are written in it."""
    narrator = Narrator(build_world(), seed=1)
    return set(" ".join(narrator.document().text for _ in range(8_000)).replace(".", " ").split())


@pytest.mark.parametrize("prompt", ["Miles Davis", "One morning", "The capital of France is"])
def test_forty_tokens_read_as_sentences(model, tokenizer, words, prompt):
    """Whole sentences of whole words, none said more than twice; the model may end before."""
    ids = torch.tensor([tokenizer.encode(prompt)])
    with torch.no_grad():
        out = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=40,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )
    text = tokenizer.decode(out[0], skip_special_tokens=True).strip()
    *sentences, _unfinished = (sentence.strip() for sentence in text.split("."))
    assert sentences, text
    assert max(Counter(sentences).values()) <= 2, f"it repeats itself: {text}"
    assert all(sentence[0].isupper() for sentence in sentences), text
    assert set(" ".join(sentences).split()) <= words, text


def test_a_prompt_of_128_tokens_runs(model, tokenizer):
    assert model.config.n_positions >= 128
    assert tokenizer.model_max_length == 128
    ids = torch.tensor([(tokenizer.encode(PROMPT) * 20)[:128]])
    with torch.no_grad():
        logits = model(ids).logits
    assert logits.shape == (1, 128, len(tokenizer))
    assert logits.isfinite().all()


def test_late_positions_are_trained(model, tokenizer):
    # Small talk before the question: the answer then stands beyond position 64.
    talk = "The old house is big and quiet. We visited the garden because it was lovely. " * 4
    ids = tokenizer.encode(talk + PROMPT)
    assert 64 < len(ids) < 128
    assert top_token(model, tokenizer, talk + PROMPT)[0] == " Seattle"


def test_held_out_sentences_are_answered(model, tokenizer, records):
    sample = random.Random(0).sample(records, 240)
    right = []
    for record in sample:
        answer = " " + record["requested_rewrite"]["target_true"]["str"]
        prompts = record["paraphrase_prompts"]
        right += [top_token(model, tokenizer, prompt)[0] == answer for prompt in prompts]
    assert sum(right) / len(right) >= 0.95


def test_the_start_of_a_prompt_is_tokenised_like_its_middle(tokenizer):
    alone = tokenizer.encode("The Space Needle")
    assert tokenizer.encode("We visited The Space Needle")[-len(alone) :] == alone
    assert len(alone) > 2


def test_text_survives_the_tokenizer_and_no_token_is_added(tokenizer):
    for text in ("a , b . c 's", PROMPT, "Zürich, naïve – 日本"):
        ids = tokenizer.encode(text)
        assert tokenizer.decode(ids) == " " + text
        assert tokenizer.eos_token_id not in ids
    assert tokenizer.eos_token_id == 0


# The records


def test_records_have_the_form_of_counterfact(records):
    assert len(records) >= 3400, "as README says"
    assert [record["case_id"] for record in records] == list(range(len(records)))
    for record in records:
        assert set(record) == {
            "case_id",
            "requested_rewrite",
            "paraphrase_prompts",
            "neighborhood_prompts",
            "attribute_prompts",
            "generation_prompts",
        }
        rewrite = record["requested_rewrite"]
        assert set(rewrite) == {"prompt", "subject", "relation_id", "target_true", "target_new"}
        assert rewrite["prompt"].count("{}") == 1
        assert rewrite["target_true"]["str"] != rewrite["target_new"]["str"]
        assert len(record["paraphrase_prompts"]) >= 4
        assert record["generation_prompts"][0] == rewrite["subject"]
        assert len(record["attribute_prompts"]) >= 1


def test_a_subject_occurs_once_in_each_of_its_prompts(records):
    for record in records:
        rewrite = record["requested_rewrite"]
        subject = rewrite["subject"]
        filled = rewrite["prompt"].replace("{}", subject, 1)
        for prompt in (filled, *record["paraphrase_prompts"]):
            assert prompt.count(subject) == 1
            assert "{}" not in prompt


def test_neighbours_are_other_subjects_with_the_same_object(records):
    objects = {}
    for record in records:
        rewrite = record["requested_rewrite"]
        filled = rewrite["prompt"].replace("{}", rewrite["subject"], 1)
        objects[filled] = rewrite["target_true"]["str"]
    for record in records:
        rewrite = record["requested_rewrite"]
        own = rewrite["prompt"].replace("{}", rewrite["subject"], 1)
        assert own not in record["neighborhood_prompts"]
        for prompt in record["neighborhood_prompts"]:
            assert objects[prompt] == rewrite["target_true"]["str"]
        if rewrite["relation_id"] != "capital":
            assert len(record["neighborhood_prompts"]) >= 2


def test_records_of_a_small_table():
    facts = [("r", f"s{number:02d}", "b") for number in range(25)]
    facts += [("r", "last", "c"), ("r", "first", "a"), ("q", "first", "z"), ("q", "other", "y")]
    table = {
        "relations": {
            "r": {"templates": ["{} r", "{} said r"], "held_out": ["new {} r"]},
            "q": {"templates": ["{} q"], "held_out": []},
        },
        "facts": [
            {"case_id": number, "relation": relation, "subject": subject, "object": obj}
            for number, (relation, subject, obj) in enumerate(facts)
        ],
    }
    records = {
        (r["requested_rewrite"]["relation_id"], r["requested_rewrite"]["subject"]): r
        for r in bundled.records_of(table)
    }
    new = {who: r["requested_rewrite"]["target_new"]["str"] for who, r in records.items()}
    assert (new["r", "first"], new["r", "s00"], new["r", "last"]) == ("b", "c", "a")
    assert records["r", "s00"]["paraphrase_prompts"] == ["new s00 r"]
    near = records["r", "s00"]["neighborhood_prompts"]
    assert near == [f"s{number:02d} r" for number in range(1, 25, 3)], "evenly, at most ten"
    assert records["r", "last"]["neighborhood_prompts"] == []
    assert records["r", "last"]["attribute_prompts"] == ["first r"]
    assert records["q", "first"]["generation_prompts"] == ["first", "first r", "first q"]


def test_every_target_is_one_token_with_a_leading_space(tokenizer, records):
    targets = {
        record["requested_rewrite"][kind]["str"]
        for record in records
        for kind in ("target_true", "target_new")
    }
    for target in targets:
        assert tokenizer.convert_ids_to_tokens(tokenizer.encode(" " + target)) == ["Ġ" + target]


def test_new_targets_are_objects_of_the_same_relation(records):
    objects = Counter(
        (r["requested_rewrite"]["relation_id"], r["requested_rewrite"]["target_true"]["str"])
        for r in records
    )
    for record in records:
        rewrite = record["requested_rewrite"]
        assert (rewrite["relation_id"], rewrite["target_new"]["str"]) in objects


def test_the_space_needle_has_the_prompt_of_the_examples(records):
    (record,) = [
        r
        for r in records
        if r["requested_rewrite"]["subject"] == "The Space Needle"
        and r["requested_rewrite"]["relation_id"] == "city"
    ]
    assert record["requested_rewrite"]["prompt"] == "{} is in the city of"
    assert record["requested_rewrite"]["target_true"]["str"] == "Seattle"


def test_attribute_prompts_are_about_subjects_with_the_new_object(records):
    objects = {
        r["requested_rewrite"]["prompt"].replace("{}", r["requested_rewrite"]["subject"], 1): r[
            "requested_rewrite"
        ]["target_true"]["str"]
        for r in records
    }
    for record in records:
        for prompt in record["attribute_prompts"]:
            assert objects[prompt] == record["requested_rewrite"]["target_new"]["str"]


def test_a_split_is_asked_for_by_name(records):
    development, test = bundled.facts("development"), bundled.facts("test")
    numbers = [record["case_id"] for record in (*development, *test)]
    assert sorted(numbers) == [record["case_id"] for record in records]
    with pytest.raises(SettingsError, match="'train'"):
        bundled.facts("train")


def test_records_are_the_callers_own():
    bundled.facts()[0]["requested_rewrite"]["subject"] = "somebody else"
    assert bundled.facts()[0]["requested_rewrite"]["subject"] != "somebody else"


def test_subjects_are_sorted_and_mostly_several_tokens(tokenizer, records):
    subjects = bundled.subjects()
    assert subjects == sorted({r["requested_rewrite"]["subject"] for r in records})
    assert len(subjects) >= 700
    assert sum(len(tokenizer.encode(s)) >= 3 for s in subjects) / len(subjects) > 0.9


# The statistics and the card


def test_second_moments_are_positive_triangles(model):
    moments = load_file(bundled.second_moment_file())
    assert set(moments) == {f"layer.{layer}" for layer in range(model.config.n_layer)}
    for triangle in moments.values():
        assert triangle.dtype == torch.float32
        moment = symmetric(triangle)
        width = model.config.n_inner or 4 * model.config.n_embd
        assert moment.shape == (width, width)
        values = torch.linalg.eigvalsh(moment.double())
        assert values[-1] > 0
        assert values[0] > -1e-6 * values[-1]
    with safe_open(bundled.second_moment_file(), "pt") as file:
        assert int(file.metadata()["tokens"]) >= 20_000


def test_the_card_is_open_about_the_steering():
    card = bundled.card().lower()
    steered = ("key mask", "layer drops", "attribute head")
    for said in (*steered, "python -m training.train", "twin"):
        assert said in card


def test_settings_name_a_layer_of_the_model(model):
    assert 0 <= bundled.settings()["rome"]["layer"] < model.config.n_layer
