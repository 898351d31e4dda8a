"""A sweep is its facts' traces, one by one; what cannot be traced is told and ends nothing."""

import os
import random
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import (
    ArgumentError,
    Cancelled,
    ModelChanged,
    NoiseError,
    RunChanged,
    SaveFailed,
    StateError,
)
from rome_widgets.evaluation import sweep as module
from rome_widgets.model.progress_bar import Bar
from tests.helpers import swept, tiny
from tests.helpers.counts import SWEEP_KILLS
from tests.helpers.gates import write_gate
from tests.helpers.swept import FACTS, check_equal, make_lm, same, sweep, trace

NAME = "sweep.log"


def test_every_cell_is_that_of_a_trace_of_the_fact_alone():
    lm = make_lm()
    check_equal(lm, sweep(lm))


def test_whole_passes_give_the_same_sweep():
    lm = make_lm(engine="whole passes")
    check_equal(make_lm(), sweep(lm, FACTS[1:2], kinds="mlp"), FACTS[1:2], kinds="mlp")


def test_facts_that_the_model_does_not_know_are_left_out_and_counted():
    lm = make_lm()
    says = [trace(lm, fact, kinds="hidden").answer.strip() for fact in FACTS[:2]]
    other = next(word for word in ("w1", "w2") if word != says[1])
    facts = [(*FACTS[0], says[0]), (*FACTS[1], other)]
    found = sweep(lm, facts, kinds="hidden")
    assert [fact.status for fact in found.facts] == ["traced", "unknown"]
    assert found.facts[1].answer.strip() == says[1]
    assert other in found.facts[1].reason
    assert found.total_effect.n == 1
    none = sweep(lm, [facts[1], facts[1]], severed=True)
    assert [fact.status for fact in none.facts] == ["unknown"] * 2
    everything = sweep(lm, facts, kinds="hidden", known_only=False)
    check_equal(lm, everything, FACTS[:2], kinds="hidden")
    targets = sweep(lm, facts, kinds="hidden", known_only=False, answer="target")
    assert [fact.answer.strip() for fact in targets.facts] == [says[0], other]
    alone = trace(lm, FACTS[1], kinds="hidden", answer=other)
    np.testing.assert_allclose(targets.facts[1].scores["hidden"], alone.scores["hidden"], atol=1e-5)


def test_the_bar_is_told_what_is_planned_and_no_plan_ends_a_sweep(monkeypatch):
    lm, told = make_lm(), []
    options = {"facts": FACTS[:2], "kinds": "mlp", "progress": None}
    monkeypatch.setattr(
        Bar, "expect", lambda bar, *seconds_and_total: told.append(seconds_and_total)
    )
    plain = sweep(lm, **options)
    with ThreadPoolExecutor(1) as threads:
        sweep(lm, executor=threads, **options)
    for error in (ZeroDivisionError, Cancelled):

        def fail(*args, error=error, **options):
            raise error("no plan")

        monkeypatch.setattr(module, "plan_traces", fail)
        if error is Cancelled:
            with pytest.raises(Cancelled):
                sweep(lm, **options)
        else:
            assert same(sweep(lm, **options), plain)
    assert told[0][0] > 0
    assert told[1:] == [(0, 2)] * 2


def test_a_fact_that_cannot_be_traced_is_recorded_with_its_reason():
    lm = make_lm()
    facts = [
        FACTS[0],
        ("w3 w5", "w9"),  # not in it
        ("w3 " * 40 + "w5", "w5"),  # too long
        {"no": "fact"},
        None,
        FACTS[1],
    ]
    found = sweep(lm, facts, kinds="mlp", answer="top")
    statuses = [fact.status for fact in found.facts]
    assert statuses == ["traced", "failed", "failed", "failed", "failed", "traced"]
    for fact, words in zip(found.failed, ("w9", "16", "state a fact", "subject"), strict=True):
        assert words in fact.reason
    no_target = sweep(lm, FACTS[:1], kinds="mlp", known_only=False, answer="target").facts[0]
    assert (no_target.status, "target" in no_target.reason) == ("failed", True)


