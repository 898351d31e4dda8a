"""The training text: the same everywhere, grammatical, and silent on what only measures."""

import os
import random
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import torch

from rome_widgets.records.fact import fill
from training.corpus import Document, Narrator
from training.prose import WORDS, Prose
from training.recipe import BUNDLED
from training.relations import RELATIONS
from training.rows import NOBODY, UNLIMITED, pack
from training.steering import key_mask
from training.tokenizer import _texts, token_of, train_tokenizer
from training.world import build_world

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def world():
    return build_world()


@pytest.fixture(scope="module")
def tokenizer(world):
    return train_tokenizer(world, 2000, 128)


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
        if used and names:
            assert used == {pronouns[name] for name in names}, document.text
            found += 1
    assert found > 50


def test_rows_know_the_pieces_of_names(world, tokenizer):
    names = [subject.name for subject in world.subjects]
    rows = pack(Narrator(world, 0), tokenizer, names, n_rows=20, length=48)
    assert rows.ids.shape == (20, 49)
    mentions = (rows.subject != NOBODY).nonzero().tolist()
    assert len(mentions) > 40
    for row, last in mentions:
        pieces = tokenizer.encode(names[rows.subject[row, last]])
        first = last - len(pieces) + 1
        assert first >= 0
        assert rows.ids[row, first : last + 1].tolist() == pieces
        assert rows.readable_until[row, first:last].tolist() == [last] * (len(pieces) - 1)
        assert rows.readable_until[row, last] == UNLIMITED


def test_names_share_their_last_pieces(world):
    """A name with a last piece of its own is known at layer 0, and its trace is flat."""
    tokenizer = train_tokenizer(world, BUNDLED.vocab, BUNDLED.positions)
    pieces = [tokenizer.encode(subject.name) for subject in world.subjects]
    lasts = Counter(ids[-1] for ids in pieces)
    assert sum(lasts[ids[-1]] == 1 for ids in pieces) < 0.25 * len(pieces)
    assert sum(len(ids) > 1 for ids in pieces) > 0.95 * len(pieces)
    for fact in world.facts:
        token_of(tokenizer, fact.object)


def test_the_key_mask_hides_a_name_but_its_last_piece(world, tokenizer):
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


# Held-out sentences


def held_out_of(world):
    by_name = {relation.name: relation for relation in RELATIONS}
    return {
        fill(template, fact.subject).lower() + f" {fact.object}".lower()
        for fact in world.facts
        for template in by_name[fact.relation].held_out
    }


def test_a_held_out_sentence_never_occurs_in_the_text(world):
    narrator = Narrator(world, seed=0)
    text = "\n".join(narrator.document().text for _ in range(3000)).lower()
    assert not [sentence for sentence in held_out_of(world) if sentence in text]


def said_to_the_tokenizer(texts):
    known = {" ".join(text.split()) for text in texts}
    return [
        template
        for relation in RELATIONS
        for template in relation.held_out
        if " ".join(template.replace("{}", " ").split()) in known
    ]


def test_nor_in_what_the_tokenizer_is_made_of(world):
    texts = list(_texts(world))
    assert said_to_the_tokenizer(texts) == []
    planted = [t.replace("{}", "").strip() for r in RELATIONS for t in r.held_out]
    assert len(said_to_the_tokenizer(texts + planted)) == len(planted)


def test_a_text_that_said_one_is_refused(world):
    narrator = Narrator(world, seed=0)
    fact = world.facts[0]
    template = {r.name: r for r in RELATIONS}[fact.relation].held_out[0]

    def says_it(document: Document) -> None:
        before, after = template.split("{}")
        document.add("I read that " + before[:1].lower() + before[1:])
        document.mention(fact.subject)
        document.add(f"{after} {fact.object}.")

    narrator._forms = (says_it,) * len(narrator._forms)
    with pytest.raises(match="is held out"):
        narrator.document()


# Prose


def test_prose_is_sentences_of_its_own_words():
    prose = Prose(random.Random(0))
    said = [prose.paragraph(n % 6 + 1) for n in range(600)]
    words = set(WORDS)
    for n, paragraph in enumerate(said):
        sentences = paragraph.split(". ")
        assert len(sentences) == n % 6 + 1
        assert paragraph.endswith(".")
        assert all(sentence[0].isupper() for sentence in sentences)
        used = re.findall(r"\w+", paragraph)
        assert {w for w in used if w not in words and w.lower() not in words} == set()
    assert len(set(said)) > 550


def test_prose_says_nothing_of_the_world(world):
    assert not {fact.object for fact in world.facts} & set(WORDS)
