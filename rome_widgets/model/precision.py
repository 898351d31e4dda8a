"""In what precision torch multiplies float32 matrices: the user's setting, read and never set.

It is one for the whole process, so to set it would change the user's own passes. Passes of the
model run in it, and say so; what edits and their ledger compute themselves is float64, or element
by element, on which it does not act.
"""

from __future__ import annotations

from typing import Any

import torch

_OF = {"cuda": torch.backends.cuda, "cpu": torch.backends.mkldnn}
_WORDS = {"tf32": "TF32", "bf16": "bfloat16"}
_NAMES = {"cuda": "cuda", "cpu": "mkldnn"}


def reduced_precision(device: torch.device, dtype: torch.dtype) -> str:
    """In which narrower format products on this device may be made, in words; "" for none.

    Read by the setting's newer names: it leaves torch's own functions as they are.
    """
    backend: Any = _OF.get(device.type)
    if backend is None or dtype != torch.float32:
        return ""
    return _WORDS.get(getattr(backend.matmul, "fp32_precision", ""), "")


def setting_of(device: torch.device, narrower: str) -> str:
    """The line of code that has products made as `reduced_precision` says it of another process.

    Example:
        >>> setting_of(torch.device("cuda"), "TF32")
        'torch.backends.cuda.matmul.fp32_precision = "tf32"'
    """
    value = next((value for value, word in _WORDS.items() if word == narrower), "ieee")
    return f'torch.backends.{_NAMES[device.type]}.matmul.fp32_precision = "{value}"'


def precision_notes(device: torch.device, dtype: torch.dtype) -> list[str]:
    """What to say of it beside numbers of the model; nothing where products are float32's own."""
    narrower = reduced_precision(device, dtype)
    if not narrower:
        return []
    return [
        f"torch is set to multiply float32 matrices in {narrower} on this device, and so the "
        "model's passes may run, as your own do: probabilities are right to some 1e-3. "
        f"{setting_of(device, '')} makes them exact."
    ]
