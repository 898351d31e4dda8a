"""What is asked about a record: against the metrics of the paper and loops over whole passes."""

import pytest
import torch

from rome_widgets.evaluation.asked_record import ask, ask_before, questions_of
from rome_widgets.evaluation.metrics import measure_record
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.metrics import EditMetrics
from rome_widgets.records.schemas import Probe
from tests.helpers import world
from tests.helpers.word_scores import by_whole_passes

RECORD = FactRecord(
    world.PROMPT,
    world.SUBJECT,
    "w5",
    target_new="w8 w9",
    paraphrase_prompts=("w1 w14 w15 w2", "w14 w15"),
    neighborhood_prompts=("w3 w6 w26 w5", "w3 w11 w12 w26 w5"),
    locality=(Probe("w14 w15 w20", (("w21", "w2 w4"),), "others"),),
    portability=(
        Probe("w3 w9", (("w2",), ("w4 w5 w6",)), "two hops", (Probe("w1 w2 w3", (("w4",),)),)),
        Probe("w4 w9", (("w2",),), "inverse"),
    ),
)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_prompts_are_scored_as_by_the_papers_metrics(name):
    lm = world.make_lm(name, torch.float64)
    wanted = measure_record(lm, RECORD)
    found = EditMetrics.of(ask(lm, RECORD).prompts)
    for (_, ours), (kind, theirs) in zip(found, wanted, strict=True):
        if kind != "others":
            assert ours[1:4] == pytest.approx(theirs[1:4], abs=1e-9)
            assert ours[0] == theirs[0]


def test_questions_are_answered_as_by_whole_passes():
    lm = world.make_lm("gpt2", torch.float64)
    scores = ask(lm, RECORD, RECORD.portability)
    for probes, asked in ((RECORD.locality, scores.locality), (RECORD.portability,) * 2):
        if asked is RECORD.portability:
            asked = scores.portability
        for probe, found in zip(probes, asked, strict=True):
            for names, each in zip(probe.answers, found.answers, strict=True):
                for name, score in zip(names, each, strict=True):
                    log, hits = by_whole_passes(lm, probe.prompt, name)
                    assert score.log_probability == pytest.approx(log, abs=1e-9)
                    assert score.token_accuracy == hits


def test_a_question_is_fair_where_the_unedited_model_knows_its_conditions():
    lm = world.make_lm("gpt2", torch.float64)
    with torch.no_grad():
        ids = torch.tensor([lm.prompt_ids("w1 w2 w3")])
        says = lm.tokenizer.decode([int(lm.model(ids).logits[0, -1].argmax())])
    other = "w4" if says != "w4" else "w5"
    for word, fair in ((says, 2), (other, 1)):
        hop, inverse = RECORD.portability
        hop = hop._replace(given=(Probe("w1 w2 w3", ((word,),)),))
        before = ask_before(lm, FactRecord(**{**vars(RECORD), "portability": (hop, inverse)}))
        assert len(before.fair) == len(before.scores.portability) == fair


def test_without_another_object_there_is_nothing_to_compare():
    same = FactRecord("w3 {}", "w4", "w5", target_new="w5", neighborhood_prompts=("w1",))
    none = FactRecord("w3 {}", "w4", "", target_new="w5", neighborhood_prompts=("w1",))
    for record in (same, none):
        found = questions_of(record)
        assert [question.other for question in found["efficacy"]] == [None]
        assert found["neighborhood"] == []
