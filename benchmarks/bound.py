"""How fast a step could be at most on this processor, and so what share of its arithmetic.

    python benchmarks/bound.py [--size 224] [--batch 16] [--network resnet18] [--threads 2]

A step is convolutions, and work between them that computes little and moves much. Measured here:
each convolution of the network alone, forward and backward, in torch's way; how fast memory is
copied; and the rate of a matrix product. The bound is the time of the convolutions plus that of the
least that must be moved, were all between two convolutions fused: six readings and two writings of
each batch norm's map (float32; forward: its statistics; then normalise and rectify; backward: two
sums over map and gradient; then the gradient), one reading and one writing of the pooling's maps
each way, and Adam's four readings and three writings of each parameter. Prints
the parts and writes benchmarks/results/bound.json.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from training import matrix_product_gflop_per_s, shortest

from h2a_lib.files import write_json
from h2a_lib.models import networks
from h2a_lib.study import provenance

ROOT = Path(__file__).parents[1]
BYTES = 4  # of a float32
OF_A_NORM, OF_A_PARAMETER = 6 + 2, 4 + 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--network", choices=networks.TRUNKS, default="resnet18")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = networks.build(options.network).to(memory_format=torch.channels_last)
    pixels = torch.randn(options.batch, 1, options.size, options.size)
    observed = layer_maps(network, pixels)
    with FlopCounterMode(display=False) as counter:
        network(pixels)["age"].sum().backward()
    gflop = counter.get_total_flops() / 1e9

    convolving_s = sum(
        shortest(partial(forward_and_backward, module, images, torch.ones_like(answers)), times=5)
        for module, images, answers in observed
        if isinstance(module, nn.Conv2d)
    )
    moved = sum(p.numel() for p in network.parameters()) * OF_A_PARAMETER
    for module, images, answers in observed:
        if isinstance(module, nn.BatchNorm2d):
            moved += answers.numel() * OF_A_NORM
        elif isinstance(module, nn.MaxPool2d):
            moved += 2 * (images.numel() + answers.numel())
    moving_s = moved * BYTES / 1e9 / copied_gb_per_s()
    peak = matrix_product_gflop_per_s(torch.float32)
    result = {
        "convolutions_s": round(convolving_s, 3),
        "convolutions_gflop_per_s": round(gflop / convolving_s, 1),
        "least_moved_gb": round(moved * BYTES / 1e9, 2),
        "moving_s": round(moving_s, 3),
        "matrix_product_gflop_per_s": round(peak, 1),
        "images_per_s_at_most": round(options.batch / (convolving_s + moving_s), 1),
        "share_at_most": round(gflop / (convolving_s + moving_s) / peak, 3),
    }
    print(result)
    result |= {"options": vars(options), "machine": provenance.machine()}
    write_json(ROOT / "benchmarks" / "results" / "bound.json", result)


def layer_maps(network: nn.Module, pixels: Tensor) -> list[tuple[nn.Module, Tensor, Tensor]]:
    """Return each layer with what it is given and what it answers, by one forward pass."""
    observed = []

    def keep(module: nn.Module, given: tuple[Tensor, ...], answers: Tensor) -> None:
        observed.append((module, given[0].detach(), answers.detach()))

    kinds = nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d
    hooks = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, kinds)]
    network(pixels)
    for hook in hooks:
        hook.remove()
    return observed


def forward_and_backward(convolution: nn.Conv2d, images: Tensor, gradient: Tensor) -> None:
    # Nobody asks for the gradient of the pixels themselves.
    images.requires_grad_(images.shape[1] > 1)
    convolution(images).backward(gradient)


def copied_gb_per_s() -> float:
    """Return how fast memory is read and written at once, by copying 256 MB."""
    source = torch.ones(64 * 2**20)
    target = torch.empty_like(source)
    return 2 * source.nbytes / shortest(lambda: target.copy_(source)) / 1e9


if __name__ == "__main__":
    main()
