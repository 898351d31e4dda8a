"""Load a `LanguageModel` by name or from a folder.

The network is used only when a hub name was given. Code from a checkpoint runs only when the
user says so, and only safetensors weights are read.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from rome_widgets import bundled
from rome_widgets.errors import (
    ArgumentError,
    DeviceUnavailable,
    ModelNotFound,
    OutOfMemory,
    UnsupportedModel,
    said,
)
from rome_widgets.files.atomic_write import recover
from rome_widgets.model import hub
from rome_widgets.model.checkpoint import broken_part, check_folder, not_a_folder
from rome_widgets.model.gguf import check_gguf, gguf_in, how_to_unpack, quantisation
from rome_widgets.model.language_model import LanguageModel
from rome_widgets.model.progress_bar import Steps, counting
from rome_widgets.model.quantised import say_plain
from rome_widgets.records.arguments import Listener, a_path, callback, optional, takes, text
from rome_widgets.records.call_progress import CallProgress
from rome_widgets.records.html import and_more

_EXCHANGING = threading.Lock()
"""Held while a hook of transformers is read and written."""


@takes(revision=optional(text), progress=callback)
def load(
    name: str | os.PathLike[str] | None = None,
    *,
    device: Any = None,
    dtype: Any = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
    progress: Listener[CallProgress] = None,
) -> LanguageModel:
    """Load a language model, ready to trace.

    Args:
        name: A folder, a name on the Hugging Face hub, or a `.gguf` file, of which transformers
            unpacks the weights; `lm.notes` then says how they were quantised. None: the bundled
            model, offline.
        device: As for torch; the first GPU where there is one, else the CPU.
        dtype: As for torch, or its name. By default the checkpoint's own, but float32 for a
            float16 checkpoint on a CPU, where half precision is many times slower.
        revision: Branch, tag or commit on the hub; of a file or folder it means nothing.
        trust_remote_code: Run Python code that comes with the checkpoint. Say True only for code
            you have read.
        progress: Called after each weight that was read and each check of the model; None shows a
            progress bar where it lasts, False none. The hub shows its downloads itself.

    Raises:
        ModelNotFound: No such folder, or the hub did not give it.
        UnsupportedModel: It is no causal language model that can be traced.
        DeviceUnavailable: This torch cannot use that device.
        MissingExtra: What reads a `.gguf` file is not installed.
        NonFinite: The model computes NaN or infinity, as some do in float16.

    Example:
        >>> rw.load(device="cpu", dtype="bfloat16")   # or by name, as in rw.load("gpt2-xl")
        LanguageModel('bundled world': 8 layers, d_model 192, bfloat16 on cpu)
    """
    if name is None:
        return _load(bundled.folder(), "bundled world", device, dtype, progress, local=True)
    path = a_path(ModelNotFound, "folder, or a hub name,")(name, "The name")
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    if not isinstance(trust_remote_code, bool):  # "no" would be a yes
        raise ArgumentError(
            f"trust_remote_code is {said(trust_remote_code)}.", "True or False was wanted."
        )
    folder = _expanded(path)
    recover(folder)
    file = gguf_in(folder) if folder.is_dir() else folder
    if file is not None and file.suffix == ".gguf" and file.is_file():
        return _load_gguf(file, device, dtype, progress)
    if folder.is_dir():
        check_folder(folder)
        name = folder.resolve().name
        return _load(folder, name, device, dtype, progress, local=True, **options)
    if _looks_like_path(name) or (folder.suffix and folder.is_file()):
        raise not_a_folder(folder)
    source = os.fspath(name)
    local = not hub.reachable()
    return _load(source, source, device, dtype, progress, local=local, **options)


def _expanded(path: Path) -> Path:
    """The path with a home in place of `~`."""
    try:
        path = path.expanduser()
        path.is_dir()
    except RuntimeError:  # Python's word for a home that cannot be found
        return path
    except OSError as error:  # a name that is too long, or a folder that may not be looked into
        raise ModelNotFound(
            f"{said(str(path))} cannot be looked up: {error.strerror}.",
            "A folder of a model, or its name on the hub, was wanted.",
        ) from None
    return path


def _looks_like_path(name: str | os.PathLike[str]) -> bool:
    text = os.fspath(name)
    return (
        not isinstance(name, str)
        or text.startswith((".", "~", os.sep))
        or text.count("/") > 1
        or "\\" in text
        or text.endswith((".gguf", ".safetensors", "/"))
    )


def _load(
    source: str | Path,
    label: str,
    device: Any,
    dtype: Any,
    progress: Listener[CallProgress],
    *,
    local: bool,
    **options: Any,
) -> LanguageModel:
    """Load from a folder, or from the hub by name; `local` without asking the network."""
    place, dtype_asked = _device(device), _dtype(dtype)
    with counting(progress, "Loading", "weight") as steps:
        model, tokenizer = _from_pretrained(
            source, dtype_asked, local, {"use_safetensors": True}, options, steps
        )
    return _attached(model, tokenizer, label, place, dtype, progress)


def _load_gguf(
    file: Path, device: Any, dtype: Any, progress: Listener[CallProgress]
) -> LanguageModel:
    """Load from a GGUF file, with all of its weights unpacked."""
    place, dtype_asked = _device(device), _dtype(dtype)
    check_gguf(file)
    with counting(progress, "Loading", "weight") as steps:
        model, tokenizer = _from_pretrained(
            file, dtype_asked, True, how_to_unpack(), {"gguf_file": file.name}, steps
        )
    say_plain(model)
    model.config._name_or_path = str(file)
    lm = _attached(model, tokenizer, file.stem, place, dtype, progress)
    lm.notes = (f"The weights were unpacked from {file.name}: {quantisation(file)}.",)
    return lm


def _from_pretrained(
    source: str | Path,
    dtype: Any,
    local: bool,
    of_weights: dict[str, Any],
    options: dict[str, Any],
    steps: Steps,
) -> tuple[Any, Any]:
    """Model and tokenizer of a folder, a GGUF file, or a name on the hub, by transformers.

    Args:
        source: Which.
        dtype: Of torch, or "auto".
        local: Without asking the network.
        of_weights: Keywords for the weights only.
        options: Keywords for every part.
        steps: Are told of each weight.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    place = Path(source).parent if "gguf_file" in options else source
    # Said explicitly: left open, transformers would ask at a prompt that a kernel cannot answer.
    options = {"trust_remote_code": False, **options, "local_files_only": local}
    with _quiet_about_files(local), _telling_of_weights(steps):
        with _explained(source, "configuration", local):
            config = AutoConfig.from_pretrained(place, **options)
        with _explained(source, "tokenizer", local):
            tokenizer = AutoTokenizer.from_pretrained(place, config=config, **options)
            if len(tokenizer) <= len(tokenizer.all_special_tokens):
                raise OSError("it has no words; transformers made it up")
        with _explained(source, "weights", local):
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                place,
                config=config,
                dtype=dtype,
                output_loading_info=True,
                **of_weights,
                **options,
            )
            model, about = loaded
            if missing := sorted(about["missing_keys"]):
                # transformers puts random numbers in their place.
                raise OSError(f"it lacks {and_more(missing)}; a part of a model, perhaps")
    return model, tokenizer


