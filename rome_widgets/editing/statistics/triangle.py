"""A symmetric matrix as its upper triangle: half the bytes of a file."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def upper_triangle(matrix: Tensor) -> Tensor:
    """`[d, d]` -> `[d (d + 1) / 2]`, row by row, the diagonal included."""
    rows, columns = torch.triu_indices(*matrix.shape)
    return matrix[rows, columns].contiguous()


def symmetric(triangle: Tensor) -> Tensor:
    """The matrix whose `upper_triangle` it is."""
    d = (math.isqrt(8 * len(triangle) + 1) - 1) // 2
    rows, columns = torch.triu_indices(d, d)
    matrix = triangle.new_zeros(d, d)
    matrix[rows, columns] = triangle
    matrix[columns, rows] = triangle
    return matrix