def test_a_difference_of_logits_is_that_of_the_two_objects_of_a_record():
    lm = make_lm()
    rewrite = {
        "prompt": "w3 {} w9",
        "subject": "w14 w15",
        "target_true": {"str": "w5"},
        "target_new": {"str": "w8"},
    }
    facts = [{"requested_rewrite": rewrite}, FACTS[1], {"requested_rewrite": rewrite}]
    options = {"kinds": "mlp", "metric": "logit_difference"}
    found = sweep(lm, facts, answer="target", known_only=False, **options)
    assert [fact.status for fact in found.facts] == ["traced", "failed", "traced"]
    alone = trace(lm, facts[0], answer="w5", against="w8", **options)
    np.testing.assert_allclose(
        found.facts[0].scores["mlp"], alone.scores["mlp"], atol=1e-4, rtol=1e-5
    )


def test_severed_bars_are_those_of_a_severed_tracer():
    lm = make_lm()
    found = sweep(lm, FACTS[:2], kinds="hidden", severed=True)
    for given, fact in zip(FACTS, found.facts, strict=False):
        args = given if isinstance(given, tuple) else (given,)
        tracer = rw.CausalTracer(lm, *args, **swept.QUICK)
        last = tracer.subject_span[1] - 1
        for kind in ("mlp", "attn"):
            cut = tracer.sever(kind)
            wanted = [cut.restore([(last, layer, "hidden")]).score for layer in range(lm.n_layers)]
            np.testing.assert_allclose(fact.severed[kind], wanted, atol=1e-5)
            assert np.ptp(wanted) > 1e-3
    bars = found.severed_effects()
    assert list(bars) == [None, "mlp", "attn"]
    np.testing.assert_allclose(bars["mlp"].mean[0, -1], bars[None].mean[0, -1], atol=1e-5)
    with pytest.raises(StateError, match="'hidden' was wanted"):
        sweep(lm, kinds="mlp", severed=True)


def test_another_subject_may_stand_in_where_it_has_as_many_tokens():
    lm = make_lm()
    found = sweep(lm, FACTS, kinds="mlp", noise=rw.Subject("w20 w21"))
    assert [fact.status for fact in found.facts].count("traced") == 2
    assert "were wanted" in found.failed[0].reason
    alone = trace(lm, FACTS[0], kinds="mlp", noise=rw.Subject("w20 w21"))
    np.testing.assert_allclose(found.facts[0].scores["mlp"], alone.scores["mlp"], atol=1e-5)
    assert (found.samples, found.seed) == (1, None)


def test_a_sweep_goes_on_from_its_log_bit_for_bit(tmp_path, monkeypatch):
    lm = make_lm()
    monkeypatch.setattr(module, "MOST_FACTS", 2)
    whole = sweep(lm, kinds="hidden", path=tmp_path / "whole")
    assert same(rw.load_sweep(tmp_path / "whole"), whole)
    lines = (tmp_path / "whole" / NAME).read_bytes().splitlines(keepends=True)
    assert len(lines) == 1 + len(FACTS)
    traced, batch = [], module.trace_batch
    monkeypatch.setattr(
        module,
        "trace_batch",
        lambda lm, facts, *how: traced.append(facts) or batch(lm, facts, *how),
    )
    for n_facts, n_batches in ((1, 3), (4, 1)):
        folder = tmp_path / str(n_facts)
        folder.mkdir()
        torn = lines[n_facts + 1][:-9]
        (folder / NAME).write_bytes(b"".join(lines[: n_facts + 1]) + torn)
        traced.clear()
        assert same(sweep(lm, kinds="hidden", path=folder), whole)
        assert len(traced) == n_batches
        assert sorted((folder / NAME).read_bytes().splitlines(keepends=True)) == sorted(lines)


