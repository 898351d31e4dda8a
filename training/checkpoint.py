"""A training that was interrupted, so that the same command goes on with it.

The text is made again from the seed; kept are weights, the optimizers' averages, the state of the
random numbers and how far it was. A training that was resumed ends with the same bits as one that
was not.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from rome_widgets.files.atomic_write import write_whole
from training.world import WorldError

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
        about = {"key": self._key, "losses": json.dumps(losses)}
        tensors = {"random": torch.get_rng_state()}
        for i, module in enumerate(self._modules):
            tensors |= {f"module.{i}.{name}": p.detach() for name, p in module.named_parameters()}
        for i, optimizer in enumerate(self._optimizers):
            for n, parameter in enumerate(_parameters(optimizer)):
                state = optimizer.state[parameter]
                tensors |= {f"optimizer.{i}.{n}.{name}": t for name, t in state.items()}
        write_whole(self._path, save({n: t.contiguous() for n, t in tensors.items()}, about))

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
        torch.set_rng_state(tensors.pop("random"))
        for name, tensor in tensors.items():
            kind, i, *where = name.split(".")
            if kind == "module":
                self._modules[int(i)].get_parameter(".".join(where)).data.copy_(tensor)
            else:
                optimizer, (n, average) = self._optimizers[int(i)], where
                optimizer.state[_parameters(optimizer)[int(n)]][average] = tensor
        losses = json.loads(about["losses"])
        print(f"goes on after step {len(losses)}", flush=True)
        return losses


def _parameters(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
