"""Tuning: what it finds is what edits one by one do, by the definition of the metrics."""

import threading
from itertools import product

import pytest
import torch

import rome_widgets as rw
from rome_widgets.editing.methods import METHODS
from rome_widgets.editing.methods.editor import Editor, Found
from rome_widgets.errors import EditRefused, PromptError, SettingsError
from rome_widgets.evaluation import tune as module
from rome_widgets.evaluation.metrics import measure_record
from rome_widgets.evaluation.tune import tune
from rome_widgets.model.ledger import LowRank
from rome_widgets.records.metrics import EditMetrics, PromptScore, WordScore
from tests.helpers import world

SETTINGS = {"steps": 3, "stop_loss": 0.0, "prefixes": ((3, 2),), "first_words": ()}
CLAMPS = [{**SETTINGS, "clamp": clamp} for clamp in (0.3, 3.0)]


def record(number, **changes):
    subject = f"w{10 + number} w{15 + number}"
    return {
        "requested_rewrite": {
            "prompt": world.PROMPT,
            "subject": subject,
            "target_new": {"str": "w8"},
            "target_true": {"str": "w5"},
        },
        "paraphrase_prompts": [f"w1 {subject} w2", subject],
        "neighborhood_prompts": [f"w3 w6 w{20 + number} w5"],
    } | changes


RECORDS = [record(number) for number in range(4)]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROME_WIDGETS_CACHE", str(tmp_path / "cache"))


def tuned(lm, records=RECORDS, **changes):
    options = {"layers": [0, 1], "settings": CLAMPS, "second_moment": "identity"}
    return tune(lm, records, **options | {"keep": False, "progress": False} | changes)


@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_every_candidate_is_what_edits_one_by_one_do(name):
    lm = world.make_lm(name, torch.float64)
    found = tuned(lm)
    assert len(found.tried) == 4
    assert {len(each.total.records) for each in found.tried} == {4}  # all are in the first round
    for each in found.tried:
        for number, metrics in enumerate(each.total.records):
            change = rw.edit(
                lm,
                RECORDS[number],
                layer=each.layer,
                settings=each.settings,
                second_moment="identity",
                neighbors=(),
                progress=False,
            )
            with change:
                wanted = measure_record(lm, RECORDS[number])
            for (_, ours), (_, theirs) in zip(metrics, wanted, strict=True):
                assert ours[1] == pytest.approx(theirs[1], abs=1e-9)
                assert ours[0] == theirs[0]
    best = found.tried[0]
    takes = [each for each in found.tried if each.total.efficacy.success.value >= 0.99]
    assert best.total.score == max(each.total.score for each in takes or found.tried)
    assert (found.layer, found.settings) == (best.layer, best.settings)


def metrics_of(*, takes=True, carries_over=1.0):
    """A record whose edit takes, or not, and whose paraphrases follow, so many of a hundred."""
    said, other = WordScore(-0.1, 1.0), WordScore(-3.0, 0.0)
    yes, no = PromptScore(said, other), PromptScore(other, said)
    n = round(100 * carries_over)
    paraphrases = [yes] * n + [no] * (100 - n)
    of = {"efficacy": [yes if takes else no], "paraphrase": paraphrases, "neighborhood": [yes]}
    return EditMetrics.of(of)


@pytest.mark.parametrize(
    ("n_candidates", "n_records"), [(1, 1), (2, 3), (5, 40), (9, 64), (12, 10)]
)
def test_the_better_half_goes_on_and_the_best_sees_every_record(n_candidates, n_records):
    candidates = [module._Candidate(layer, None) for layer in range(n_candidates)]
    best = n_candidates - 1
    told, seen = [], []

    def measured(candidate, record):
        seen.append((candidate.layer, record))
        return metrics_of(carries_over=candidate.layer / n_candidates)

    found = module._halve(candidates, range(n_records), 0.99, measured, told.append)
    assert found[0].layer == best
    assert sorted(candidate.layer for candidate in found) == list(range(n_candidates))
    assert [n for layer, n in seen if layer == best] == list(range(n_records))
    edited = [len(candidate.metrics) for candidate in found]
    assert edited == sorted(edited, reverse=True)
    assert [(step.done, step.total) for step in told] == [
        (n + 1, len(seen)) for n in range(len(seen))
    ]
    if n_candidates > 4 and n_records >= 40:
        assert len(seen) <= 0.6 * n_candidates * n_records


def test_what_takes_goes_before_a_better_score_and_what_refuses_comes_last():
    def measured(candidate, record):
        if candidate.layer == 0:
            raise EditRefused("no")
        if candidate.layer == 1:  # S .97, yet one edit in ten does not take
            return metrics_of(takes=record > 0)
        return metrics_of(carries_over=0.8)

    candidates = [module._Candidate(layer, None) for layer in range(3)]
    found = module._halve(candidates, range(10), 0.99, measured, lambda step: None)
    assert [candidate.layer for candidate in found] == [2, 1, 0]
    assert (found[2].refused, len(found[2].metrics)) == ("no", 0)
    found = module._halve(
        [module._Candidate(layer, None) for layer in range(3)], range(10), 0.9, measured, print
    )
    assert [candidate.layer for candidate in found] == [1, 2, 0]


