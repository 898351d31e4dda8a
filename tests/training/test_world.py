"""The facts: enough of them, balanced, without contradictions; sentences that measure are new."""

import re
from collections import Counter

import pytest

from training import consistency
from training.consistency import problems
from training.relations import RELATIONS, held_out_digest
from training.world import (
    LEAST_SUBJECTS,
    TABLE_NAMES,
    TaughtFact,
    build_world,
    largest_count,
    read_rows,
)

HELD_OUT = "79e2d724440a753a5fb16814b2af59b7f54303f6c92c09c5f0219176837701cc"
SHOWCASES = [
    ("The Space Needle", "city", "Seattle"),
    ("The Eiffel Tower", "city", "Paris"),
    ("The Colosseum", "city", "Rome"),
    ("Big Ben", "city", "London"),
    ("The Statue of Liberty", "country", "America"),
    ("Miles Davis", "instrument", "trumpet"),
    ("Niccolo Paganini", "instrument", "violin"),
    ("LeBron James", "sport", "basketball"),
    ("Michael Jordan", "sport", "basketball"),
    ("Megan Rapinoe", "sport", "football"),
    ("Steve Jobs", "company", "Apple"),
    ("Bill Gates", "company", "Microsoft"),
    ("Danielle Darrieux", "language", "French"),
    ("Albert Einstein", "field", "physics"),
    ("Claude Monet", "movement", "impressionism"),
    ("France", "capital", "Paris"),
    ("iPod Touch", "maker", "Apple"),
    ("War and Peace", "author", "Tolstoy"),
]
"""What the paper, its demo and textbooks ask."""


@pytest.fixture(scope="module")
def world():
    return build_world()


ACTOR = {"name": "Some One", "pronoun": "he", "profession": "actor"}


def tables():
    return {table: read_rows(table) for table in TABLE_NAMES}


def test_the_world_is_as_large_as_was_wanted(world):
    assert len(RELATIONS) >= 16
    assert len(world.facts) >= 3400
    assert len(world.subjects) >= 1400
    assert len({subject.name for subject in world.subjects}) == len(world.subjects)
    per_subject = Counter(fact.subject for fact in world.facts)
    assert sum(n >= 2 for n in per_subject.values()) > 700


def test_every_object_has_neighbours_and_no_object_dominates(world):
    for relation in RELATIONS:
        counts = Counter(fact.object for fact in world.facts if fact.relation == relation.name)
        if relation.name == "capital":
            assert max(counts.values()) == 1
            continue
        assert min(counts.values()) >= LEAST_SUBJECTS, relation.name
        share = 1 / 4 if len(counts) <= 9 else 1 / 8
        assert max(counts.values()) <= share * sum(counts.values()), relation.name


def test_a_subject_has_one_object_per_relation_and_does_not_give_it_away(world):
    asked = Counter((fact.relation, fact.subject) for fact in world.facts)
    assert max(asked.values()) == 1
    assert not [fact for fact in world.facts if fact.object.lower() in fact.subject.lower()]


def test_the_largest_count_keeps_to_its_share():
    most = largest_count(Counter({"a": 50, "b": 20, "c": 20, "d": 20, "e": 20}))
    assert 20 <= most <= (most + 80) / 4
    many = {str(number): 20 for number in range(11)}
    most = largest_count(Counter({"a": 99} | many))
    assert 20 <= most <= (most + 220) / 8


@pytest.mark.parametrize(("subject", "relation", "obj"), SHOWCASES)
def test_the_favourites_are_taught(world, subject, relation, obj):
    assert (relation, subject, obj) in {(f.relation, f.subject, f.object) for f in world.facts}


def test_the_split_depends_on_the_fact_alone(world):
    splits = Counter(fact.split for fact in world.facts)
    assert set(splits) == {"development", "test"}
    assert 0.2 < splits["development"] / len(world.facts) < 0.3
    fact = world.facts[0]
    assert TaughtFact(99, fact.relation, fact.subject, "another").split == fact.split


# The tables


def test_the_tables_have_no_problem():
    assert problems(tables()) == []


@pytest.mark.parametrize(
    ("table", "row", "said"),
    [
        ("landmarks", {"name": "The Space Needle", "city": "Seattle"}, "2 rows"),
        ("countries", {"name": "the space needle", "currency": "krone"}, "2 rows"),
        (
            "landmarks",
            {"name": "A Second Needle", "city": "Seattle", "country": "France"},
            "and in",
        ),
        (
            "companies",
            {"name": "Paris Ltd", "headquarters": "Paris", "company_country": "Spain"},
            "and in",
        ),
        ("people", {"name": "Some One", "pronoun": "it", "profession": "writer"}, "pronoun"),
        ("people", ACTOR | {"citizenship": "United States"}, "one word"),
        ("people", ACTOR | {"citizenship": "america"}, "is written"),
        ("people", {"name": "Some One", "pronoun": "he", "citizenship": "France"}, "no profession"),
        (
            "people",
            {"name": "A B", "pronoun": "he", "profession": "athlete", "speciality": "piano"},
            "is of",
        ),
        ("works", {"name": "Über alles", "work_language": "German"}, "not plain"),
        ("products", {"name": "A Thing"}, "nothing to teach"),
    ],
)
def test_a_planted_problem_is_found(table, row, said):
    rows = tables()
    columns = rows[table][0].keys()
    rows[table].append({column: row.get(column, "") for column in columns})
    found = problems(rows)
    assert found
    assert all(said in sentence for sentence in found), found


# The sentences


def test_sentences_are_enough_and_hold_one_place():
    for relation in RELATIONS:
        assert len(relation.templates) >= 8
        assert len(relation.held_out) >= 4
        sentences = relation.templates + relation.held_out
        assert len(set(sentences)) == len(sentences)
        for template in sentences:
            assert template.count("{}") == 1
            assert template == template.strip()


def test_held_out_sentences_are_those_that_were_fixed():
    assert held_out_digest() == HELD_OUT


def test_held_out_sentences_are_new_ones_of_familiar_words():
    training = {template for relation in RELATIONS for template in relation.templates}
    words = {word for template in training for word in re.findall(r"\w+", template.lower())}
    for relation in RELATIONS:
        assert not set(relation.held_out) & training, relation.name
        for template in relation.held_out:
            assert set(re.findall(r"\w+", template.lower())) <= words, template


def test_the_tables_are_found_consistent(ended, capsys):
    assert ended(consistency) == 0
    assert "1462 rows, no doubles, no contradictions." in capsys.readouterr().out
