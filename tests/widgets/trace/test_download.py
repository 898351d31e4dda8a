"""The figure of a trace as a file."""

import re
import sys
from dataclasses import replace

import pytest

from rome_widgets.widgets.trace.download import PNG_SCALE, file_name, picture
from tests.helpers.fake_engine import fake_trace
from tests.helpers.waiting import PATIENCE


class TestDownload:
    @pytest.mark.parametrize(("form", "start"), [("svg", b"<svg"), ("png", b"\x89PNG")])
    def test_the_figure_comes_as_a_file(self, explorer, form, start):
        explorer.set_state({"_request": {"id": 5, "op": "download", "form": form}})
        assert explorer.wait(PATIENCE)
        sent = explorer._file
        assert (sent["name"], sent["id"]) == (f"trace-the-space-needle-seattle.{form}", 5)
        assert sent["data"].startswith(start)

    @pytest.mark.parametrize(("page", "drawn"), [("flow", "restored"), ("lens", "after layer")])
    def test_the_figure_is_that_of_the_page_on_screen(self, explorer, page, drawn):
        explorer.page = page
        explorer.selection = [(2, 3, "hidden")]
        assert explorer.wait(PATIENCE)
        asked = {"op": "download", "form": "svg", "page": page, "flow_run": "restored"}
        explorer.set_state({"_request": {"id": 5, **asked}})
        assert explorer.wait(PATIENCE)
        assert explorer._file["name"] == f"{page}-the-space-needle-seattle.svg"
        assert drawn in explorer._file["data"].decode()

    @pytest.mark.parametrize(
        "asked", [{"form": "pdf"}, {"form": "svg", "page": "flow", "flow_run": "now"}]
    )
    def test_what_cannot_be_drawn_is_said(self, explorer, asked):
        explorer.page = "flow"
        assert explorer.wait(PATIENCE)
        explorer.set_state({"_request": {"id": 5, "op": "download", **asked}})
        assert explorer.wait(PATIENCE)
        assert explorer.error["type"] == "StateError"

    def test_the_figure_is_sharp_in_print(self):
        png = picture(fake_trace(), "png")["data"]
        svg = picture(fake_trace(), "svg")["data"].decode()
        width = re.search(r'width="([\d.]+)"', svg)
        assert width is not None
        assert int.from_bytes(png[16:20], "big") == pytest.approx(
            PNG_SCALE * float(width[1]), abs=PNG_SCALE
        )
        assert PNG_SCALE >= 2

    @pytest.mark.parametrize(
        ("subject", "answer", "name"),
        [
            ("The Space Needle", " Seattle", "trace-the-space-needle-seattle"),
            ("Zürich/Süd", " a:b", "trace-zürich-süd-a-b"),
            ("„…“", " ", "trace-of-a-prompt"),
            ("x" * 80, " y", f"trace-{'x' * 60}"),
        ],
    )
    def test_its_name_is_the_subjects_and_the_answers(self, subject, answer, name):
        """The page names its numbers by the same rule: js/test/files.test.ts."""
        assert file_name(replace(fake_trace(), subject=subject, answer=answer)) == name

    def test_where_it_cannot_be_drawn_the_remedy_is_said(self, explorer, monkeypatch):
        monkeypatch.setitem(sys.modules, "vl_convert", None)  # As where it is not installed.
        explorer.set_state({"_request": {"id": 5, "op": "download", "form": "svg"}})
        assert explorer.wait(PATIENCE)
        assert "pip install vl-convert-python" in explorer.error["remedy"]
        assert explorer.status == "done"
