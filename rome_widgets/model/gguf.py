"""Files of the format GGUF: found, and what they hold. transformers reads and unpacks them."""

from __future__ import annotations

import re
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rome_widgets.errors import MissingExtra, ModelNotFound

WANTED = "A whole model in one GGUF file was wanted."
_PART = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def gguf_in(folder: Path) -> Path | None:
    """The GGUF file of a folder that holds no other model; None where there is none.

    Raises:
        ModelNotFound: There are several; the message names them.
    """
    names = sorted(path.name for path in folder.iterdir())
    if any(name.endswith(".safetensors") for name in names):
        return None
    files = [folder / name for name in names if name.endswith(".gguf")]
    if any(_PART.search(file.name) for file in files):
        raise ModelNotFound(
            f"{folder} holds a model in several GGUF files, such as {files[0].name}.",
            WANTED,
            "Join the parts with llama.cpp's gguf-split --merge.",
        )
    if len(files) > 1:
        raise ModelNotFound(
            f"{folder} holds {len(files)} GGUF files: {', '.join(file.name for file in files)}.",
            "One model was wanted.",
            f"Choose one, as in rome_widgets.load({str(files[0])!r}).",
        )
    return files[0] if files else None


def check_gguf(file: Path) -> None:
    """Refuse a file that transformers could not read.

    Raises:
        MissingExtra: A package that reads it is not installed.
        ModelNotFound: It is no GGUF file.
    """
    if any(find_spec(package) is None for package in ("gguf", "accelerate")):
        raise MissingExtra(
            f"{file} is a GGUF file, and gguf or accelerate is not installed.",
            "transformers reads such files with them.",
            "Run: pip install gguf accelerate (the extra [gguf] has both).",
        )
    try:
        with file.open("rb") as opened:
            start = opened.read(4)
    except OSError as error:
        raise ModelNotFound(f"{file} cannot be read: {error.strerror}.", WANTED) from None
    if start != b"GGUF":
        raise ModelNotFound(
            f"{file} does not begin as a GGUF file does.",
            WANTED,
            "Check the file; a copy or a download may have been cut short.",
        )


def how_to_unpack() -> dict[str, Any]:
    """Keywords with which transformers unpacks all weights; since 5.24 it can keep them packed."""
    import transformers

    kind = getattr(transformers, "GgufConfig", None)
    return {} if kind is None else {"quantization_config": kind(dequantize=True)}


def quantisation(file: Path) -> str:
    """How its weights are stored, such as "Q4_1 (210 tensors), F32 (61), Q8_0 (1)"."""
    counts = Counter(_types(file)).most_common()
    words = [f"{kind} ({number})" for kind, number in counts]
    return ", ".join([words[0].replace(")", " tensors)"), *words[1:]]) if words else "no tensors"


def _types(file: Path) -> list[str]:
    import gguf

    try:  # gguf's own reader takes seconds, as it makes arrays of all tokens
        from transformers.integrations.gguf.reader import GgufHeader

        kinds = GgufHeader.from_file(str(file)).ggml_types.values()
    except (ImportError, ValueError):
        return [tensor.tensor_type.name for tensor in gguf.GGUFReader(file).tensors]
    return [gguf.GGMLQuantizationType(kind).name for kind in kinds]
