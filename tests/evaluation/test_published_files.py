"""The published files themselves: every record is read, and its subject found among the tokens."""

import collections

import pytest
from transformers import PreTrainedTokenizerFast

import rome_widgets as rw
from tests.helpers.counts import PUBLISHED_RECORDS
from tests.helpers.published_files import MISSING, PLACE, wrong_spans

if MISSING:
    pytest.skip(MISSING, allow_module_level=True)


@pytest.fixture(scope="module")
def counterfact():
    return rw.datasets.counterfact(PLACE / "counterfact_lite.json")


@pytest.fixture(scope="module")
def known():
    return rw.datasets.known_facts(PLACE / "known_1000.json")


def test_known_1000_is_what_the_paper_says_it_is(known):
    assert (len(known), known.left_out) == (1209, ())
    assert len({record.relation for record in known}) == 33
    assert len({record.subject for record in known}) == 1195
    assert len({record.target for record in known}) == 238
    assert sum(record.subject_start == 0 for record in known) == 1004
    assert (known[26].subject, known[26].id) == ("NTFS", "26")


def test_counterfact_has_its_records(counterfact):
    assert (len(counterfact), counterfact.left_out) == (21_919, ())
    assert len({record.subject for record in counterfact}) == 20_391
    assert [int(record.id) for record in counterfact] == list(range(21_919))
    assert all(record.target_new and record.target for record in counterfact)
    assert {len(record.paraphrase_prompts) for record in counterfact} == {1}
    assert {len(record.neighborhood_prompts) for record in counterfact} == {1}


def test_zsre_edits_in_either_answer():
    answers = rw.datasets.zsre(PLACE / "zsre_mend_train-1k.json")
    alt = rw.datasets.zsre(PLACE / "zsre_mend_train-1k.json", target="alt")
    assert len(answers) == len(alt) == 1000
    assert not answers.left_out
    for one, other in zip(answers, alt, strict=True):
        assert one.target == one.target_new == other.target
        assert one.text.endswith("?")
        assert len(one.locality) == len(one.paraphrase_prompts) == 1
    # Of some questions the file has the same answer twice.
    assert sum(record.target == record.target_new for record in alt) == 17


def test_qaedit_and_relations_have_all_they_state():
    questions = rw.datasets.qaedit(PLACE / "qaedit_1k.json")
    assert (len(questions), questions.left_out) == (1000, ())
    assert collections.Counter(record.relation for record in questions) == {
        "SQA": 389,
        "TQA": 364,
        "NQ": 247,
    }
    assert {len(record.locality) for record in questions} == {5}
    relations = rw.datasets.relations(PLACE / "lre_factual")
    assert (len(relations), relations.left_out) == (9696, ())
    assert len({record.relation for record in relations}) == 26


@pytest.mark.parametrize("name", ["gpt2", "pythia"])
def test_every_subject_is_found_among_the_tokens(name, known, counterfact):
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(PLACE / f"tokenizer_{name}.json"))
    assert wrong_spans(tokenizer, known[:: max(1, PUBLISHED_RECORDS // 10)]) == []
    assert wrong_spans(tokenizer, counterfact[::PUBLISHED_RECORDS]) == []


def test_a_span_that_is_not_the_subject_is_noticed(known):
    class Shifted(PreTrainedTokenizerFast):
        def decode(self, ids, **options):
            return super().decode(ids, **options)[1:]

    tokenizer = Shifted(tokenizer_file=str(PLACE / "tokenizer_gpt2.json"))
    assert wrong_spans(tokenizer, known[:3]) == [record.text for record in known[:3]]
