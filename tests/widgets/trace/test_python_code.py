"""Python that shows again what an explorer shows."""

from rome_widgets.widgets import TraceExplorer
from tests.helpers.explorers import edited, traced
from tests.helpers.fake_engine import PROMPT, SUBJECT
from tests.helpers.waiting import PATIENCE


class TestCode:
    def test_it_names_everything_that_the_view_was_made_with(self, explorer):
        traced(explorer, noise=2.5, samples=4, seed=9, window=5, answer="Paris")
        explorer.selection = [(2, 3, "mlp")]
        assert explorer.wait(PATIENCE)
        code = explorer.code
        compile(code, "copied", "exec")
        assert code == explorer.to_code()
        for part in (repr(PROMPT), repr(SUBJECT), "rw.load()", "noise=2.5", "samples=4", "seed=9",
                     "window=5", "answer='Paris'", "(2, 3, 'mlp')"):  # fmt: skip
            assert part in code
        assert f"# {explorer._restoration['score']:.6f}" in code

    def test_it_is_of_the_trace_on_screen_not_of_the_form(self, explorer):
        explorer.samples = 3
        assert "samples=10" in explorer.to_code()
        assert "restore" not in explorer.code

    def test_it_says_that_the_model_was_edited(self, explorer):
        edited(explorer, 0.9)
        assert "# The model held 1 edit: apply the same here." in explorer.code
        assert "answer=0" in explorer.code

    def test_without_a_trace_there_is_none(self, engine):
        assert TraceExplorer(engine).code == TraceExplorer(engine).to_code() == ""