def test_what_is_kept_is_what_edits_go_by_from_then_on():
    lm = world.new_lm("gpt2", torch.float64)
    before = rw.edit(lm, RECORDS[0], second_moment="identity", progress=False).report
    found = tuned(lm, keep=True)
    again = world.new_lm("gpt2", torch.float64)  # as in another process
    report = rw.edit(again, RECORDS[0], second_moment="identity", progress=False).report
    assert (report.layer, report.settings["clamp"]) == (found.layer, found.settings["clamp"])
    assert "rome_widgets.tune, by 4 facts" in report.why_layer + report.settings_from
    told = rw.edit(again, RECORDS[0], second_moment="identity", layer=before.layer, progress=False)
    assert told.report.layer == before.layer
    other = rw.edit(lm, RECORDS[0], method="r-rome", second_moment="identity", progress=False)
    assert other.report.settings_from == before.settings_from


def test_what_was_not_to_be_kept_is_not():
    lm = world.new_lm("gpt2", torch.float64)
    assert tuned(lm).kept is None
    assert (
        rw.edit(lm, RECORDS[0], second_moment="identity", progress=False).report.settings["steps"]
        != SETTINGS["steps"]
    )


def test_by_itself_it_tries_what_the_method_proposes_at_layers_about_the_rule(monkeypatch):
    lm, asked = world.make_lm("gpt2", torch.float64), []
    monkeypatch.setattr(module, "_halve", lambda candidates, *rest: asked.extend(candidates) or [])
    with pytest.raises(IndexError):
        tune(lm, RECORDS, second_moment="identity", progress=False)
    own = METHODS["rome"].known(lm).settings.clamp
    clamps = {change.get("clamp", own) for change in METHODS["rome"].proposals}
    assert sorted((each.layer, each.settings.clamp) for each in asked) == sorted(
        product({each.layer for each in asked}, clamps)
    ), "none twice, though the method's own clamp is proposed by its number, too"


def test_methods_that_join_are_tuned_too():
    class Constant(Editor):
        title, changes, source = "Constant", "one matrix", "a test"

        def edit(self, task):
            site, why = task.choose_site()
            read, write = torch.ones(1, site.d_in), torch.ones(1, site.lm.geometry.d_model)
            return Found(
                [LowRank(site.weight_name, read, write, site.transposed)], (site.layer,), why
            )

    rw.register("constant", Constant())
    try:
        found = tune(
            world.make_lm("gpt2"), RECORDS, method="constant", layers=[0, 1], progress=False
        )
    finally:
        METHODS.pop("constant")
    assert [each.settings for each in found.tried] == [{}, {}]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"records": []}, SettingsError, "None of the 0 records has paraphrase_prompts"),
        ({"records": 5}, rw.RomeWidgetsError, "records is 5"),
        ({"records": [RECORDS[0], "a text"]}, PromptError, "no record of a fact"),
        (
            {"records": [record(0, paraphrase_prompts=[3])]},
            rw.RomeWidgetsError,
            "paraphrase_prompts",
        ),
        ({"records": [record(0, neighborhood_prompts=[])]}, SettingsError, "neighborhood_prompts"),
        ({"records": [rw.Fact("w3 {}", "w4", "w5")]}, PromptError, "names no new object"),
        (
            {"records": [{"prompt": "w3 {}", "subject": "w4", "target": "w5"}]},
            PromptError,
            "names no new object",
        ),
        ({"layers": []}, SettingsError, "no candidate"),
        ({"layers": [99]}, SettingsError, "no layer 99"),
        ({"settings": [{"clam": 1}]}, SettingsError, "no setting"),
        ({"method": "none"}, SettingsError, "no method"),
        ({"efficacy": 2}, SettingsError, "efficacy"),
        ({"seed": "x"}, SettingsError, "seed"),
    ],
)
def test_bad_input_is_told_before_anything_is_run(changes, error, words):
    lm = world.make_lm("gpt2", torch.float64)
    with pytest.raises(error, match=words):
        tuned(lm, **changes)


def test_records_may_lack_what_others_have():
    lm = world.make_lm("gpt2", torch.float64)
    some = [record(0, neighborhood_prompts=[]), record(1, paraphrase_prompts=[])]
    del some[0]["neighborhood_prompts"], some[1]["paraphrase_prompts"]
    found = tuned(lm, some, layers=[1], settings=CLAMPS[:1])
    assert found.tried[0].total.neighborhood.n_prompts == 1
    assert found.tried[0].total.paraphrase.n_prompts == 2


def test_a_cancel_keeps_nothing(tmp_path):
    lm, cancel = world.new_lm("gpt2", torch.float64), threading.Event()
    with pytest.raises(rw.Cancelled):
        tuned(lm, keep=True, cancel=cancel, progress=lambda step: cancel.set())
    assert not list((tmp_path / "cache").glob("tuned_settings/*"))


def test_a_model_that_cannot_be_edited_says_why(monkeypatch):
    def refuses(*args, **kwargs):
        raise EditRefused("the matrix is packed")

    monkeypatch.setattr(module, "edit", refuses)
    with pytest.raises(EditRefused, match=r"None of 4 candidates.*the matrix is packed"):
        tuned(world.make_lm("gpt2", torch.float64))
