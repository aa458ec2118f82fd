"""Convolutions of small maps as matrix products, which processors compute faster."""

import torch
from torch import Tensor, nn

# Height times width of the output up to which the product wins, measured: docs/performance.md.
MOST_POSITIONS = 2 * 2


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d`, faster on a processor where the map is small.

    The last stage of a ResNet has a map of 2 x 2 for an image of 64 px, and there oneDNN's
    convolution, its gradient above all, is slower than a matrix product. So those positions are
    gathered (im2col: Chellapilla et al. 2006) and multiplied. The result is the same but for
    rounding. A GPU, an exported network and larger maps keep torch's convolution.
    """

    padding: tuple[int, ...]

    def forward(self, images: Tensor) -> Tensor:
        """Convolve (n, channels in, h, w); the product gives its result channels last."""
        if images.device.type != "cpu" or torch.compiler.is_exporting():
            return super().forward(images)
        sides = [
            (side + 2 * padding - kernel) // stride + 1
            for side, padding, kernel, stride in zip(
                images.shape[-2:], self.padding, self.kernel_size, self.stride, strict=True
            )
        ]
        if sides[0] * sides[1] > MOST_POSITIONS:
            return super().forward(images)
        return self._as_product(images).unflatten(1, sides).permute(0, 3, 1, 2)

    def _as_product(self, images: Tensor) -> Tensor:
        """Convolve by a product: (n, positions, channels out)."""
        rows, columns = self.padding
        padded = nn.functional.pad(images.permute(0, 2, 3, 1), (0, 0, columns, columns, rows, rows))
        pixels = torch.arange(padded[0, :, :, 0].numel()).view(padded.shape[1:3])
        for axis in (0, 1):
            pixels = pixels.unfold(axis, self.kernel_size[axis], self.stride[axis])
        # For each output position the pixels under its kernel, in the order of the kernel.
        patches = padded.flatten(1, 2).index_select(1, pixels.flatten())
        kernels = self.weight.permute(0, 2, 3, 1).flatten(1)
        return nn.functional.linear(
            patches.view(len(images), -1, kernels.shape[1]), kernels, self.bias
        )


def use_matrix_products(network: nn.Module) -> None:
    """Let every convolution of a network be a `Conv2d` of this module, weights unchanged."""
    for module in network.modules():
        # What ours cannot do stays torch's: groups, dilation, padding by name or by reflection.
        if type(module) is nn.Conv2d and (
            module.groups == 1
            and module.dilation == (1, 1)
            and module.padding_mode == "zeros"
            and not isinstance(module.padding, str)
        ):
            module.__class__ = Conv2d
