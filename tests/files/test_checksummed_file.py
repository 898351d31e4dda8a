"""The one container: what comes back, and what is refused."""

import numpy as np
import pytest
import torch

from rome_widgets.errors import EditFileError, TraceFileError
from rome_widgets.files.checksummed_file import FileKind, metadata_of, read, write
from tests.helpers.counts import ALTERED_FILES

NUMPY = FileKind("kind", TraceFileError, "numpy", finite=False)
TORCH = FileKind("kind", EditFileError, "torch")


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32, np.uint8])
def test_arrays_come_back_bit_for_bit(tmp_path, dtype):
    arrays = {"a": np.arange(6).reshape(2, 3).astype(dtype), "b": np.zeros((0, 3), dtype)}
    header, back = read(write(tmp_path / "file", NUMPY, {"x": [1, "é\ud800"]}, arrays), NUMPY)
    assert header == {"x": [1, "é\ud800"]}
    for name, array in arrays.items():
        assert back[name].dtype == array.dtype
        assert back[name].shape == array.shape
        assert back[name].tobytes() == array.tobytes()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_come_back_bit_for_bit(tmp_path, dtype):
    tensor = torch.randn(3, 4).to(dtype)
    _, back = read(write(tmp_path / "file", TORCH, {}, {"a": tensor}), TORCH)
    assert back["a"].dtype == dtype
    assert torch.equal(back["a"], tensor)


def test_both_libraries_read_what_either_writes(tmp_path):
    arrays = {"b": np.ones((2, 3), np.float32), "a": np.arange(4.0)}
    _, tensors = read(write(tmp_path / "file", NUMPY, {}, arrays), TORCH)
    _, back = read(write(tmp_path / "file", TORCH, {}, tensors), NUMPY)
    assert {name: array.tobytes() for name, array in back.items()} == {
        name: array.tobytes() for name, array in arrays.items()
    }


def test_every_flipped_bit_and_every_cut_is_refused_with_the_kinds_own_error(tmp_path):
    path = write(tmp_path / "file", NUMPY, {"text": "x"}, {"a": np.arange(20.0)})
    blob, random = path.read_bytes(), np.random.RandomState(1)
    for kind in (NUMPY, TORCH):
        for _ in range(ALTERED_FILES):
            damaged = bytearray(blob)
            damaged[random.randint(len(blob))] ^= 1 << random.randint(8)
            path.write_bytes(damaged)
            with pytest.raises(kind.error):
                read(path, kind)
        path.write_bytes(blob[: random.randint(len(blob))])
        with pytest.raises(kind.error):
            read(path, kind)


@pytest.mark.parametrize(("kind", "array"), [(NUMPY, np.ones(2)), (TORCH, torch.ones(2))])
def test_a_large_header_comes_back_each_time_and_is_no_part_of_the_metadata(tmp_path, kind, array):
    header = {"rows": ['"é\ud800' * 10] * 20_000}
    for _ in range(3):
        path = write(tmp_path / "file", kind, header, {"a": array})
        found, arrays = read(path, kind)
        assert (found, [*arrays]) == (header, ["a"])
    assert sum(map(len, metadata_of(path.read_bytes()).values())) < 1000


@pytest.mark.parametrize("blob", [b"", b"x", b"\xff" * 9, b"{}", b"\x00" * 100])
def test_what_is_no_file_of_ours_is_refused(tmp_path, blob):
    (tmp_path / "file").write_bytes(blob)
    with pytest.raises(TraceFileError, match="A kind file was wanted"):
        read(tmp_path / "file", NUMPY)
    with pytest.raises(TraceFileError, match="cannot be read"):
        read(tmp_path / "absent", NUMPY)


def test_another_kind_or_version_is_named(tmp_path):
    path = write(tmp_path / "file", NUMPY, {}, {})
    for other in (NUMPY._replace(name="other"), NUMPY._replace(version="99")):
        with pytest.raises(TraceFileError, match=rf"'kind', version '1'.*{other.version}"):
            read(path, other)


def test_only_finite_numbers_where_a_kind_says_so(tmp_path):
    for tensor in (torch.tensor([1.0, torch.nan]), torch.tensor([torch.inf]), torch.ones(2).long()):
        path = write(tmp_path / "file", TORCH, {}, {"a": tensor})
        with pytest.raises(EditFileError, match="a has values that are not finite"):
            read(path, TORCH)
        assert read(path, NUMPY)[1]["a"].tolist() == pytest.approx(tensor.tolist(), nan_ok=True)


def test_a_text_that_looks_like_a_checksum_does_not_become_one(tmp_path):
    text = '"sha256":"' + "0" * 64 + '"'
    for header, name in (({"text": text}, "a"), ({text: 1}, text)):
        path = write(tmp_path / "file", NUMPY, header, {name: np.ones(2)})
        assert read(path, NUMPY)[0] == header
