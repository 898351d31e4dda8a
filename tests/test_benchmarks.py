"""The benchmarks run, and the naive way they compare with is right; no time is judged here."""

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import rome_widgets as rw
from benchmarks import (
    gpu,
    jobs,
    memory,
    naive,
    paper,
    plan,
    real_models,
    sweep,
    threads,
    trace,
    workers,
)
from benchmarks.jobs import Job, Shape
from rome_widgets import bundled
from tests.helpers import reference, tiny
from tests.helpers.counts import pairs
from tests.helpers.model_guard import settle

TINY = Shape(5, 8, 2, vocabulary=99)
SHAPES = {"gpt2": TINY, "gptj": gpu.TINY["gpt-j"]}
STATES = {
    "hidden": [(4, 2, "hidden")],
    "a window": naive.cell_states(4, 1, "mlp", 3, 5),
    "mixed": [(2, 1, "attn"), (5, 3, "mlp"), (11, 2, "hidden")],
    "none": [],
}


@pytest.mark.parametrize(("way", "states", "shape"), pairs(trace.WAYS, STATES, SHAPES))
def test_the_naive_ways_are_those_of_the_reference(way, states, shape):
    way, states, shape = trace.WAYS[way], STATES[states], SHAPES[shape]
    lm = jobs.make_lm(shape, dtype=torch.float64)
    with torch.no_grad():
        for weight in lm.model.parameters():
            weight *= 20 if weight.ndim == 2 else 1  # so that every state matters
    settle()
    job = Job(lm)
    noise = torch.from_numpy(job.noise)
    wanted = reference.restored(job.lm.model, tiny.NAMES["gpt2"], job.ids, job.span, noise, states)
    found = job.naive(way).cell(states)
    assert float((found.double() - wanted).abs().max()) <= 1e-6
    untouched = reference.restored(job.lm.model, tiny.NAMES["gpt2"], job.ids, job.span, noise)
    assert not states or float((wanted - untouched).abs().max()) > 1e-4


def test_windows_are_those_of_the_reference():
    for layer in range(12):
        states = naive.cell_states(3, layer, "attn", 10, 12)
        assert [state[1] for state in states] == list(reference.window(layer, 10, 12))


def test_a_grid_is_compared_cell_by_cell(capsys):
    gate = trace.grid_gate(TINY, (1, 5), trace.Counts(repetitions=2, cells=2, clicks=1))
    assert gate["median"] > 0
    assert [run["naive cells measured"] for run in gate["runs"]] == [6, 6]
    assert capsys.readouterr().out.count("from 6 cells") == 2


def test_a_grid_that_is_off_fails_the_benchmark(monkeypatch):
    way = naive.Published.cell
    monkeypatch.setattr(naive.Published, "cell", lambda self, states: way(self, states) + 2e-6)
    with pytest.raises(AssertionError, match="the two ways differ"):
        trace.grid_gate(TINY, (1, 5), trace.Counts(1, 1, 1))


def test_a_click_is_compared_with_one_pass():
    gate = trace.click_gate(TINY, 4, 2, trace.Counts(1, 1, clicks=3))
    assert len(gate["runs"]) == 3


def test_a_job_is_the_same_prompt_for_both_ways():
    job = Job(jobs.make_lm(TINY), span=(5, 9), seed=3)
    tracer = job.tracer()
    assert list(tracer.token_ids) == job.ids
    assert tracer.subject_span == (5, 9)
    assert tracer.samples == jobs.SAMPLES
    assert tracer.window == jobs.WINDOW


def test_jobs_of_other_seeds_are_other_prompts_and_noise():
    lm = jobs.make_lm(TINY)
    first, second = Job(lm, seed=1), Job(lm, seed=2)
    assert first.ids != second.ids
    assert not np.allclose(first.noise, second.noise)


def test_the_memory_formula_by_hand():
    tracer = Job(jobs.make_lm(TINY)).tracer()
    assert memory.tokens_per_call(tracer) == tracer.lm.tokens_per_call > 15 * 10 * 11 / 2
    parts = memory.bytes_by_formula(tracer)
    assert parts["call"] == pytest.approx(4 * 8 * 1024 * (22 + 24 / 11))
    assert parts["wave"] == 2 * 4 * 8 * 15 * 10 * 11
    assert parts["unembedding"] == 150 * 99 * 12 + 4 * 15 * 99
    assert parts["kept"] == 4 * 11 * 12 * 5 * (8 + 16) + 3 * 4 * 12 * 8 * 5


@pytest.mark.parametrize("model", gpu.MODELS)
def test_the_gpu_benchmark_runs_on_tiny_shapes(model, tmp_path):
    out = tmp_path / "gpu.jsonl"
    small = ["--tiny", "--out", str(out), "--model", model, "--precision", "float32"]
    assert gpu.main(small) == 0
    (row,) = map(json.loads, out.read_text().splitlines())
    assert {"grid ratio", "click p95 ms", "worst click ms", "edit s"} <= row.keys()
    assert (row["model"], row["engine"], row["complaints"]) == (model, "replay", [])
    assert row["largest difference"] <= 1e-6 < 0.05 <= row["range of scores"]


