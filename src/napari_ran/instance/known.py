"""Numbers whose gradient is computed along with them, and the steps down along it.

Autograd's own record of many small operations costs several times what they do themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Compute = Callable[[Tensor, bool], tuple[Tensor, Tensor | None]]
"""Given a tensor and whether its gradient is wanted: a scalar and its gradient, or None where that is zero."""


class _Known(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, compute: Compute) -> Tensor:
        result, gradient = compute(values.detach(), ctx.needs_input_grad[0])
        ctx.gradient = gradient
        return result

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, None]:
        return (None if ctx.gradient is None else ctx.gradient * grad_outputs[0]), None


_known: Callable[..., Any] = _Known.apply


def known(values: Tensor, compute: Compute) -> Tensor:
    """Return the scalar that `compute` finds for `values`, with the gradient that it finds."""
    result: Tensor = _known(values, compute)
    return result


class Adam:
    """Adam (Kingma and Ba, 2015) on one tensor with torch's defaults; torch's own takes a second or two to import."""

    BETAS, EPSILON = (0.9, 0.999), 1e-8

    def __init__(self, values: Tensor) -> None:
        self._values, self._steps = values, 0
        self._mean, self._square = torch.zeros_like(values), torch.zeros_like(values)

    @torch.no_grad()
    def step(self, gradient: Tensor, size: float) -> None:
        """Change the values by one step of at most about `size`."""
        self._steps += 1
        first, second = self.BETAS
        self._mean.lerp_(gradient, 1 - first)
        self._square.mul_(second).addcmul_(gradient, gradient, value=1 - second)
        scale = (self._square / (1 - second**self._steps)).sqrt_().add_(self.EPSILON)
        self._values.addcdiv_(self._mean, scale, value=-size / (1 - first**self._steps))
