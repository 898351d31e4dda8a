"""These tests run in a pytest of their own (`make device`), where the pretend GPU comes first.

Anywhere else none of them is collected. Where no pretend GPU can be made, one test says so.
"""

import sys
from pathlib import Path

import pytest

PLUGIN = sys.modules.get("tests.device.pretend_gpu")

if PLUGIN is None:
    collect_ignore_glob = ["test_*.py"]
elif PLUGIN.MISSING:
    TESTS = Path(__file__).parent.glob("test_*.py")
    collect_ignore = [test.name for test in TESTS if test.name != "test_pretend_gpu.py"]
else:
    import torch

    @pytest.fixture(autouse=True)
    def devices_as_new():
        """Nothing imitated stays as a test wanted it, and torch's switches are as they were."""
        before = torch.backends.cuda.matmul.fp32_precision
        yield
        PLUGIN.as_new()
        after = torch.backends.cuda.matmul.fp32_precision
        torch.backends.cuda.matmul.fp32_precision = before
        assert after == before, f"a test left products of float32 in {after}"

    @pytest.fixture
    def gpu():
        """The first of the two."""
        return torch.device("cuda:0")

    @pytest.fixture
    def leave_memory():
        """Called with bytes: no more than these can be had besides what is used now."""

        def leave(free, device=0):
            PLUGIN.LIBRARY.set_capacity(device, PLUGIN.LIBRARY.used(device) + free)

        return leave
