"""Path, flow and lens of the explorer: asked for when shown, latest wins, gone with their trace."""

import gc
import json
import threading
import weakref

import numpy as np
import pytest

from rome_widgets.errors import Cancelled, ModelChanged, RomeWidgetsError, StateError
from rome_widgets.widgets import TraceExplorer
from tests.helpers.fake_engine import CLEAN, CORRUPTED, FUJI, PROMPT, SUBJECT
from tests.helpers.waiting import PATIENCE, until
from tests.widgets.test_contract import interface

NEEDLE = [(2, 4, "hidden")]


def grids(flow, name):
    """`[kind, pos, layer]`"""
    return np.frombuffer(flow[name], "<f4").reshape(len(flow["kinds"]), 8, 8)


class TestPages:
    def test_nothing_is_asked_for_while_the_grid_is_shown(self, explorer, engine):
        explorer.selection = NEEDLE
        assert explorer.wait(PATIENCE)
        assert engine.flows == engine.lenses == []
        assert explorer._flow == explorer._lens == {}

    def test_a_page_is_asked_for_when_it_is_turned_to_and_after_each_restoration(
        self, explorer, engine
    ):
        explorer.page = "flow"
        assert explorer.wait(PATIENCE)
        assert explorer._flow["selection"] == explorer._flow["states"] == []
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        assert engine.flows == [(), ((2, 3, "mlp"),)]
        assert explorer._flow["selection"] == [[2, 3, "mlp"]]
        assert explorer._flow["states"] == [[2, 2, "mlp"], [2, 3, "mlp"], [2, 4, "mlp"]]
        explorer.page = "lens"
        assert explorer.wait(PATIENCE)
        assert engine.lenses == [((2, 3, "mlp"),)]
        explorer.page = "flow"
        assert explorer.wait(PATIENCE)
        assert len(engine.flows) == 2

    def test_a_flow_waits_for_the_restoration_of_its_selection(self, explorer, engine):
        explorer.page = "flow"
        assert explorer.wait(PATIENCE)
        engine.restore_gate.clear()
        explorer.selection = NEEDLE
        until(lambda: explorer._worker._running)
        assert engine.flows == [()]
        engine.restore_gate.set()
        assert explorer.wait(PATIENCE)
        assert engine.restored == [tuple(NEEDLE)]
        assert engine.flows == [(), tuple(NEEDLE)]

    def test_a_page_is_answered_while_its_trace_still_runs(self, explorer, engine):
        engine.slow = True
        explorer.noise = 5
        explorer.run()
        until(lambda: explorer.status == "running")
        engine.step.set()
        until(lambda: explorer._trace["settings"]["noise"] == 5)
        explorer.page = "flow"
        until(lambda: explorer.flow)
        assert explorer.status == "running"

    def test_an_answer_of_another_selection_is_never_shown(self, explorer, engine):
        explorer.page = "flow"
        assert explorer.wait(PATIENCE)
        shown = []
        explorer.observe(lambda change: shown.append(change["new"]["selection"]), "_flow")
        explorer.selection = [(0, 0, "mlp")]
        assert explorer.wait(PATIENCE)
        engine.restore_gate.clear()
        explorer.page = "grid"
        explorer.selection = [(1, 1, "mlp")]
        explorer.page = "flow"
        explorer.selection = []
        until(lambda: len(engine.flows) == 3)
        explorer.selection = [(2, 7, "mlp")]
        engine.restore_gate.set()
        assert explorer.wait(PATIENCE)
        assert shown == [[[0, 0, "mlp"]], [[2, 7, "mlp"]]]

    def test_what_was_inside_goes_with_its_trace_and_the_page_is_asked_for_again(
        self, explorer, engine
    ):
        explorer.page = "flow"
        explorer.find_path(wait=True)
        assert explorer.wait(PATIENCE)
        explorer.prompt, explorer.subject = FUJI, "Mount Fuji"
        explorer.run()
        assert explorer.wait(PATIENCE)
        assert explorer._path == explorer._lens == {}
        assert len(np.frombuffer(explorer._flow["noise"], "<f4")) == 7
        assert len(engine.flows) == 2

    def test_tracing_the_same_again_keeps_them(self, explorer, engine):
        explorer.page = "lens"
        explorer.find_path(wait=True)
        assert explorer.wait(PATIENCE)
        path, lens = explorer.path, explorer.lens
        explorer.run(wait=True)
        assert explorer.wait(PATIENCE)
        assert (explorer.path, explorer.lens) == (path, lens)
        assert len(engine.lenses) == 1

    def test_nothing_is_asked_of_a_model_that_the_trace_is_not_of(self, explorer, engine):
        explorer.retrace = False
        engine.edit(0.5)
        engine.tell(1)
        explorer.page = "flow"
        explorer.selection = NEEDLE
        assert explorer.wait(PATIENCE)
        assert engine.flows == []
        assert explorer.error is None

    def test_an_edited_model_has_another_flow_and_a_run_without_its_edits(self, explorer, engine):
        explorer.page = "lens"
        explorer.selection = NEEDLE
        assert explorer.wait(PATIENCE)
        assert [run["name"] for run in explorer._lens["runs"]] == ["clean", "corrupted", "restored"]
        engine.edit(0.5)
        engine.tell(1)
        assert explorer.wait(PATIENCE)
        assert [run["name"] for run in explorer._lens["runs"]][-1] == "unedited"

    def test_an_error_says_which_page_failed_and_goes_with_the_next_answer(self, explorer, engine):
        explorer.selection = NEEDLE
        assert explorer.wait(PATIENCE)
        engine.broken = ValueError("no luck")
        explorer.page = "flow"
        assert explorer.wait(PATIENCE)
        assert (explorer.error["cause"], explorer.error["found"]) == ("flow", "no luck")
        engine.broken = None
        explorer.set_state({"_request": {"id": 1, "op": "restore"}})
        assert explorer.wait(PATIENCE)
        assert explorer.error is None
        assert explorer._flow["selection"] == [[2, 4, "hidden"]]

    def test_their_traits_have_the_fields_of_their_interfaces(self, explorer):
        explorer.selection = NEEDLE
        for page in ("flow", "lens"):
            explorer.page = page
            assert explorer.wait(PATIENCE)
        assert set(explorer._flow) == interface("FlowInfo")
        assert set(explorer._lens) == interface("LensInfo")
        assert set(explorer._lens["runs"][0]) == interface("LensRun")
        json.dumps(explorer._lens, allow_nan=False)

    def test_arrays_travel_by_kind_position_and_layer(self, explorer, engine):
        explorer.page, explorer.selection = "flow", [(2, 4, "hidden")]
        assert explorer.wait(PATIENCE)
        flow = engine.flow(explorer.settings, NEEDLE)
        for name in ("written", "corrupted", "restored", "moved"):
            for at, kind in enumerate(flow.kinds):
                assert np.array_equal(
                    grids(explorer._flow, name)[at], getattr(flow, name)[kind].astype("f4")
                )


