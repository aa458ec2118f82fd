"""When `torch.compile` is used: where the time that it saves exceeds the time that it takes."""

import shutil

import torch

from h2a_lib.study import Settings

# Below this side a compiled ResNet is no faster on a CPU.
LEAST_SIZE_PX = 160
# Images gone through until the saving has paid for the compilation.
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
    """Return whether compiling saves a run more time than it takes."""
    if device.type == "cpu" and (config.image_size_px < LEAST_SIZE_PX or not shutil.which("g++")):
        return False
    return n_hands * config.epochs >= LEAST_IMAGES
