"""All figures of one record: each is that of the module that defines it, and none is made up."""

from dataclasses import replace

import pytest

from rome_widgets.errors import ArgumentError
from rome_widgets.evaluation import measured_record as module
from rome_widgets.evaluation.asked_record import ask_before
from rome_widgets.evaluation.collapse import mean_perplexity, tokens_of
from rome_widgets.evaluation.measured_record import Measurer, MeasurerSettings
from rome_widgets.evaluation.written_texts import write_texts
from rome_widgets.model.word_scores import likeliest_tokens
from rome_widgets.records.fact_record import FactRecord
from rome_widgets.records.record_scores import figures_of_scores
from rome_widgets.records.schemas import Probe
from rome_widgets.records.text_metrics import ReferenceTexts, ngram_entropy
from tests.helpers import world

RECORD = FactRecord(
    world.PROMPT,
    world.SUBJECT,
    "w5",
    target_new="w8",
    neighborhood_prompts=("w3 w6 w26 w5",),
    generation_prompts=("w14 w15", "w9 w14 w15"),
)
TEXTS = ("w1 w2 w3 w4", "w9 w8")


def measurer(lm, **settings):
    return Measurer(lm, MeasurerSettings(**settings), lambda: None)


def test_as_many_positions_are_planned_as_are_run(monkeypatch):
    lm = world.make_lm("gpt2")
    says = lm.token_text(likeliest_tokens(lm, ["w1 w2 w3"])[0])
    follows = Probe("w3 w9", (("w2",), ("w4 w5 w6",)), "two hops", (Probe("w1 w2 w3", ((says,),)),))
    record = replace(
        RECORD,
        target_new="w8 w9",
        paraphrase_prompts=("w1 w14 w15 w2 w4",),
        attribute_prompts=("w4 w9",),
        portability=(follows,),
    )
    monkeypatch.setattr(module, "ordinary_text", lambda lm, seed: "w1 w2 " * 20)
    run = []
    blocks = [lm.model.get_submodule(name) for name in lm.sites("hidden")]
    hooks = [
        block.register_forward_pre_hook(lambda _, given: run.append(given[0][..., 0].numel()))
        for block in blocks
    ]
    try:
        measure = measurer(lm)
        before = measure.before(record)
        for _ in range(2):
            measure.after(record, before)
    finally:
        for hook in hooks:
            hook.remove()
    assert sum(run) == lm.n_layers * module.positions_measured(lm, [record], 2)


def test_only_what_was_asked_for_is_measured():
    lm = world.make_lm("gpt2")
    before = measurer(lm).before(RECORD)
    scores = ask_before(lm, RECORD).scores
    assert before.figures.items() >= figures_of_scores(scores, scores).items()
    assert {*before.figures} == {
        *figures_of_scores(scores, scores),
        "perplexity_own",
    }
    assert before.text == ""


def test_perplexities_rise_by_what_the_edit_does():
    lm = world.make_lm("gpt2")
    texts = [tokens_of(lm, text) for text in TEXTS]
    one = measurer(lm, collapse_texts=TEXTS)
    before = one.before(RECORD)
    was = mean_perplexity(lm, texts)
    assert before.figures["perplexity_given"] == was
    assert "rise_given" not in before.figures
    assert one.after(RECORD, before).figures["rise_own"] == 1
    with world.made_up_edit(lm, 0):
        now = one.after(RECORD, before).figures
        given = mean_perplexity(lm, texts)
    assert now["perplexity_given"] == given != was
    assert now["rise_given"] == given / was
    assert now["rise_own"] == now["perplexity_own"] / before.figures["perplexity_own"] != 1


def test_texts_are_written_graded_and_compared():
    lm = world.make_lm("gpt2")
    about = {"w8": ("w14 w3 w4", "w5"), "w5": ("w15 w2",)}
    found = measurer(lm, generate=5, reference_texts=about, seed=3).before(RECORD)
    (answer,) = write_texts(lm, [RECORD.text], 5)
    assert found.text == answer.text
    words = answer.text.split()
    assert found.figures["says"] == ("w8" in words)
    assert found.figures["contradicts"] == ("w5" in words)
    prompts = RECORD.generation_prompts
    written = write_texts(lm, prompts, 5, top_k=5, seed=3)
    whole = [f"{prompt} {each.text}" for prompt, each in zip(prompts, written, strict=True)]
    assert found.figures["GE"] == pytest.approx(sum(map(ngram_entropy, whole)) / 2)
    assert found.figures["RS"] == ReferenceTexts(about).similarity("w8", whole) > 0
    other = measurer(lm, generate=5, reference_texts={"w5": ("w15 w2",)}).before(RECORD)
    assert "RS" not in other.figures


def test_where_the_true_object_is_edited_in_its_aliases_are_right():
    lm = world.make_lm("gpt2")
    said = measurer(lm, generate=5).before(RECORD).text.split()[0]
    new = replace(RECORD, target_new="w5", aliases=(said,))
    found = measurer(lm, generate=5).before(new).figures
    assert (found["says"], found["contradicts"]) == (1, 0)
    found = measurer(lm, generate=5).before(replace(new, target_new="w8")).figures
    assert found["contradicts"] == 1


def test_what_there_is_nothing_to_measure_for_is_left_out(monkeypatch):
    lm = world.make_lm("gpt2")
    stop = {"stops", "correct_and_stops"}
    answered = stop | {"says", "contradicts", "repeats", "correct"}
    full = "w14 " * (lm.n_positions - 1) + "w15"

    def measured(**changes):
        return {*measurer(lm, generate=1).before(replace(RECORD, **changes)).figures}

    assert measured() >= answered | {"GE"}
    assert "GE" not in measured(generation_prompts=("w9",)), "of two words"
    assert "GE" not in measured(generation_prompts=(full,)), "nothing is written"
    long = "{} " + "w3 " * (lm.n_positions - 2)
    assert not measured(prompt=long, neighborhood_prompts=()) & answered
    monkeypatch.setattr(lm.model.generation_config, "eos_token_id", None)
    assert measured() & answered == answered - stop


def test_a_text_that_has_no_token_to_predict_is_refused():
    with pytest.raises(ArgumentError, match="fewer than two tokens"):
        measurer(world.make_lm("gpt2"), collapse_texts=("w1",))