class TestPath:
    def test_a_path_is_found_and_told(self, explorer, engine):
        path = explorer.find_path(wait=True)
        assert path.reached
        assert path.recovery >= 0.9
        assert engine.paths == [0.9]
        assert explorer._path["states"] == [list(state) for state in path.states]
        assert explorer._path["scores"] == pytest.approx(path.scores)
        assert explorer._path["running"] is False
        assert set(explorer._path) == interface("PathInfo")
        json.dumps(explorer._path, allow_nan=False)

    def test_text_and_tables_name_the_path(self, explorer):
        assert "path" not in explorer.to_text() + explorer.to_html_table()
        path = explorer.find_path(wait=True)
        (pos, layer, kind), p = path.states[-1], path.scores[-1]
        said = f"{kind} layer {layer} at “{explorer.trace.tokens[pos].strip()}” → {p:.4f}"
        assert explorer.to_text().endswith(said)
        assert said in explorer.to_html_table()

    def test_the_share_is_a_trait_that_the_search_takes(self, explorer, engine):
        explorer.find_path(0.5, wait=True)
        assert explorer.recovery == explorer._path["target"] == 0.5
        explorer.set_state({"recovery": 0.4, "_request": {"id": 1, "op": "path"}})
        assert explorer.wait(PATIENCE)
        assert engine.paths == [0.5, 0.4]

    def test_the_set_so_far_is_shown_and_stays_when_the_search_is_stopped(self, explorer, engine):
        engine.slow = True
        explorer.find_path()
        assert explorer._path["running"] is True
        assert explorer._path["states"] == []
        assert explorer._path["clean"] == CLEAN
        assert explorer._path["corrupted"] == CORRUPTED
        engine.step.set()
        until(lambda: len(explorer._path["states"]) == 1)
        assert explorer._path["running"] is True
        assert "path so far: " in explorer.to_text()
        explorer.set_state({"_request": {"id": 2, "op": "stop_path"}})
        assert explorer.wait(PATIENCE)
        assert explorer._path["running"] is explorer._path["reached"] is False
        assert len(explorer._path["states"]) == 1
        assert explorer.error is None

    def test_clicks_are_answered_while_a_path_is_looked_for(self, explorer, engine):
        engine.slow = True
        explorer.find_path()
        explorer.selection = NEEDLE
        until(lambda: explorer.restoration)
        assert explorer._path["running"] is True

    def test_a_search_that_never_started_is_stopped_at_once(self, explorer, engine):
        engine.restore_gate.clear()
        explorer.selection = NEEDLE
        until(lambda: explorer._worker._running)
        explorer.find_path()
        explorer.stop_path()
        assert explorer._path == {}
        engine.restore_gate.set()
        assert explorer.wait(PATIENCE)
        assert engine.paths == []

    def test_another_search_supersedes_and_whoever_waited_is_told(self, explorer, engine):
        engine.slow = True
        raised = []

        def wait():
            with pytest.raises(Cancelled) as caught:
                explorer.find_path(0.9, wait=True)
            raised.append(caught.value)

        waiting = threading.Thread(target=wait)
        waiting.start()
        until(lambda: engine.paths == [0.9])
        engine.slow = False
        explorer.find_path(0.3)
        waiting.join(PATIENCE)
        assert len(raised) == 1
        assert explorer.wait(PATIENCE)
        assert explorer._path["target"] == 0.3

    def test_a_trace_stops_the_search_before_it(self, explorer, engine):
        engine.slow = True
        explorer.find_path()
        until(lambda: engine.paths)
        explorer.run()
        until(lambda: explorer._path == {})
        until(lambda: explorer.status == "running")
        engine.slow = False
        assert explorer.wait(PATIENCE)
        assert explorer.status == "done"

    def test_a_path_of_a_model_that_was_edited_meanwhile_is_refused(self, explorer, engine):
        explorer.retrace = False
        engine.slow = True
        explorer.find_path()
        until(lambda: engine.paths)
        engine.edit(0.5)
        engine.slow = False
        assert explorer.wait(PATIENCE)
        assert explorer._path == {}
        assert explorer.error["type"] == "ModelChanged"
        with pytest.raises(ModelChanged, match="Trace again"):
            explorer.find_path()

    def test_without_a_trace_there_is_no_path(self, engine):
        explorer = TraceExplorer(engine)
        with pytest.raises(StateError, match="Nothing is traced"):
            explorer.find_path()
        explorer.set_state({"_request": {"id": 1, "op": "path"}})
        assert explorer.error["cause"] == "path"

    def test_an_error_is_shown_and_raised_to_whoever_waits(self, explorer, engine):
        engine.broken = ValueError("no luck")
        with pytest.raises(ValueError, match="no luck"):
            explorer.find_path(wait=True)
        assert explorer.error["cause"] == "path"
        assert explorer._path == {}
        engine.broken = None
        explorer.find_path(wait=True)
        assert explorer.error is None

    def test_waiting_in_an_observer_of_the_page_is_refused(self, explorer):
        raised = []

        def observer(change):
            try:
                explorer.find_path(wait=True)
            except RomeWidgetsError as error:
                raised.append(error)

        explorer.observe(observer, "page")
        explorer.set_state({"page": "lens"})
        assert len(raised) == 1

    def test_a_search_keeps_no_widget_alive(self, engine):
        explorer = TraceExplorer(engine, prompt=PROMPT, subject=SUBJECT)
        assert explorer.wait(PATIENCE)
        engine.slow = True
        explorer.find_path()
        until(lambda: engine.paths)
        worker, gone = explorer._worker, weakref.ref(explorer)
        explorer.close()
        del explorer
        gc.collect()
        until(lambda: not worker._running)
        gc.collect()
        assert gone() is None
