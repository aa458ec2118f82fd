"""A network's step as a CUDA graph: recorded once, its kernels then launched all together."""

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn

from h2a_lib.models.networks import HandNet


class Graphed(nn.Module):
    """A network that replays its forward and backward pass for batches of one size, on the GPU.

    A step of ResNet-18 launches over a thousand kernels, and for small batches a large GPU computes
    them in a fraction of the time that a processor takes to launch them (docs/performance.md).
    Batches of another size, such as the last of an epoch, go through the network itself. For
    training alone: the network as it is answers in evaluation mode.
    """

    def __init__(self, network: HandNet, batch_size: int, image_size_px: int, fabric: Fabric):
        super().__init__()
        self.network = network
        self.batch_size = batch_size
        shape = (batch_size, 1, image_size_px, image_size_px)
        sample = [torch.zeros(shape, device=fabric.device)]
        if network.conditions_on_sex:
            sample.append(torch.zeros(batch_size, device=fabric.device))
        # Recorded on a stream of its own, whose gradients the step then adds on the usual one.
        torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
        with fabric.autocast():
            mixed, kind = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
        # Without the cache, whose copies of the weights would be recorded and never change.
        with torch.autocast("cuda", kind, enabled=mixed, cache_enabled=False):
            # What is recorded is changed in place, so it is not the network itself.
            self.recorded: Any = torch.cuda.make_graphed_callables(_Whole(network), tuple(sample))

    def forward(self, images: Tensor, male: Tensor | None = None) -> dict[str, Tensor]:
        """Answer for a batch, as the network does."""
        if len(images) != self.batch_size:
            return self.network(images, male)
        return self.recorded(images) if male is None else self.recorded(images, male)


class _Whole(nn.Module):
    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network

    def forward(self, *given: Tensor) -> dict[str, Tensor]:
        return self.network(*given)
