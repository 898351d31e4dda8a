"""Muon: momentum whose update is made orthogonal, for the matrices inside the blocks.

After Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon). `torch.optim.Muon` rounds to
bfloat16 on the way, which makes weights depend on the processor more than float32 does, and scales
for `nn.Linear`; GPT-2's matrices are stored transposed.
"""

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

# Quintic Newton-Schulz coefficients of the source: five steps bring all singular
# values close to one.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


class Muon(torch.optim.Optimizer):
    """Nesterov momentum made orthogonal, weight decay apart; for `[d_in, d_out]` matrices."""

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One update; matrices of one shape are treated together."""
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for param in group["params"]:
                by_shape[param.shape].append(param)
            for (d_in, d_out), params in by_shape.items():
                directions = orthogonal(
                    torch.stack([self._momentum(p, group["momentum"]) for p in params])
                )
                scale = max(1.0, d_out / d_in) ** 0.5
                for param, direction in zip(params, directions, strict=True):
                    param.mul_(1 - group["lr"] * group["weight_decay"])
                    param.add_(direction, alpha=-group["lr"] * scale)

    def _momentum(self, param: Tensor, momentum: float) -> Tensor:
        gradient = param.grad
        if gradient is None:
            raise ValueError("A matrix has no gradient; call backward before step.")
        state = self.state[param]
        average = state.setdefault("average", torch.zeros_like(param))
        average.lerp_(gradient, 1 - momentum)
        return gradient.lerp(average, momentum)


def orthogonal(matrices: Tensor) -> Tensor:
    """`[n, rows, columns]` -> the same with singular values near one."""
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    a, b, c = COEFFICIENTS
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x
