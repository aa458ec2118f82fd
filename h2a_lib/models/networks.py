"""ResNets that read one grey channel and answer in months, in sex, or in both."""

from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, Literal, get_args

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import WeightsEnum

from h2a_lib.errors import UserError, unknown
from h2a_lib.models.convolution import quicken
from h2a_lib.models.pooling import MaxPool2d
from h2a_lib.study.config import RunConfig

# Name -> (constructor, ImageNet weights); He et al. 2016, CVPR, table 1.
RESNETS = {
    "resnet18": (torchvision.models.resnet18, torchvision.models.ResNet18_Weights.IMAGENET1K_V1),
    "resnet34": (torchvision.models.resnet34, torchvision.models.ResNet34_Weights.IMAGENET1K_V1),
    "resnet50": (torchvision.models.resnet50, torchvision.models.ResNet50_Weights.IMAGENET1K_V2),
}
Task = Literal["age", "sex", "both"]
TASKS = get_args(Task)
SEX_FEATURES = 32
HIDDEN_FEATURES = 128


class HandNet(nn.Module):
    """A ResNet trunk with a head for each answer.

    Parameters
    ----------
    trunk : nn.Module
        A torchvision ResNet with one input channel and no classifier.
    n_features : int
        Width of the trunk's output.
    task : {"age", "sex", "both"}
        Which heads there are.
    sex_input : bool
        Whether the age head is told the sex.
    """

    def __init__(
        self,
        trunk: nn.Module,
        n_features: int,
        task: Task,
        sex_input: bool,
    ):
        super().__init__()
        self.trunk = trunk
        self.n_features = n_features
        self.task = task
        self.sex_input = sex_input
        if sex_input:
            self.read_sex = nn.Sequential(nn.Linear(1, SEX_FEATURES), nn.ReLU())
        if task in ("age", "both"):
            # With sex, a hidden layer: girls and boys differ in slope, not in offset alone.
            self.age_head = (
                nn.Sequential(
                    nn.Linear(n_features + SEX_FEATURES, HIDDEN_FEATURES),
                    nn.ReLU(),
                    nn.Linear(HIDDEN_FEATURES, 1),
                )
                if sex_input
                else nn.Linear(n_features, 1)
            )
        if task in ("sex", "both"):
            self.sex_head = nn.Linear(n_features, 1)

    def features(self, images: Tensor) -> Tensor:
        """Pooled activations of the last block, before any head and without the sex input.

        Parameters
        ----------
        images : Tensor
            (n, 1, h, w), float, normalised.

        Returns
        -------
        Tensor
            (n, n_features): 512 for ResNet-18 and 34, 2048 for ResNet-50.
        """
        return self.trunk(images)

    def forward(self, images: Tensor, male: Tensor | None = None) -> dict[str, Tensor]:
        """Answer for a batch.

        Parameters
        ----------
        images : Tensor
            (n, 1, h, w), float, normalised.
        male : Tensor, optional
            (n,), 1 for male and 0 for female; needed when the network has the sex input.

        Returns
        -------
        dict of str to Tensor
            "age": (n,), months standardised by the training labels; "sex": (n,), logit of male.

        Raises
        ------
        ValueError
            If the network has the sex input and `male` is not given.
        """
        features = self.features(images)
        answers = {}
        if self.task in ("age", "both"):
            known = features
            if self.sex_input:
                if male is None:
                    raise ValueError("this network has sex as an input: give `male`")
                sign = male.to(features.dtype).unsqueeze(1) * 2 - 1
                known = torch.cat([features, self.read_sex(sign)], dim=1)
            answers["age"] = self.age_head(known).squeeze(1)
        if self.task in ("sex", "both"):
            answers["sex"] = self.sex_head(features).squeeze(1)
        return answers


def build(
    name: str, task: Task = "age", sex_input: bool = False, pretrained: bool = False
) -> HandNet:
    """Build a network.

    Parameters
    ----------
    name : str
        A key of `RESNETS`.
    task : {"age", "sex", "both"}
        What it answers.
    sex_input : bool
        Whether the age head is told the sex.
    pretrained : bool
        Start from ImageNet's weights, the first layer summed over its three colour channels (what
        the network would compute on a grey image given three times). Otherwise initial weights come
        from torch's global generator; seed it before.

    Returns
    -------
    HandNet

    Raises
    ------
    UserError
        If the name or task is not known, or the ImageNet weights are neither stored nor reachable.
    """
    if name not in RESNETS:
        raise unknown("network", name, RESNETS)
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    constructor, weights = RESNETS[name]
    trunk = constructor(weights=None)
    if pretrained:
        trunk.load_state_dict(_imagenet(weights))
    colour = trunk.conv1
    trunk.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    with torch.no_grad():
        if pretrained:
            trunk.conv1.weight.copy_(colour.weight.sum(dim=1, keepdim=True))
        else:
            nn.init.kaiming_normal_(trunk.conv1.weight, mode="fan_out", nonlinearity="relu")
    n_features = trunk.fc.in_features
    trunk.fc = nn.Identity()
    quicken(trunk)
    trunk.maxpool = MaxPool2d(kernel_size=3, stride=2, padding=1)
    return HandNet(trunk, n_features, task, sex_input)


def of_run(config: RunConfig, device: torch.device) -> HandNet:
    """Build a run's network where it will learn, its initial weights drawn by the run's seed."""
    torch.manual_seed(config.seed)
    network = build(config.network, config.task, config.sex_input, config.pretrained)
    return network.to(device).to(memory_format=torch.channels_last)


def _imagenet(weights: WeightsEnum) -> Mapping[str, Any]:
    """Return ImageNet's weights from torch's own store, fetched into it if need be."""
    place = f"{torch.hub.get_dir()}/checkpoints"
    try:
        # weights_only: the file is a pickle, and whoever placed it could have put code in it.
        return weights.get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:
        raise UserError(
            f"pretrained: true needs {weights.url}, which cannot be reached ({error}). "
            f"Place the file in {place}, or set pretrained: false"
        ) from None
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"pretrained: true: {place}/{Path(weights.url).name} holds no weights: "
            f"{str(error).splitlines()[0]}"
        ) from None