def test_what_is_wrong_or_late_on_a_gpu_is_a_row_and_an_exit_status(tmp_path, monkeypatch):
    out = tmp_path / "gpu.jsonl"
    small = ["--tiny", "--out", str(out), "--model", "gpt-j", "--precision", "float32"]
    way = naive.Published.cell
    monkeypatch.setattr(naive.Published, "cell", lambda self, states: way(self, states) + 1e-3)
    assert gpu.main(small) == 1
    monkeypatch.setattr(gpu, "sharpened", lambda model: model)
    assert gpu.main(small) == 1
    monkeypatch.setattr(naive.Published, "cell", None)
    assert gpu.main(small) == 1
    assert gpu.main([*small, "--seconds", "0"]) == 0
    off, flat, broken, late = map(json.loads, out.read_text().splitlines())
    assert "off by 0.001" in off["complaints"][0]
    assert "they gate nothing" in flat["complaints"][0]
    assert "TypeError" in broken["complaints"][0]
    assert late["not measured"] == "0 s were over"


def test_without_a_gpu_the_floors_are_said(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main([]) == 0
    out = capsys.readouterr().out
    assert "30 times" in out
    assert "20 ms" in out


def test_ways_of_using_threads_are_compared_and_leave_the_number_as_it_was():
    before, seen = torch.get_num_threads(), []
    with threads.beside(1):
        found = threads.compared(lambda: seen.append(torch.get_num_threads()), 2, 1)
    assert list(found) == ["one thread", "torch's threads", "as we do"]
    assert seen == [1, 1, 2, 2, 2, 2]
    assert torch.get_num_threads() == 2
    torch.set_num_threads(before)


def test_what_a_real_model_costs_is_measured_on_any(capsys):
    quick = ["--draws", "1", "--statistics", "identity"]
    assert real_models.main([str(bundled.folder()), *quick]) == 0
    said = capsys.readouterr().out
    for step in ("load and attach", "trace, 1 draws", "click, 1 draws", "first edit of a layer"):
        assert float(said.split(step)[1].split()[0]) > 0


def test_a_sweep_is_compared_with_traces_one_after_the_other(bundled_lm, monkeypatch):
    facts = sweep.facts_of_all_relations(50)
    assert len(facts) == 50
    assert min(sweep.compare(bundled_lm, facts[:2], 1)) > 0
    monkeypatch.setattr(sweep, "APART", -1)
    with pytest.raises(AssertionError, match="apart"):
        sweep.compare(bundled_lm, facts[:1], 1)


def test_a_plan_is_compared_with_what_is_run(capsys, monkeypatch):
    monkeypatch.setattr(plan.unit_costs, "clock", plan.unit_costs.clock)  # main() puts another
    plan.main(["--quick"])
    assert capsys.readouterr().out.count("planned") == 2


def test_two_workers_are_compared_with_one_and_do_the_same(bundled_lm):
    facts = sweep.facts_of_all_relations(50)[:2]
    seconds = workers.compare(bundled_lm, facts, 2, ThreadPoolExecutor)
    assert {n: len(each) for n, each in seconds.items()} == {1: 2, 2: 2}
    other = rw.sweep(bundled_lm, facts, samples=workers.DRAWS, seed=5, known_only=False)
    same = rw.sweep(bundled_lm, facts, samples=workers.DRAWS, known_only=False)
    with pytest.raises(AssertionError, match="differs"):
        workers.check_same(same, other)


PARTS = ("Figure 1", "Figure 2", "Figure 3", "Figure 5", "Table 1", "Table 4")


def test_the_papers_figures_are_made_and_gone_on_with(monkeypatch, tmp_path):
    facts = rw.datasets.bundled("test")[:12]
    monkeypatch.setattr(rw.datasets, "bundled", lambda split=None: facts)
    monkeypatch.setattr(paper, "GENERATED", 12)
    few = "--facts 2 --draws 1 --records 1 --methods ft --layers 3"
    arguments = ["bundled", "--out", str(tmp_path), *few.split()]
    assert paper.main(arguments) == 0
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert [page.count(f"<h2>{name}") for name in PARTS] == [1] * len(PARTS)
    assert page.count("<img") == 6
    table = (tmp_path / "table_4.csv").read_text(encoding="utf-8").splitlines()
    assert [line.partition(",")[0] for line in table] == ["editor", "none", "ft"]
    logs = {path: path.read_bytes() for path in tmp_path.rglob("*.log")}
    assert len(logs) == 3
    monkeypatch.setattr(rw.datasets, "known_to", None)  # asked once for all
    assert paper.main(arguments) == 0
    assert {path: path.read_bytes() for path in logs} == logs
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == page
