"""The notebook of real models is true on SmolLM2; with the full counts: it takes minutes."""

import pytest

from tests.helpers.counts import FULL
from tools import real_models, record_notebook

if FULL:
    try:
        MODEL = real_models.gguf_file("smollm2")
    except real_models.CannotFetch as why:
        pytest.skip(str(why), allow_module_level=True)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_it_runs_without_an_error_and_shows_its_widgets():
        notebook = record_notebook.run(record_notebook.NOTEBOOK, MODEL)
        outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
        assert not [output for output in outputs if output.output_type == "error"]
        assert sum(record_notebook.LIVE in output.get("data", {}) for output in outputs) >= 2
        assert "The notebook is right" in notebook.cells[-1].outputs[0].text
