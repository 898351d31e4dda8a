"""The Hugging Face hub, asked once whether it is there: without a network nobody waits for it."""

from __future__ import annotations

import difflib
import os
import threading
from pathlib import Path

from rome_widgets.errors import ModelNotFound
from rome_widgets.model.checkpoint import near_models

PATIENCE = 2.5
"""Seconds to wait for the hub's first answer; `HF_HUB_ETAG_TIMEOUT`, where it is set, goes
before."""


def reachable() -> bool:
    """Whether the hub answers.

    Its own client tries six times, for 24 s, where nothing is at the other end.
    """
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    if constants.HF_HUB_OFFLINE:
        return False
    given = os.environ.get("HF_HUB_ETAG_TIMEOUT")
    patience = constants.HF_HUB_ETAG_TIMEOUT if given else PATIENCE
    answered: list[int] = []

    def ask() -> None:
        try:
            answered.append(get_session().head(constants.ENDPOINT, timeout=patience).status_code)
        except Exception:  # whatever keeps it from answering: no network, no name, no time
            return

    # In a thread: looking up the host's name has no time limit of its own.
    asking = threading.Thread(target=ask, name="is the hub there", daemon=True)
    asking.start()
    asking.join(patience)
    return bool(answered)


def not_found(name: str, said: str, *, unreachable: bool) -> ModelNotFound:
    """The error for a name that the hub, or its cache on this machine, did not give."""
    near = near_models(name) or _near_in_cache(name)
    remedy = f"Did you mean {near!r}?" if near else "Check the name, the network and your access."
    if not unreachable:
        return ModelNotFound(
            f"{name} could not be loaded: {said}",
            "A model with config.json, a tokenizer and safetensors weights was wanted.",
            remedy,
        )
    return ModelNotFound(
        f"There is no folder {name!r}, no model of this name in the hub's cache on this machine, "
        "and the hub cannot be reached.",
        "A folder of a model, or a network and the name of a model on the hub, was wanted.",
        remedy,
    )


def _near_in_cache(name: str) -> str | None:
    """A model that was downloaded earlier, of a name like this one."""
    from huggingface_hub import constants

    try:
        kept = [each.name for each in Path(constants.HF_HUB_CACHE).glob("models--*")]
    except OSError:
        return None
    names = [each.removeprefix("models--").replace("--", "/") for each in kept]
    return next(iter(difflib.get_close_matches(name, names, n=1)), None)
