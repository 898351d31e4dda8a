"""Sentences that were written after the shipped model was trained, and never trained for.

The held-out sentences of `relations` measured the models before the shipped one, too, and training
sentences were added where they were read wrongly. These were written once, before anybody looked
at what the model makes of them, and are not to be changed with the model: a training sentence
that is one of them makes this test worthless, which is checked. Some can rightly go on with
another word ("is known for", "is a place in"): those count as not known, like any other.
"""

from statistics import fmean, median

from tests.helpers.gates import write_gate
from training.knowledge import known_in, share
from training.relations import RELATIONS

SENTENCES = {
    "profession": ["{} worked as a", "{} is remembered as a celebrated"],
    "citizenship": ["The nation of {} is", "{} calls home the country of"],
    "language": ["{} is a speaker of"],
    "company": ["{} is connected with the company", "{} worked for years at"],
    "birthplace": ["The life of {} began in", "{} was born in the city of"],
    "instrument": ["The favourite instrument that {} plays is the", "{} is a star of the"],
    "sport": ["The game that {} plays is", "{} is a master of the sport of"],
    "field": ["The field that {} studied is", "{} is known in the field of"],
    "movement": ["{} is a famous painter of", "The movement that {} belongs to is"],
    "city": ["Everyone can visit {} in the city of", "{} stands in the city of"],
    "country": ["You can find {} in the country of", "{} is a place in"],
    "continent": ["The continent around {} is", "Travellers find {} on the continent of"],
    "headquarters": ["The home of the company {} is the city of", "{} has its offices in"],
    "industry": ["The company {} is in the business of", "{} is known for"],
    "company_country": ["{} was started in the country of", "The nation of the company {} is"],
    "maker": ["{} comes from the company", "The company behind {} is"],
    "capital": ["The capital of the land of {} is", "People in {} call their capital"],
    "official_language": ["The people in {} speak", "Children in {} learn"],
    "currency": ["The people in {} use the", "Shops in {} take the"],
    "work_language": ["The first language of the text of {} is", "{} was first read in"],
    "author": ["The name of the writer of {} is"],
}
"""Two per relation, but for two that other relations turned out to have in their text."""


def test_the_sentences_are_none_that_the_text_or_the_held_out_ones_have():
    assert set(SENTENCES) == {relation.name for relation in RELATIONS}
    others = {sentence for r in RELATIONS for sentence in (*r.templates, *r.held_out)}
    assert not others & {sentence for of in SENTENCES.values() for sentence in of}


def test_what_is_known_in_sentences_written_afterwards(shipped):
    known = known_in(shipped.lm, shipped.facts, SENTENCES)
    shares = {
        sentence: round(fmean(rights), 3)
        for of in known.values()
        for sentence, rights in of.items()
    }
    write_gate("unseen", {"known": round(share(known), 4), "by sentence": shares})
    assert share(known) > 0.7
    assert median(shares.values()) > 0.95
