"""A frame comes back from parquet; without pyarrow, that is said."""

import pandas as pd
import pytest

from rome_widgets.errors import MissingExtra
from rome_widgets.files.parquet import save_frame


def test_a_frame_comes_back_or_the_package_is_named(tmp_path):
    frame = pd.DataFrame({"record": [0, 1], "ES": [1.0, None], "warnings": [(), ("a",)]})
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        with pytest.raises(MissingExtra, match=r"pip install pyarrow.*x\.save"):
            save_frame(frame, tmp_path / "f", "x.save(path)")
        assert list(tmp_path.iterdir()) == []
    else:
        again = pd.read_parquet(save_frame(frame, tmp_path / "f", "x.save(path)"))
        pd.testing.assert_frame_equal(again[["record", "ES"]], frame[["record", "ES"]])
