"""The selected attention opened into its heads: in steps, stopped, gone with its trace."""

import json
import threading

import numpy as np
import pytest

from rome_widgets.errors import Cancelled, ModelChanged, StateError, UnsupportedModel
from rome_widgets.widgets import TraceExplorer
from tests.helpers.explorers import traced
from tests.helpers.fake_engine import CORRUPTED, FUJI, HEADS, fake_trace
from tests.helpers.waiting import PATIENCE, until
from tests.widgets.test_contract import interface

CELL = [(2, 6, "attn")]
SEVERAL = [(0, 6, "attn"), (2, 6, "attn"), (7, 6, "attn")]
APART = UnsupportedModel("The attention of this model cannot be taken apart.", "Heads.", "None.")


def shown(explorer):
    """`[position, head]`, as the page is told."""
    heads = explorer._heads
    return np.frombuffer(heads["scores"], "<f4").reshape(len(heads["positions"]), -1)


def page(explorer, op, **more):
    explorer.set_state({"_request": {"id": 1, "op": op}, **more})


def test_the_selected_attention_opens_into_its_heads(explorer, engine):
    explorer.selection = [*SEVERAL, (2, 3, "mlp")]  # other kinds beside it do not matter
    heads = explorer.open_heads(wait=True)
    assert engine.opened == [(6, (0, 2, 7))]
    rises = fake_trace().indirect_effect("attn")[[0, 2, 7], 6]
    assert heads.scores == pytest.approx(CORRUPTED + rises[:, None] * np.array(HEADS))
    assert explorer.heads is heads
    assert (explorer._heads["layer"], explorer._heads["positions"]) == (6, [0, 2, 7])
    assert explorer._heads["running"] is False
    assert np.array_equal(shown(explorer), heads.scores.astype("f4"))
    assert set(explorer._heads) == interface("HeadsInfo")


def test_the_page_opens_the_heads_of_what_it_selects_in_the_same_message(explorer, engine):
    page(explorer, "heads", selection=[list(cell) for cell in CELL])
    assert explorer.wait(PATIENCE)
    assert engine.opened == [(6, (2,))]
    assert explorer.heads.positions == (2,)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        ([], "No attention"),
        ([(2, 6, "mlp")], "No attention"),
        ([(2, 6, "attn"), (2, 5, "attn")], "Attention of 2 layers"),
    ],
)
def test_what_is_no_attention_of_one_layer_is_refused(explorer, engine, cells, found):
    explorer.selection = cells
    assert explorer.wait(PATIENCE)
    with pytest.raises(StateError, match=found):
        explorer.open_heads()
    page(explorer, "heads")
    assert explorer.error["cause"] == "heads"
    assert found in explorer.error["found"]
    assert explorer._heads == {}
    assert engine.opened == []


def test_heads_so_far_are_shown_and_stay_when_they_are_stopped(explorer, engine):
    explorer.selection = SEVERAL
    assert explorer.wait(PATIENCE)
    engine.slow = True
    explorer.open_heads()
    assert explorer._heads["running"] is True
    assert explorer._heads["scores"] == b""
    assert explorer.heads is None
    engine.step.set()
    until(lambda: explorer.heads)
    assert np.isnan(explorer.heads.scores).sum(axis=1).tolist() == [0, 4, 4]
    assert explorer._heads["running"] is True
    assert "strongest head of attention layer 6 so far: head " in explorer.to_text()
    page(explorer, "stop_heads")
    assert explorer.wait(PATIENCE)
    assert explorer._heads["running"] is False
    assert np.isnan(shown(explorer)).sum() == 8
    assert explorer.error is None
    json.dumps(explorer.get_state(), default=bytes.hex, allow_nan=False)


def test_whoever_waits_for_stopped_heads_is_told_and_gets_those_so_far(explorer, engine):
    explorer.selection = SEVERAL
    assert explorer.wait(PATIENCE)
    engine.slow, raised = True, []

    def wait():
        with pytest.raises(Cancelled, match="heads was stopped") as caught:
            explorer.open_heads(wait=True)
        raised.append(caught.value)

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: engine.opened)
    engine.step.set()
    until(lambda: explorer.heads)
    explorer.stop_heads()
    waiting.join(PATIENCE)
    assert raised[0].partial is explorer.heads


