"""A pretend GPU for a torch without CUDA; imported before torch, as a plugin of pytest.

    python -m pytest -p tests.device.pretend_gpu tests/device

What is real and what is imitated is in README.md beside this. `MISSING` says why there is none.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

N_GPUS = 2
CAPACITY = 4 << 30
"""Bytes of each, where a test asks for no others."""
SOURCE = Path(__file__).with_suffix(".cpp")
BUILD = Path(__file__).parents[2] / "build"
COMPILER = "g++"
_BYTES_OF = ("set_capacity", "capacity", "used", "peak", "reset_peak")


def why_missing(torch_folder: Path) -> str:
    """What stands against a pretend GPU here, or nothing."""
    if runpy.run_path(str(torch_folder / "version.py"))["cuda"]:
        return "this torch is built with CUDA"
    if shutil.which(COMPILER) is None or sys.platform != "linux":
        return f"the pretend GPU is compiled by {COMPILER} on Linux, which is not here"
    return ""


def compiled(torch_folder: Path) -> Path:
    """The library, compiled once for a source and a torch; some ten seconds of a core."""
    about = SOURCE.read_bytes() + (torch_folder / "version.py").read_bytes()
    library = BUILD / f"pretend_gpu_{hashlib.sha256(about).hexdigest()[:16]}.so"
    if not library.exists():
        BUILD.mkdir(exist_ok=True)
        unfinished = library.with_suffix(f".{os.getpid()}.part")
        headers = torch_folder / "include"
        flags = ["-shared", "-fPIC", "-O1", "-w", "-std=c++20", f"-I{headers}"]
        flags += [
            f"-I{headers / 'torch' / 'csrc' / 'api' / 'include'}",
            f"-L{torch_folder / 'lib'}",
        ]
        subprocess.run(
            [COMPILER, *flags, str(SOURCE), "-o", str(unfinished), "-lc10", "-ltorch_cpu"],
            check=True,
        )
        unfinished.replace(library)
    return library


def load(torch_folder: Path) -> Any:
    """The library, loaded before torch, which asks but once whether there is CUDA."""
    if "torch" in sys.modules:
        raise RuntimeError("torch was imported before the pretend GPU")
    path = compiled(torch_folder)
    for name in ("libc10.so", "libtorch_cpu.so"):
        ctypes.CDLL(str(torch_folder / "lib" / name), mode=ctypes.RTLD_GLOBAL)
    library = ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
    for name in _BYTES_OF:
        function = getattr(library, name)
        function.argtypes = [ctypes.c_int, ctypes.c_int64][: 2 if name == "set_capacity" else 1]
        function.restype = ctypes.c_int64
    library.install(N_GPUS)
    return library


def tell_torch(library: Any) -> None:
    """Let `torch.cuda` answer as where there are GPUs."""
    import torch

    def index(device: Any = None) -> int:
        if isinstance(device, int):
            return device
        asked = None if device is None else torch.device(device).index
        return library.current_device() if asked is None else asked

    def set_device(device: Any) -> None:
        if not library.set_device(index(device)):
            raise torch.AcceleratorError(f"CUDA error: invalid device ordinal {device} (pretend)")

    def memory(device: Any = None) -> tuple[int, int]:
        whole = library.capacity(index(device))
        return whole - library.used(index(device)), whole

    def properties(device: Any = None) -> Any:
        return SimpleNamespace(
            name="Pretend GPU",
            major=9,
            minor=0,
            total_memory=library.capacity(index(device)),
            multi_processor_count=132,
        )

    answers = {
        "is_available": lambda: True,
        "is_initialized": lambda: True,
        "init": lambda: None,
        "_lazy_init": lambda: None,
        "device_count": lambda: N_GPUS,
        "current_device": library.current_device,
        "set_device": set_device,
        "synchronize": lambda device=None: None,
        "empty_cache": lambda: None,
        "ipc_collect": lambda: None,
        "manual_seed_all": lambda seed: None,
        "mem_get_info": memory,
        "memory_allocated": lambda device=None: library.used(index(device)),
        "memory_reserved": lambda device=None: library.used(index(device)),
        "max_memory_allocated": lambda device=None: library.peak(index(device)),
        "reset_peak_memory_stats": lambda device=None: library.reset_peak(index(device)),
        "get_device_name": lambda device=None: "Pretend GPU",
        "get_device_capability": lambda device=None: (9, 0),
        "get_device_properties": properties,
        "is_bf16_supported": lambda including_emulation=True: True,
        "is_current_stream_capturing": lambda: False,
    }
    for name, answer in answers.items():
        setattr(torch.cuda, name, answer)
    clone = torch.UntypedStorage.clone

    def clone_there(storage: Any) -> Any:
        """A deep copy asks for it; only a build with CUDA makes storages there from Python."""
        if storage.device.type != "cuda":
            return clone(storage)
        everything = torch.empty(0, dtype=torch.uint8, device=storage.device).set_(storage)
        return everything.clone().untyped_storage()

    torch.UntypedStorage.clone = clone_there


def as_new() -> None:
    """Empty of settings: what a test asked for is taken back."""
    for device in range(N_GPUS):
        LIBRARY.set_capacity(device, CAPACITY)
        LIBRARY.reset_peak(device)
    LIBRARY.round_by_shape(False)


def _torch_folder() -> Path:
    found = importlib.util.find_spec("torch")
    assert found is not None, "torch is not installed"
    return Path(str(found.origin)).parent


MISSING = why_missing(_torch_folder())
LIBRARY: Any = None
if not MISSING:
    LIBRARY = load(_torch_folder())
    as_new()
    # It looks for parts of a CUDA build where there is a GPU, so it comes before there is one.
    importlib.import_module("torch._dynamo")
    tell_torch(LIBRARY)
