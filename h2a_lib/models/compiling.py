"""When `torch.compile` is used: where the time that it saves exceeds the time that it takes."""

import shutil

import torch

from h2a_lib.study.config import Settings

# ResNet-18 with Adam on two cores, compiled over eager: in mixed precision 1.09 at 224 px and 1.08
# at 100 px; in float32 1.01 at 224 px and 0.99 at 64 px (docs/performance.md). A tenth is worth it.
LEAST_SIZE_PX = 160
# The half minute of compiling is saved again after 20,000 images; a run should gain more.
LEAST_IMAGES = 100_000


def is_compiled(config: Settings, n_hands: int, device: torch.device) -> bool:
    """Return whether a run's network is compiled.

    Parameters
    ----------
    config : Settings
        Its `compile` decides, unless that is "auto".
    n_hands : int
        Hands that are learnt from, each once an epoch.
    device : torch.device
        Where the network is.
    """
    if config.compile != "auto":
        return config.compile
    return pays_for_itself(config, n_hands, device)


def pays_for_itself(config: Settings, n_hands: int, device: torch.device) -> bool:
    """Return whether compiling saves a run clearly more time than it takes.

    On a processor: in mixed precision, from `LEAST_SIZE_PX` and `LEAST_IMAGES` on, where there is a
    C++ compiler. On a GPU never: replaying (`h2a_lib.models.cuda_graph`) gains more, at once.
    """
    return (
        device.type == "cpu"
        and config.precision == "bf16-mixed"
        and config.image_size_px >= LEAST_SIZE_PX
        and n_hands * config.epochs >= LEAST_IMAGES
        and shutil.which("g++") is not None
    )
