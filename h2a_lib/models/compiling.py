"""When `torch.compile` is used: where the time that it saves exceeds the time that it takes."""

import shutil

import torch

from h2a_lib.study import Settings

# ResNet-18 with Adam on two cores, images a second, eager and compiled: 9.4 and 12.7 at 224 px,
# 84 and 91 at 100 px, no gain at 64 px (docs/performance.md).
LEAST_SIZE_PX = 160
# At 224 px 78 s of compiling are saved again after 2,800 images; a run should gain, not break even.
LEAST_IMAGES = 10_000


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

    On a processor: from `LEAST_SIZE_PX` and `LEAST_IMAGES` on, where there is a C++ compiler. On a
    GPU it was not measured, and is not done unless asked for.
    """
    return (
        device.type == "cpu"
        and config.image_size_px >= LEAST_SIZE_PX
        and n_hands * config.epochs >= LEAST_IMAGES
        and shutil.which("g++") is not None
    )
