"""Published facts with the tokenizers of real models: every subject is found among the tokens."""

import pytest
from transformers import AutoTokenizer

import rome_widgets as rw
from tests.helpers.counts import FULL, PUBLISHED_RECORDS
from tests.helpers.published_files import MISSING, PLACE, wrong_spans
from tools import real_models

if MISSING:
    pytest.skip(MISSING, allow_module_level=True)

NAMES = ["smollm2", "gemma3"] if FULL else ["smollm2"]
try:
    for name in NAMES:
        if not real_models.is_here(name):
            real_models.gguf_file(name)
except real_models.CannotFetch as why:
    pytest.skip(str(why), allow_module_level=True)


@pytest.mark.parametrize("name", NAMES)
def test_every_subject_is_found_among_the_tokens(name):
    tokenizer = AutoTokenizer.from_pretrained(real_models.folder(name))
    known = rw.datasets.known_facts(PLACE / "known_1000.json")
    assert wrong_spans(tokenizer, known[:: max(1, PUBLISHED_RECORDS // 10)]) == []
    if FULL:
        facts = rw.datasets.counterfact(PLACE / "counterfact_lite.json")
        assert wrong_spans(tokenizer, facts) == []
