"""Max pooling that stays torch's own where a network is compiled."""

from typing import Any

import torch
from torch import Tensor, nn

_aten = torch.ops.aten


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d`, quicker on a processor where the network is compiled.

    The gradient of the pooling that Inductor writes for a processor takes several times as long as
    torch's own and eats what compiling gains (docs/performance.md). Inductor cannot look into an
    operator of ours, and so keeps torch's. The result is the same, to the bit.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Pool (n, channels, h, w) to (n, channels, h', w')."""
        is_compiled = torch.compiler.is_compiling() and not torch.compiler.is_exporting()
        if images.device.type != "cpu" or not is_compiled:
            return super().forward(images)
        return max_pool2d(images, [self.kernel_size], [self.stride], [self.padding])[0]


@torch.library.custom_op("h2a::max_pool2d", mutates_args=())
def max_pool2d(
    images: Tensor, kernel: list[int], stride: list[int], padding: list[int]
) -> tuple[Tensor, Tensor]:
    """Return the largest of each window, and where in its map it stands."""
    return _aten.max_pool2d_with_indices(images, kernel, stride, padding)


@torch.library.custom_op("h2a::max_pool2d_backward", mutates_args=())
def max_pool2d_backward(
    gradient: Tensor,
    images: Tensor,
    chosen: Tensor,
    kernel: list[int],
    stride: list[int],
    padding: list[int],
) -> Tensor:
    """Return the gradient of the images, of which only the chosen pixels have one."""
    return _aten.max_pool2d_with_indices_backward(
        gradient, images, kernel, stride, padding, [1], False, chosen
    )


@max_pool2d.register_fake
def _(images: Tensor, *window: list[int]) -> tuple[Tensor, Tensor]:
    return _aten.max_pool2d_with_indices(images, *window)


@max_pool2d_backward.register_fake
def _(gradient: Tensor, images: Tensor, *_: Any) -> Tensor:
    return torch.empty_like(images)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    images, *ctx.window = inputs
    ctx.save_for_backward(images, output[1])


def _differentiate(ctx: Any, gradient: Tensor, _: None) -> tuple[Tensor | None, ...]:
    return max_pool2d_backward(gradient, *ctx.saved_tensors, *ctx.window), None, None, None


max_pool2d.register_autograd(_differentiate, setup_context=_keep)
