"""Rows of a run are kept alike in a folder and in memory."""

import pytest

from rome_widgets.errors import MissingExtra
from rome_widgets.evaluation.kept_run import kept_rows, write_result
from rome_widgets.files.run_log import LogKind

KIND = LogKind("counting", "number", lambda row: row["n"], dict, dict)


@pytest.mark.parametrize("in_a_folder", [True, False])
def test_rows_are_kept_by_their_key_with_what_the_run_began_with(tmp_path, in_a_folder):
    with kept_rows(tmp_path if in_a_folder else None, KIND, {}, {"batch_size": 3}) as kept:
        for n in (5, 7):
            kept.add({"n": n})
        assert kept.done == {5: {"n": 5}, 7: {"n": 7}}
        assert kept.kept == {"batch_size": 3}
    assert [path.name for path in tmp_path.iterdir()] == ["counting.log"] * in_a_folder


@pytest.mark.parametrize("there", [True, False], ids=["with pyarrow", "without"])
def test_a_result_is_written_as_parquet_where_that_can_be(tmp_path, there):
    written = []

    class Result:
        def save(self, path):
            written.append(path.name)

        def to_parquet(self, path):
            if not there:
                raise MissingExtra("pyarrow is not installed.")
            written.append(path.name)

    write_result(Result(), tmp_path, "all.safetensors")
    assert written == ["all.safetensors", *["all.parquet"] * there]