def _attached(
    model: Any,
    tokenizer: Any,
    label: str,
    device: Any,
    dtype: Any,
    progress: Listener[CallProgress],
) -> LanguageModel:
    """The model where it was wanted; in float32 on a CPU, where no dtype was and it has half."""
    import torch

    if dtype is None and device.type == "cpu" and model.dtype == torch.float16:
        model = model.float()
    return LanguageModel(_moved(model.eval(), device), tokenizer, name=label, progress=progress)


def _moved(model: Any, device: Any) -> Any:
    import torch

    try:
        return model.to(device)
    except (torch.OutOfMemoryError, MemoryError) as error:
        raise OutOfMemory(
            f"The model does not fit on {device}: {_first_line(error)}",
            "Room for its weights was wanted.",
            'Free memory there, or load it in half precision, dtype="bfloat16".',
        ) from None


@contextmanager
def _explained(source: str | Path, part: str, local: bool) -> Iterator[None]:
    """What transformers raises over one part of a checkpoint, in our words."""
    try:
        yield
    except MemoryError:
        raise OutOfMemory(
            f"The {part} of {source} do not fit into memory.",
            "Room for the weights was wanted.",
            'Load it in half precision, dtype="bfloat16".',
        ) from None
    except OSError as error:
        if isinstance(source, Path):
            raise broken_part(source, part, _first_line(error)) from error
        raise hub.not_found(source, _first_line(error), unreachable=local) from None
    except ValueError as error:
        torn = part == "tokenizer" and isinstance(error, JSONDecodeError)
        if torn or (Path(source).suffix == ".gguf" and "support" not in str(error)):
            raise broken_part(Path(source), part, _first_line(error)) from error
        raise _unsupported(source, error) from error
    except ImportError as error:  # a package that this kind of model needs
        raise _unsupported(source, error) from error
    except Exception as error:  # a file that is torn makes whoever reads it fail in its own way
        said = f"{type(error).__name__}: {_first_line(error)}"
        raise broken_part(Path(source), part, said) from error


