"""The benchmark for a lent GPU runs from start to end, with a folder's model beside random ones."""

import copy
import json

from benchmarks import gpu
from tests.helpers import counts, tiny


def test_every_row_is_written_and_right(tmp_path):
    model = gpu.sharpened(copy.deepcopy(tiny.chat_lm().model))
    model.save_pretrained(tmp_path / "real")
    tiny.chat_lm().tokenizer.save_pretrained(tmp_path / "real")
    out = tmp_path / "gpu.jsonl"
    arguments = ["--tiny", "--out", str(out), "--precision", *counts.GPU_PRECISIONS]
    gpu.main([*arguments, "--real", str(tmp_path / "real")])
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["model"] for row in rows[:: len(counts.GPU_PRECISIONS)]] == ["real", *gpu.MODELS]
    for row in rows:
        assert row["engine"] == "replay"
        assert row["machine"] == "one Pretend GPU"
        assert row["peak GiB beside weights"] > 0
        # How far others are off says nothing of models as small as these.
        assert row["precision"] != "float32" or row["complaints"] == []
