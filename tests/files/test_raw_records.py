"""Files of records: each format, and what is torn or no such file at all."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest

from rome_widgets.errors import DatasetError, MissingExtra
from rome_widgets.files.raw_records import RawRecord, raw_rows, read_raw

ROWS = [{"prompt": "Rome is in", "n": 1}, {"prompt": "Łódź, is", "n": None}]
JSON = json.dumps(ROWS, ensure_ascii=False)


def values(text, name):
    blob = text if isinstance(text, bytes) else text.encode()
    return [raw.value for raw in read_raw(blob, name)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        (JSON, "a.json"),
        (JSON, "a.JSON"),
        (JSON, "without an ending"),
        ("\ufeff" + JSON, "a.json"),
        ("\n".join(map(json.dumps, ROWS)) + "\n\n", "a.jsonl"),
        ("\r\n".join(map(json.dumps, ROWS)), "a.ndjson"),
        ("\n".join(map(json.dumps, ROWS)), "a.json"),  # as some are published
    ],
)
def test_json_is_read_as_one_value_or_a_value_a_line(text, name):
    assert values(text, name) == ROWS


def test_a_record_has_its_place():
    assert read_raw(JSON.encode(), "a.json")[1] == RawRecord("a.json, record 1", ROWS[1])
    assert read_raw(b'{"a": 1}', "a.json") == [RawRecord("a.json, record 0", {"a": 1})]


def test_a_torn_line_is_one_bad_record():
    raws = read_raw(b'{"a": 1}\n{"a": \n\n{"a": 3}', "a.jsonl")
    assert [raw.value for raw in raws] == [{"a": 1}, None, {"a": 3}]
    assert [raw.place for raw in raws] == ["a.jsonl, line 0", "a.jsonl, line 1", "a.jsonl, line 3"]
    assert "no JSON" in raws[1].wrong


@pytest.mark.parametrize(("name", "mark"), [("a.csv", ","), ("a.tsv", "\t")])
def test_csv_has_a_row_of_names_and_lists_in_json(name, mark):
    lines = [
        mark.join(["prompt", "aliases", "target"]),
        mark.join(['"Rome, ""old"",\nis"', '"[""a"", ""b""]"', ""]),
        "",
        mark.join(["[sic] is", "[", "c"]),
        mark.join(["short"]),
    ]
    raws = read_raw("\r\n".join(lines).encode(), name)
    assert [raw.value for raw in raws] == [
        {"prompt": 'Rome, "old",\nis', "aliases": ["a", "b"], "target": None},
        {"prompt": "[sic] is", "aliases": "[", "target": "c"},
        None,
    ]
    assert raws[2].place == f"{name}, row 2"
    assert "1 cells" in raws[2].wrong


def test_missing_cells_of_a_frame_are_none_and_lists_stay():
    frame = pd.DataFrame({"a": [1.0, np.nan], "b": [["x"], None], 3: ["t", pd.NA]})
    assert [raw.value for raw in raw_rows(frame, "a table")] == [
        {"a": 1.0, "b": ["x"], "3": "t"},
        {"a": None, "b": None, "3": None},
    ]


def test_parquet_is_read_with_its_nested_columns():
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame({"rewrite": [{"prompt": "{} is", "new": {"str": "a"}}], "list": [["b"]]})
    file = io.BytesIO()
    frame.to_parquet(file)
    for name in ("a.parquet", "0123"):
        (value,) = values(file.getvalue(), name)
        assert value["rewrite"] == {"prompt": "{} is", "new": {"str": "a"}}
        assert list(value["list"]) == ["b"]
    with pytest.raises(DatasetError, match="torn"):
        read_raw(file.getvalue()[:-9], "a.parquet")


def test_parquet_without_its_reader_says_what_to_install(monkeypatch):
    def missing(*args, **kwargs):
        raise ImportError("Unable to find a usable engine")

    monkeypatch.setattr(pd, "read_parquet", missing)
    with pytest.raises(MissingExtra, match="pip install pyarrow"):
        read_raw(b"PAR1", "a.parquet")


def zipped():
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.json", JSON)
    return file.getvalue()


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:bc71807ea\nsize 19658316\n"


@pytest.mark.parametrize(
    ("blob", "name", "words"),
    [
        (b"", "a.json", "is empty"),
        (b"\xef\xbb\xbf \n", "a.json", "is empty"),
        (LFS, "a.json", "pointer of Git LFS"),
        (LFS, "a.parquet", "pointer of Git LFS"),
        (b"<!DOCTYPE html><html>Sign in</html>", "a.json", "HTML"),
        (b"\xef\xbb\xbf<html>", "a.csv", "HTML"),
        (zipped(), "a.json", "a zip archive"),
        (b"\x1f\x8b\x08", "a.json", "a gzip archive"),
        (JSON.encode()[:-20], "a.json", "ends in the middle"),
        (b'[{"prompt": "Rome is', "a.json", "ends in the middle"),
        (b"[", "a.json", "ends in the middle"),
        (b"[{'prompt': 1}]", "a.json", "no JSON: .* in line 1"),
        (b"Rome is in Italy", "a.txt", "no JSON"),
        (JSON.encode("utf-16"), "a.json", "no text in UTF-8"),
        (b"[" * 100_000, "a.json", "too deep|cannot be read|recursion"),
        (b"9" * 5000, "a.json", "cannot be read"),
        (b"PAR1 and then nothing", "a.json", "torn|pyarrow"),
        (b"prompt,subject\n" + b"x" * 200_000, "a.csv", "is no table: field larger"),
    ],
)
def test_what_is_no_file_of_records_is_named(blob, name, words):
    with pytest.raises((DatasetError, MissingExtra), match=words):
        read_raw(blob, name)


def test_every_beginning_of_a_file_is_read_or_refused():
    blob = JSON.encode()
    for length in range(1, len(blob)):
        with pytest.raises(DatasetError, match=r"ends in the middle|UTF-8"):
            read_raw(blob[:length], "a.json")