def test_heads_that_never_began_are_put_away_when_stopped(explorer, engine):
    engine.restore_gate.clear()
    explorer.selection = CELL
    until(lambda: explorer._worker._running)
    explorer.open_heads()
    explorer.stop_heads()
    assert explorer._heads == {}
    engine.restore_gate.set()
    assert explorer.wait(PATIENCE)
    assert engine.opened == []


@pytest.mark.parametrize("slow", [False, True])
def test_heads_are_put_away_also_while_they_run(explorer, engine, slow):
    explorer.selection = CELL
    assert explorer.wait(PATIENCE)
    engine.slow = slow
    explorer.open_heads()
    until(lambda: engine.opened)
    page(explorer, "close_heads")
    assert explorer.wait(PATIENCE)
    assert (explorer._heads, explorer.heads, explorer.error) == ({}, None, None)


def test_clicks_are_answered_while_heads_are_restored(explorer, engine):
    explorer.selection = CELL
    assert explorer.wait(PATIENCE)
    engine.slow = True
    explorer.open_heads()
    explorer.selection = [(2, 3, "mlp")]
    until(lambda: explorer._restoration.get("selection") == [[2, 3, "mlp"]])
    assert explorer._heads["running"] is True


def test_other_heads_supersede_those_under_way(explorer, engine):
    explorer.selection = CELL
    assert explorer.wait(PATIENCE)
    engine.slow = True
    explorer.open_heads()
    until(lambda: engine.opened)
    explorer.selection = SEVERAL[:1]
    engine.slow = False
    explorer.open_heads(wait=True)
    assert explorer._heads["positions"] == [0]
    assert explorer.heads.positions == (0,)


@pytest.mark.parametrize(
    "form",
    [{"prompt": FUJI, "subject": "Mount Fuji"}, {"answer": " Paris"}, {"metric": "logprob"}],
)
def test_heads_go_with_their_trace(explorer, form):
    explorer.selection = CELL
    explorer.open_heads(wait=True)
    traced(explorer, **form)
    assert (explorer._heads, explorer.heads) == ({}, None)
    assert "head" not in explorer.to_text()


def test_a_run_stops_heads_of_the_trace_before_it(explorer, engine):
    explorer.selection = CELL
    assert explorer.wait(PATIENCE)
    engine.slow = True
    explorer.open_heads()
    until(lambda: engine.opened)
    explorer.noise = 5
    explorer.run()
    until(lambda: explorer.status == "running")
    engine.slow = False
    assert explorer.wait(PATIENCE)
    assert explorer.status == "done"
    assert explorer._heads == {}


def test_tracing_the_same_again_keeps_them(explorer, engine):
    explorer.selection = CELL
    heads = explorer.open_heads(wait=True)
    explorer.run(wait=True)
    assert explorer.heads is heads
    assert len(engine.opened) == 1


def test_heads_of_a_model_that_was_edited_meanwhile_are_refused(explorer, engine):
    explorer.retrace = False
    explorer.selection = CELL
    assert explorer.wait(PATIENCE)
    engine.slow = True
    explorer.open_heads()
    until(lambda: engine.opened)
    engine.edit(0.5)
    engine.slow = False
    assert explorer.wait(PATIENCE)
    assert (explorer._heads, explorer.error["type"]) == ({}, "ModelChanged")
    with pytest.raises(ModelChanged, match="Trace again"):
        explorer.open_heads()


def test_an_attention_that_cannot_be_taken_apart_is_said_in_words(explorer, engine):
    explorer.selection = CELL
    assert explorer.wait(PATIENCE)
    engine.broken = APART
    with pytest.raises(UnsupportedModel):
        explorer.open_heads(wait=True)
    assert (explorer.error["cause"], explorer.error["found"]) == ("heads", APART.found)
    assert (explorer._heads, explorer.heads) == ({}, None)
    engine.broken = None
    explorer.open_heads(wait=True)
    assert explorer.error is None


def test_without_a_trace_there_are_no_heads(engine):
    explorer = TraceExplorer(engine, selection=CELL)
    with pytest.raises(StateError, match="Nothing is traced"):
        explorer.open_heads()


def test_text_and_tables_name_them(explorer):
    explorer.selection = SEVERAL
    heads = explorer.open_heads(wait=True)
    pos, head, score = heads.strongest()
    word = explorer.trace.tokens[pos].strip()
    said = f"strongest head of attention layer 6: head {head} at “{word}” → {score:.4f}"
    assert explorer.to_text().endswith(said)
    table = explorer.to_html_table()
    assert table.endswith(heads._repr_html_())
    assert f"{heads.scores[1, 1]:.4f}" in table
