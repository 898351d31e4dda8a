"""A training that was interrupted, so that the same command goes on with it.

The text is made again from the seed; kept are weights, the optimizers' averages, the state of the
random numbers and how far it was. A training that was resumed ends with the same bits as one that
was not.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from training.errors import WorldError

EVERY = 100
"""Steps between two checkpoints."""


class Checkpoint:
    """The file of one training; `key` says of which: recipe, text, and what the bits depend on."""

    def __init__(
        self,
        path: Path | None,
        key: str,
        modules: list[nn.Module],
        optimizers: list[torch.optim.Optimizer],
    ) -> None:
        self._path, self._key = path, key
        self._modules, self._optimizers = modules, optimizers

    def save(self, losses: list[float]) -> None:
        """Keep the state after `len(losses)` steps, whole or not at all."""
        if self._path is None or len(losses) % EVERY:
            return
        tensors = {"random": torch.get_rng_state()}
        for i, module in enumerate(self._modules):
            tensors |= {f"module.{i}.{name}": p.detach() for name, p in module.named_parameters()}
        for i, optimizer in enumerate(self._optimizers):
            tensors |= {f"optimizer.{i}.{name}": t for name, t in _averages(optimizer).items()}
        about = {"key": self._key, "losses": json.dumps(losses)}
        part = self._path.with_suffix(".part")
        save_file({n: t.contiguous() for n, t in tensors.items()}, part, metadata=about)
        os.replace(part, self._path)

    def load(self) -> list[float]:
        """Put back what was kept; the losses of the steps that are done, none if nothing is.

        Raises:
            WorldError: What was kept is damaged, or of another training, which would be lost.
        """
        if self._path is None or not self._path.exists():
            return []
        remedy = f"Give another folder, or delete {self._path}."
        try:
            with safe_open(self._path, "pt") as file:
                about = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            found = f"{self._path} is damaged ({error})."
            raise WorldError(found, "An unfinished training was wanted.", remedy) from error
        if about.get("key") != self._key:
            found = f"{self._path} is of another training: {about.get('key')}."
            raise WorldError(found, f"That of {self._key} was wanted.", remedy)
        for i, module in enumerate(self._modules):
            for name, parameter in module.named_parameters():
                parameter.data.copy_(tensors[f"module.{i}.{name}"])
        for i, optimizer in enumerate(self._optimizers):
            start = f"optimizer.{i}."
            _put_back(
                optimizer,
                {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)},
            )
        torch.set_rng_state(tensors["random"])
        losses = json.loads(about["losses"])
        print(f"goes on after step {len(losses)}", flush=True)
        return losses


def _averages(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    states = optimizer.state_dict()["state"]
    return {f"{n}.{name}": t for n, state in states.items() for name, t in state.items()}


def _put_back(optimizer: torch.optim.Optimizer, averages: dict[str, Tensor]) -> None:
    whole = optimizer.state_dict()
    for key, tensor in averages.items():
        number, name = key.split(".", 1)
        whole["state"].setdefault(int(number), {})[name] = tensor
    optimizer.load_state_dict(whole)