def _unsupported(source: str | Path, error: Exception) -> UnsupportedModel:
    own_code = "trust_remote_code" in str(error)
    return UnsupportedModel(
        f"{source} could not be loaded: {_first_line(error)}",
        "A causal language model that transformers knows was wanted.",
        "A model with its own code needs trust_remote_code=True, once you have read that code."
        if own_code
        else "",
    )


def load_expression(lm: LanguageModel) -> str:
    """Python that gives this model, in the same precision, where `rw` is the package.

    Of a model that no folder or hub has, as `model` and `tokenizer` gave it.
    """
    if bundled.is_bundled(lm):
        return "rw.load()"
    source = source_of(lm)
    if not source:
        return "rw.LanguageModel(model, tokenizer)"
    return f"rw.load({source!r}, dtype={str(lm.dtype).removeprefix('torch.')!r})"


def source_of(lm: LanguageModel) -> str:
    """The folder, file or name on the hub that a model was loaded from; empty where none has it."""
    source = getattr(lm.model.config, "_name_or_path", "")
    given = getattr(getattr(lm.model.config, "quantization_config", None), "gguf_file", None)
    if source and given:
        source = str(Path(source) / given)
    gone = _looks_like_path(source) and not _expanded(Path(source)).exists()
    return "" if gone else source


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


@contextmanager
def _telling_of_weights(steps: Steps) -> Iterator[None]:
    """Hear of each weight from the bar that transformers would show of them.

    What it shows in other threads meanwhile is left alone, and so is a hook of somebody else's.
    A transformers without such hooks tells nothing.
    """
    from transformers.utils import logging

    class Counted(logging.EmptyTqdm):
        def __iter__(self) -> Iterator[Any]:
            items = list(self._iterator or ())
            for done, item in enumerate(items, 1):
                yield item
                steps.at(done, len(items), "weights")

    def make(shown: Any, args: Any, kwargs: Any) -> Any:
        make_one = Counted if threading.get_ident() == here else shown
        return make_one(*args, **kwargs)

    def exchange(old: Any, new: Any) -> None:
        """Put `new` in the place of `old`, and of nothing else."""
        with _EXCHANGING:
            now = set_hook(new)
            if now is not old:
                set_hook(now)

    here, set_hook = threading.get_ident(), getattr(logging, "set_tqdm_hook", lambda hook: hook)
    exchange(None, make)
    try:
        yield
    finally:
        exchange(make, None)


def _dtype(dtype: Any) -> Any:
    import torch

    if dtype is None or (isinstance(dtype, str) and dtype == "auto"):
        return "auto"
    named = isinstance(dtype, str)
    found = getattr(torch, dtype.removeprefix("torch."), None) if named else dtype
    if not (isinstance(found, torch.dtype) and found.is_floating_point):
        raise UnsupportedModel(
            f"{said(dtype)} is not a floating-point dtype.",
            "float32, float16, bfloat16, float64 or auto was wanted.",
        )
    return found


def _device(device: Any) -> Any:
    import torch

    if device is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.empty(0, device=device).device
    except Exception as error:  # each kind of device has its own words
        raise DeviceUnavailable(
            f"The device {said(device)} cannot be used: {_first_line(error).rstrip('.')}.",
            "A device that this torch can use was wanted.",
            "Leave device out, or install the torch build for your GPU.",
        ) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
