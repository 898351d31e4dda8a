"""Load a `LanguageModel` by name or from a folder.

The network is used only when a hub name was given. Code from a checkpoint runs only when the
user says so, and only safetensors weights are read.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rome_widgets.errors import DeviceUnavailable, ModelNotFound, UnsupportedModel
from rome_widgets.model.language_model import LanguageModel


def load(
    name: str | os.PathLike[str] | None = None,
    *,
    device: Any = None,
    dtype: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> LanguageModel:
    """Load a language model, ready to trace.

    Args:
        name: A folder, or a name on the Hugging Face hub. None: the bundled model, offline.
        device: As for torch; the first GPU where there is one, else the CPU.
        dtype: As for torch, or its name. By default the checkpoint's own, but float32 for a
            float16 checkpoint on a CPU, where half precision is many times slower.
        revision: Branch, tag or commit on the hub.
        trust_remote_code: Run Python code that comes with the checkpoint. Say True only for code
            you have read.

    Raises:
        ModelNotFound: No such folder, or the hub did not give it.
        UnsupportedModel: It is no causal language model that can be traced.
        DeviceUnavailable: This torch cannot use that device.

    Example:
        >>> rw.load(device="cpu", dtype="bfloat16")   # or by name, as in rw.load("gpt2-xl")
        LanguageModel('bundled world': 8 layers, d_model 192, bfloat16 on cpu)
    """
    if name is None:
        from rome_widgets import bundled

        return _load(bundled.folder(), "bundled world", device, dtype, local=True)
    folder = Path(name).expanduser()
    local = folder.is_dir()
    if not local and _looks_like_path(name):
        raise ModelNotFound(
            f"There is no folder {os.fspath(name)!r}.",
            "A folder with config.json and safetensors weights, or a hub name, was wanted.",
            "Check the path.",
        )
    if local and not (folder / "config.json").is_file():
        raise ModelNotFound(
            f"{folder} has no config.json.",
            "A folder as save_pretrained writes it was wanted.",
            "Check the path.",
        )
    source, label = (folder, folder.resolve().name) if local else (os.fspath(name),) * 2
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    return _load(source, label, device, dtype, local=local, **options)


def _looks_like_path(name: str | os.PathLike[str]) -> bool:
    text = os.fspath(name)
    return not isinstance(name, str) or text.startswith((".", "~", os.sep)) or text.count("/") > 1


def _load(
    source: str | Path, label: str, device: Any, dtype: Any, *, local: bool, **options: Any
) -> LanguageModel:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    # Said explicitly: left open, transformers would ask at a prompt that a kernel cannot answer.
    options = {"trust_remote_code": False, **options, "local_files_only": local}
    try:
        with _quiet_about_files(local):
            config = AutoConfig.from_pretrained(source, **options)
            tokenizer = AutoTokenizer.from_pretrained(source, config=config, **options)
            model = AutoModelForCausalLM.from_pretrained(
                source, config=config, dtype=_dtype(dtype), use_safetensors=True, **options
            )
    except OSError as error:
        raise ModelNotFound(
            f"{source} could not be loaded: {_first_line(error)}",
            "A model with config.json, a tokenizer and safetensors weights was wanted.",
            "Check the files." if local else "Check the name, the network and your access.",
        ) from None
    except ValueError as error:
        raise UnsupportedModel(
            f"{source} could not be loaded: {_first_line(error)}",
            "A causal language model that transformers knows was wanted.",
            "A model with its own code needs trust_remote_code=True, once you have read that code."
            if "trust_remote_code" in str(error)
            else "",
        ) from error
    device = _device(device)
    if dtype is None and device.type == "cpu" and model.dtype == torch.float16:
        model = model.float()
    return LanguageModel(model.eval().to(device), tokenizer, name=label)


@contextmanager
def _quiet_about_files(local: bool) -> Iterator[None]:
    """No progress bars for files that are already here; a download keeps them."""
    from transformers.utils import logging

    bars = local and logging.is_progress_bar_enabled()
    if bars:
        logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            logging.enable_progress_bar()


def _dtype(dtype: Any) -> Any:
    import torch

    if dtype is None:
        return "auto"
    if isinstance(dtype, str) and dtype != "auto":
        found = getattr(torch, dtype.removeprefix("torch."), None)
        if not (isinstance(found, torch.dtype) and found.is_floating_point):
            raise UnsupportedModel(
                f"{dtype!r} is not a floating-point dtype.",
                "float32, float16, bfloat16, float64 or auto was wanted.",
            )
        return found
    return dtype


def _device(device: Any) -> Any:
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except (RuntimeError, AssertionError, TypeError) as error:
        raise DeviceUnavailable(
            f"The device {device!r} cannot be used: {_first_line(error).rstrip('.')}.",
            "A device that this torch can use was wanted.",
            "Leave device out, or install the torch build for your GPU.",
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