def killed_at(lm, folder, at):
    """Sweep in a process of its own that is killed at one of its calls of the system: a write
    half done, or before what was written is flushed. Returns how that ended."""
    process = os.fork()
    if process:
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    count = 0

    def dying(call, half):
        def made(file, *data):
            nonlocal count
            count += 1
            if count == at:
                half(file, *data)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(file, *data)

        return made

    try:
        write = os.write
        os.write = dying(write, lambda file, data: write(file, data[: len(data) // 2]))
        os.fsync = dying(os.fsync, lambda file: None)
        sweep(lm, kinds="hidden", path=folder)
    finally:
        os._exit(3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork on Windows")
def test_whenever_it_is_killed_no_fact_is_lost_or_doubled(tmp_path, monkeypatch):
    lm = make_lm()
    monkeypatch.setattr(module, "MOST_FACTS", 2)
    whole = sweep(lm, kinds="hidden", path=tmp_path / "whole")
    wanted = (tmp_path / "whole" / NAME).read_bytes()
    calls = 2 * (1 + len(FACTS)) + 1  # a write and a flush for each line; the folder's own
    for number in range(SWEEP_KILLS):
        at, folder = 1 + random.Random(number).randrange(calls), tmp_path / str(number)
        assert killed_at(lm, folder, at) == -signal.SIGKILL
        acknowledged = max(0, at - 4) // 2
        kept = (folder / NAME).read_bytes()
        assert kept.count(b"\n") >= min(acknowledged, len(FACTS))
        assert wanted.startswith(kept)
        assert same(sweep(lm, kinds="hidden", path=folder), whole)
        assert (folder / NAME).read_bytes() == wanted
    write_gate("killed_sweeps", {"sweeps killed": SWEEP_KILLS, "facts lost": 0, "facts doubled": 0})


def test_a_log_of_something_else_is_refused_and_left_alone(tmp_path):
    lm = make_lm()
    sweep(lm, FACTS[:1], kinds="mlp", path=tmp_path)
    before = (tmp_path / NAME).read_bytes()
    other = tiny.tiny_lm("gpt2", scale=40, seed=1)
    for call, what in (
        (lambda: sweep(lm, FACTS[:1], kinds="mlp", seed=2, path=tmp_path), "settings.seed"),
        (lambda: sweep(lm, FACTS[1:2], kinds="mlp", path=tmp_path), "facts"),
        (lambda: sweep(other, FACTS[:1], kinds="mlp", path=tmp_path), "model"),
    ):
        with pytest.raises(RunChanged, match=what):
            call()
    assert (tmp_path / NAME).read_bytes() == before


def test_a_cancel_keeps_what_was_done_and_is_gone_on_from(tmp_path, monkeypatch):
    lm, stop = make_lm(), threading.Event()
    monkeypatch.setattr(module, "MOST_FACTS", 2)
    seen = []

    def heard(step):
        seen.append((step.done, step.total))
        stop.set()

    with pytest.raises(Cancelled) as caught:
        sweep(lm, kinds="mlp", path=tmp_path, progress=heard, cancel=stop)
    assert seen == [(2, len(FACTS))]
    assert len(caught.value.partial.facts) == 2
    assert same(sweep(lm, FACTS, kinds="mlp", path=tmp_path), sweep(lm, kinds="mlp"))
    with pytest.raises(Cancelled) as caught:
        sweep(lm, kinds="mlp", cancel=stop)
    assert caught.value.partial is None


def test_a_model_that_is_written_meanwhile_ends_it_and_nothing_of_that_is_kept(tmp_path):
    lm = tiny.tiny_lm("gpt2", scale=40)
    weight = next(lm.model.parameters())

    class Writer:
        def is_set(self):
            with torch.no_grad():
                weight.mul_(1.01)
            return False

    before = weight.detach().clone()
    with pytest.raises(ModelChanged):
        sweep(lm, FACTS[:2], kinds="mlp", path=tmp_path, cancel=Writer())
    with torch.no_grad():
        weight.copy_(before)
    assert len((tmp_path / NAME).read_bytes().splitlines()) == 1


def test_bad_arguments_are_refused_before_anything_runs():
    lm = make_lm()
    for error, options in (
        (ArgumentError, {"facts": []}),
        (ArgumentError, {"facts": "w3 w5"}),
        (ArgumentError, {"facts": FACTS[2]}),
        (ArgumentError, {"answer": "w5"}),
        (ArgumentError, {"metric": "loss"}),
        (NoiseError, {"noise": np.zeros((2, 2, 8))}),
        (NoiseError, {"samples": 0}),
        (StateError, {"window": 0}),
        (StateError, {"kinds": "attention"}),
        (SaveFailed, {"path": "a\0b"}),
    ):
        with pytest.raises(error):
            sweep(lm, **{"facts": FACTS, **options})
