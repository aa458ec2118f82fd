"""The residual blocks, drawn from the networks as they are built."""

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from h2a_lib.figures.colours import BLACK, BLUE, FAINT, GREY, VERMILLION
from h2a_lib.study.results import Drawing

BOX = {"boxstyle": "round,pad=0.02,rounding_size=0.06", "linewidth": 1.5}


def blocks() -> Drawing:
    """Draw the two kinds of block of the networks that may be trained."""
    from h2a_lib.models import networks

    figure, axes = plt.subplots(1, 2, figsize=(5.8, 4.4))
    for name, title, ax in zip(
        ("resnet18", "resnet50"), ("ResNet-18 and 34", "ResNet-50"), axes, strict=True
    ):
        # The second block: the first may bring its input to another shape on the way.
        residual_block(networks.build(name).trunk.layer1[1], title, ax)
    return Drawing(
        figure,
        "residual_block",
        alt="Two residual blocks: convolutions in a column, with batch normalisation after each, "
        "and a shortcut that adds the input to their output. ResNet-18 and 34 have two "
        "convolutions in a block, ResNet-50 three.",
        caption="The residual blocks at full width: kernel size and output channels of each "
        "convolution; BN: batch normalisation",
    )


def residual_block(block: nn.Module, title: str, axes: Axes) -> None:
    """Draw one block of a torchvision ResNet: convolutions in a column, a shortcut around them."""
    convolutions = [module for module in block.children() if isinstance(module, nn.Conv2d)]
    top = len(convolutions)
    for i, convolution in enumerate(convolutions):
        y = top - i
        side, _ = convolution.kernel_size
        axes.add_patch(FancyBboxPatch((-1.3, y - 0.2), 2.6, 0.4, fc="#E3F0F7", ec=BLUE, **BOX))
        label = f"{side} × {side}, {convolution.out_channels}"
        axes.text(0, y, label, ha="center", va="center", color=BLACK, fontsize=16)
        # After the last the sum comes first, then ReLU.
        last = i == top - 1
        after = "BN" if last else "BN, ReLU"
        _arrow((0, y - 0.25), (0, 0.3 if last else y - 0.75), axes, GREY)
        axes.text(0.08, y - 0.5, after, va="center", fontsize=13, color=FAINT)
    _arrow((0, top + 0.75), (0, top + 0.25), axes, GREY)
    axes.text(0.08, top + 0.6, "x", va="center", style="italic", fontsize=15)
    axes.text(-1.45, (top + 1) / 2, "F(x)", ha="right", va="center", style="italic", fontsize=15)
    # The shortcut: the input is added to the output of the convolutions.
    shortcut = [(0, top + 0.5), (1.7, top + 0.5), (1.7, 0.15), (0.17, 0.15)]
    axes.plot(*zip(*shortcut[:3], strict=True), color=VERMILLION)
    _arrow(shortcut[2], shortcut[3], axes, VERMILLION)
    axes.text(1.78, (top + 1) / 2, "x, unchanged", va="center", rotation=270, color=VERMILLION)
    axes.text(0, 0.15, "+", ha="center", va="center", fontsize=16, color=VERMILLION)
    axes.add_patch(FancyBboxPatch((-0.13, 0.03), 0.26, 0.24, fc="none", ec=VERMILLION, **BOX))
    _arrow((0, 0.0), (0, -0.45), axes, GREY)
    axes.text(0.08, -0.25, "ReLU", va="center", fontsize=13, color=FAINT)
    axes.text(0, -0.62, "ReLU(F(x) + x)", ha="center", va="center", style="italic", fontsize=15)
    axes.set_title(title)
    axes.set(xlim=(-2.1, 2.15), ylim=(-0.8, 3.9))
    axes.axis("off")


def _arrow(start: tuple[float, float], end: tuple[float, float], axes: Axes, colour: str) -> None:
    axes.add_patch(
        FancyArrowPatch(start, end, arrowstyle="-|>", mutation_scale=14, color=colour, lw=1.8)
    )
