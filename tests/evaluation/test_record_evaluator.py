"""Records that are edited and measured in other processes give the rows that they give here."""

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

import rome_widgets as rw
from rome_widgets.errors import ArgumentError, OutOfMemory, StaysHere, WorkersLost
from rome_widgets.evaluation import evaluate as module
from rome_widgets.model.recipe import ModelRecipe
from rome_widgets.records.fact_record import FactRecord
from tests.helpers import world
from tests.helpers.counts import FULL
from tests.helpers.executors import KILL, Dying, cluster, pool

RECORDS = [
    FactRecord(world.PROMPT, f"w{10 + n} w{15 + n}", "w5", target_new="w8") for n in range(4)
]
OPTIONS = {
    "methods": ["rome", "ft"],
    "layer": 1,
    "settings": {
        "rome": {"steps": 2, "prefixes": ((3, 2),), "first_words": ()},
        "ft": {"steps": 2},
    },
    "second_moment": "identity",
    "collapse_texts": ["w3 w4 w5"],
    "progress": False,
}
LOG = "evaluation.log"


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    """A model that every process can load."""
    folder = tmp_path_factory.mktemp("model")
    world.new_lm("gpt2").save_pretrained(folder)
    return rw.load(folder, device="cpu")


def without_seconds(rows):
    return [replace(row, edit_seconds=0, measure_seconds=0) for row in rows]


@pytest.mark.parametrize("executor_of", [pool, cluster] if FULL else [pool])
def test_rows_are_the_same_when_a_worker_is_killed(loaded, executor_of, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "RECORDS_SENT", 1)
    whole = rw.evaluate(loaded, RECORDS, **OPTIONS)
    with executor_of() as (executor, workers):

        def kill(step):
            if step.done == 4:
                os.kill(workers()[0], KILL)

        options = OPTIONS | {"progress": kill, "executor": executor, "path": tmp_path}
        found = rw.evaluate(loaded, RECORDS, **options)
    assert not any(row.failed for row in found.rows)
    assert without_seconds(found.rows) == without_seconds(whole.rows)
    assert len((tmp_path / LOG).read_bytes().splitlines()) == 1 + 3 * len(RECORDS)


def test_a_record_that_workers_die_of_is_recorded_and_the_others_are_measured(loaded):
    deadly = RECORDS[1]
    executor = Dying(lambda call, some: any(asked.record is deadly for asked in some))
    found = rw.evaluate(loaded, RECORDS, executor=executor, **OPTIONS)
    wanted = rw.evaluate(loaded, RECORDS, **OPTIONS)
    assert [row.number for row in found.rows if row.failed] == [1, 1, 1]
    assert "worker died" in found.rows[3].reason
    rest = [row for row in wanted.rows if row.number != 1]
    assert without_seconds(row for row in found.rows if row.number != 1) == without_seconds(rest)
    odd = rw.evaluate(loaded, [*RECORDS[2:], deadly], executor=executor, **OPTIONS)
    assert [row.number for row in odd.rows if row.failed] == [2, 2, 2]
    with pytest.raises(WorkersLost):
        rw.evaluate(loaded, RECORDS[:2], executor=Dying(lambda *call: True), **OPTIONS)


def test_a_process_edits_a_model_that_no_sweep_there_has(loaded, monkeypatch):
    from rome_widgets.evaluation import measured_record

    edits, ask = [], measured_record.ask
    monkeypatch.setattr(
        measured_record,
        "ask",
        lambda lm, *a: edits.append((len(lm.edits), len(swept.edits), lm.name)) or ask(lm, *a),
    )
    swept = ModelRecipe.of(loaded).model()
    options = OPTIONS | {"executor": Dying(lambda *call: False), "seed": 5}
    rw.evaluate(loaded, RECORDS[:1], **options)
    assert edits == [(1, 0, loaded.name)] * 2


def test_a_shortage_of_memory_is_called_so_elsewhere_too(loaded, monkeypatch):
    from rome_widgets.evaluation import measured_record

    def lacking(*_):
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(measured_record, "ask_before", lacking)
    with pytest.raises(OutOfMemory):
        rw.evaluate(loaded, RECORDS, executor=Dying(lambda *call: False), **OPTIONS)


def test_a_file_of_statistics_is_sent_by_its_whole_path(loaded, tmp_path, monkeypatch):
    rw.second_moment(loaded, ["w3 w4 w5 w6"] * 9, layers=1, path=tmp_path / "a.safetensors")
    monkeypatch.chdir(tmp_path)
    executor = Dying(lambda *call: False)
    for name in ("a.safetensors", "b.safetensors"):  # moved: an evaluator that is kept is not asked
        options = OPTIONS | {"second_moment": name, "executor": executor}
        found = rw.evaluate(loaded, RECORDS[:1], **options)
        assert not any(row.failed for row in found.rows), found.rows[1].reason
        os.replace("a.safetensors", "b.safetensors") if name[0] == "a" else None
    assert [call.args[1].editing["second_moment"] for call in executor.calls] == [
        str(tmp_path / "a.safetensors"),
        str(tmp_path / "b.safetensors"),
    ]


def test_the_unedited_model_is_measured_once_in_a_process(loaded, monkeypatch):
    from rome_widgets.evaluation import measured_record

    asked, before = [], measured_record.ordinary_text
    monkeypatch.setattr(measured_record, "ordinary_text", lambda *a: asked.append(a) or before(*a))
    options = OPTIONS | {"seed": 3}  # of which this process has nothing yet
    rw.evaluate(loaded, RECORDS, executor=Dying(lambda *call: False), **options)
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"mode": "sequential"}, ArgumentError, "all of one model"),
        ({"executor": "threads"}, ArgumentError, "one edit at a time"),
        ({"executor": 2}, ArgumentError, "get_executor"),
        ({"lm": "made here"}, StaysHere, "made in memory"),
    ],
)
def test_what_cannot_be_sent_is_refused(loaded, options, error, words):
    executor = Dying(lambda *call: False)
    given = {"lm": loaded, "executor": executor} | OPTIONS | options
    given["lm"] = world.make_lm("gpt2") if given["lm"] == "made here" else loaded
    with ThreadPoolExecutor(1) as threads:
        if given["executor"] == "threads":
            given["executor"] = threads
        with pytest.raises(error, match=words):
            rw.evaluate(given.pop("lm"), RECORDS, **given)
    assert executor.asked == []
