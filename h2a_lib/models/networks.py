"""Networks that take one grey channel and estimate months, sex, or both.

To add a network, write a function that returns its `Trunk`, list it in `TRUNKS`, and name it in
`h2a_lib.study.config.NETWORKS`.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from pickle import UnpicklingError
from types import ModuleType
from typing import Any, NamedTuple, get_args

import torch
from torch import Tensor, nn

from h2a_lib.errors import UserError, unknown
from h2a_lib.study.config import RunConfig, Stem, Task


class _Deferred(ModuleType):
    """A module that is imported when one of its functions is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)

        def function(*args: Any, **options: Any) -> Any:
            _forget_deferred()
            return getattr(import_module(self.__name__), name)(*args, **options)

        return function


def _forget_deferred() -> None:
    for name in [n for n, module in sys.modules.items() if isinstance(module, _Deferred)]:
        del sys.modules[name]


@contextmanager
def _deferred(*names: str) -> Iterator[None]:
    """Within, an import of these modules imports nothing, unless they are there already."""
    sys.modules.update({name: _Deferred(name) for name in names if name not in sys.modules})
    try:
        yield
    finally:
        _forget_deferred()


# torchvision imports torch's compiler for RoI align, which no network here uses: over a second.
with _deferred("torch._dynamo", "torch._dynamo.utils"):
    import torchvision
    from torchvision.models import WeightsEnum, resnet

TASKS = get_args(Task)
# Names of the stages of every network, from the picture on.
STAGES = ("layer1", "layer2", "layer3", "layer4")
SEX_FEATURES = 32
HIDDEN_FEATURES = 128
EMBEDDING_FEATURES = 256


class Trunk(NamedTuple):
    """A network without its classifier, from (n, 1, h, w) to (n, n_features).

    `stem` holds the paths of the submodules before the first stage, `stages` of those that end the
    four stages, each of half the resolution of the one before; the last gives the map that is
    pooled.
    """

    module: nn.Module
    n_features: int
    stem: tuple[str, ...]
    stages: tuple[str, str, str, str]


class HandNet(nn.Module):
    """A trunk with a head for each output of the task.

    Given the sex, by `sex_input` or in the training of "both", months are estimated for that sex.
    Where "both" is not given it, months are the mean of those for either sex, weighted by the
    network's own probability of it.

    Parameters
    ----------
    task : {"age", "sex", "both", "ssl"}
        Which heads there are; "ssl" has the projector of self-supervised training alone.
    stride : int
        Pixels of the picture for one place of the last map.
    """

    def __init__(
        self,
        trunk: Trunk,
        task: Task,
        sex_input: bool = False,
        quantiles: bool = False,
        stride: int = 32,
    ):
        super().__init__()
        self.trunk = trunk.module
        self.n_features = trunk.n_features
        self.task = task
        self.sex_input = sex_input
        self.conditions_on_sex = sex_input or task == "both"
        self.quantiles = quantiles
        self.stride = stride
        self._stem_paths = trunk.stem
        self._stage_paths = trunk.stages
        n_age_outputs = 3 if quantiles else 1
        if self.conditions_on_sex:
            self.read_sex = nn.Sequential(nn.Linear(1, SEX_FEATURES), nn.ReLU())
        if task in ("age", "both"):
            # With sex, a hidden layer: girls and boys differ in slope, not in offset alone.
            self.age_head = (
                nn.Sequential(
                    nn.Linear(self.n_features + SEX_FEATURES, HIDDEN_FEATURES),
                    nn.ReLU(),
                    nn.Linear(HIDDEN_FEATURES, n_age_outputs),
                )
                if self.conditions_on_sex
                else nn.Linear(self.n_features, n_age_outputs)
            )
        if task in ("sex", "both"):
            self.sex_head = nn.Linear(self.n_features, 1)
        if task == "ssl":
            self.projector = nn.Sequential(
                nn.Linear(self.n_features, EMBEDDING_FEATURES),
                nn.BatchNorm1d(EMBEDDING_FEATURES),
                nn.ReLU(),
                nn.Linear(EMBEDDING_FEATURES, EMBEDDING_FEATURES),
            )

    @property
    def stem(self) -> list[nn.Module]:
        """Modules before the first stage."""
        return [self.trunk.get_submodule(path) for path in self._stem_paths]

    @property
    def stages(self) -> dict[str, nn.Module]:
        """Module that ends each of `STAGES`."""
        modules = map(self.trunk.get_submodule, self._stage_paths)
        return dict(zip(STAGES, modules, strict=True))

    @contextmanager
    def record_maps(self, *names: str) -> Iterator[dict[str, Tensor]]:
        """Keep the maps, (n, channels, h, w), of stages (default: all) of the latest pass."""
        maps: dict[str, Tensor] = {}

        def keep(name: str) -> Callable[..., None]:
            return lambda module, inputs, output: maps.update({name: output})

        stages = self.stages
        hooks = [stages[name].register_forward_hook(keep(name)) for name in names or STAGES]
        try:
            yield maps
        finally:
            for hook in hooks:
                hook.remove()

    def features(self, images: Tensor) -> Tensor:
        """Return the input of the heads, (n, n_features), without the sex input."""
        return self.trunk(images)

    def forward(self, images: Tensor, male: Tensor | None = None) -> dict[str, Tensor]:
        """Estimate what the task asks for, from normalised images, (n, 1, h, w).

        A network with sex input needs `male`, (n,), 1 or 0 for female; one for both tasks takes it
        in training. Each output is (n,): "age" and with quantiles "age_low" and "age_high", months
        standardised by the training labels; "sex", logit of male. "embedding" is
        (n, `EMBEDDING_FEATURES`).
        """
        features = self.features(images)
        outputs: dict[str, Tensor] = {}
        if self.task in ("sex", "both"):
            outputs["sex"] = self.sex_head(features).squeeze(1)
        if self.task == "both" and male is None:
            outputs |= self._ages_of_unknown_sex(features, outputs["sex"].sigmoid())
        elif self.task in ("age", "both"):
            outputs |= self._ages(features, male)
        if self.task == "ssl":
            outputs["embedding"] = self.projector(features)
        return outputs

    def _ages_of_unknown_sex(self, features: Tensor, p_male: Tensor) -> dict[str, Tensor]:
        of_girls = self._ages(features, torch.zeros_like(p_male))
        of_boys = self._ages(features, torch.ones_like(p_male))
        return {name: (1 - p_male) * of_girls[name] + p_male * of_boys[name] for name in of_girls}

    def _ages(self, features: Tensor, male: Tensor | None) -> dict[str, Tensor]:
        if self.conditions_on_sex:
            if male is None:
                raise ValueError("this network has sex as an input: give `male`")
            sign = male.to(features.dtype).unsqueeze(1) * 2 - 1
            features = torch.cat([features, self.read_sex(sign)], dim=1)
        values = self.age_head(features)
        if not self.quantiles:
            return {"age": values.squeeze(1)}
        median, below, above = values.float().unbind(1)
        # Distances from the median are positive, so the quantiles cannot cross.
        return {
            "age": median,
            "age_low": median - nn.functional.softplus(below),
            "age_high": median + nn.functional.softplus(above),
        }


# --- trunks --------------------------------------------------------------------------------------


class _ResNet(torchvision.models.ResNet):
    """torchvision's ResNet with a multiple of the channels."""

    def __init__(self, block: Any, layers: list[int], width: float):
        self.width = width
        super().__init__(block, layers)

    def _make_layer(self, block: Any, planes: int, *arguments: Any, **options: Any) -> Any:
        if planes == 64:  # the first stage
            self.inplanes = self.channels(64)
        return super()._make_layer(block, self.channels(planes), *arguments, **options)

    def channels(self, planes: int) -> int:
        return round(planes * self.width)


def _resnet(
    block: Any, layers: tuple[int, ...], name: str, width: float, stem: Stem, pretrained: bool
) -> Trunk:
    # He et al. 2016, CVPR, table 1.
    module = _ResNet(block, list(layers), width)
    channels = module.channels(64)
    if pretrained:
        module.load_state_dict(_imagenet_weights(name))
    side, stride, padding = (7, 2, 3) if stem == "imagenet" else (3, 2, 1)
    grey = nn.Conv2d(1, channels, side, stride, padding, bias=False)
    module.conv1 = _initialised(grey, module.conv1 if pretrained else None)
    if width != 1:
        module.bn1 = nn.BatchNorm2d(channels)
    if stem == "small":
        module.maxpool = nn.Identity()
    module.fc = nn.Identity()
    return Trunk(module, module.channels(512) * block.expansion, ("conv1", "bn1"), STAGES)


def _mobilenet(name: str, width: float, stem: Stem, pretrained: bool) -> Trunk:
    # Howard et al. 2019, ICCV, table 2.
    module = torchvision.models.mobilenet_v3_small(weights=None)
    n_features = module.classifier[0].in_features
    if pretrained:
        module.load_state_dict(_imagenet_weights(name))
    colour = module.features[0][0]
    grey = nn.Conv2d(1, colour.out_channels, 3, stride=2, padding=1, bias=False)
    module.features[0][0] = _initialised(grey, colour if pretrained else None)
    module.classifier = nn.Identity()
    stages = ("features.1", "features.3", "features.8", "features.12")
    return Trunk(module, n_features, ("features.0",), stages)


def _convnext(name: str, width: float, stem: Stem, pretrained: bool) -> Trunk:
    # Liu et al. 2022, CVPR. Without stochastic depth, whose draws a resumed training would not
    # repeat.
    module = torchvision.models.convnext_tiny(weights=None, stochastic_depth_prob=0.0)
    n_features = module.classifier[2].in_features
    if pretrained:
        module.load_state_dict(_imagenet_weights(name))
    colour = module.features[0][0]
    grey = nn.Conv2d(1, colour.out_channels, 4, stride=4)
    module.features[0][0] = _initialised(grey, colour if pretrained else None)
    module.classifier[2] = nn.Identity()
    stages = ("features.1", "features.3", "features.5", "features.7")
    return Trunk(module, n_features, ("features.0",), stages)


# Name -> function of name, width, stem and whether it starts from ImageNet's weights.
TRUNKS: dict[str, Callable[[str, float, Stem, bool], Trunk]] = {
    "resnet18": partial(_resnet, resnet.BasicBlock, (2, 2, 2, 2)),
    "resnet34": partial(_resnet, resnet.BasicBlock, (3, 4, 6, 3)),
    "resnet50": partial(_resnet, resnet.Bottleneck, (3, 4, 6, 3)),
    "resnet101": partial(_resnet, resnet.Bottleneck, (3, 4, 23, 3)),
    "mobilenet_v3_small": _mobilenet,
    "convnext_tiny": _convnext,
}


def _initialised(grey: nn.Conv2d, colour: nn.Conv2d | None) -> nn.Conv2d:
    """Set a first layer's weights: of the colour network, or random (He et al. 2015)."""
    with torch.no_grad():
        if colour is None:
            nn.init.kaiming_normal_(grey.weight, mode="fan_out", nonlinearity="relu")
            if grey.bias is not None:
                nn.init.zeros_(grey.bias)
        else:
            # What the network would compute on a grey image given three times.
            grey.weight.copy_(colour.weight.sum(dim=1, keepdim=True))
            if grey.bias is not None and colour.bias is not None:
                grey.bias.copy_(colour.bias)
    return grey


# --- building ------------------------------------------------------------------------------------


def build(
    name: str,
    task: Task = "age",
    sex_input: bool = False,
    pretrained: bool = False,
    *,
    width: float = 1.0,
    stem: Stem = "imagenet",
    quantiles: bool = False,
) -> HandNet:
    """Build a network; a UserError lists the known names, or says that weights cannot be reached.

    Parameters
    ----------
    pretrained : bool
        Start from ImageNet's weights, the first layer summed over its three colour channels.
        Otherwise initial weights come from torch's global generator; seed it before.
    width : float
        Multiple of a ResNet's channels.
    stem : {"imagenet", "small"}
        Of a ResNet: 7 x 7 with stride 2 and max pooling, or 3 x 3 with stride 2 alone.
    """
    if name not in TRUNKS:
        raise unknown("network", name, TRUNKS)
    if task not in TASKS:
        raise unknown("task", task, TASKS)
    trunk = TRUNKS[name](name, width, stem, pretrained)
    return HandNet(trunk, task, sex_input, quantiles, stride=32 if stem == "imagenet" else 16)


def from_config(config: RunConfig, pretrained: bool | None = None) -> HandNet:
    """Build the network of a run, by default with the initial weights that its settings ask for."""
    return build(
        config.network,
        config.task,
        config.sex_input,
        config.pretrained if pretrained is None else pretrained,
        width=config.width,
        stem=config.stem,
        quantiles=config.loss == "quantile",
    )


def initial(config: RunConfig, device: torch.device) -> HandNet:
    """Build a run's network on its device, its initial weights drawn by the run's seed."""
    torch.manual_seed(config.seed)
    return from_config(config).to(device).to(memory_format=torch.channels_last)


def imagenet_file(name: str) -> Path:
    """Return where torch stores ImageNet's weights of a network, whether they are there or not."""
    return Path(torch.hub.get_dir(), "checkpoints", Path(_imagenet(name).url).name)


def _imagenet(name: str) -> WeightsEnum:
    weights: Any = torchvision.models.get_model_weights(name)
    return weights.DEFAULT


def _imagenet_weights(name: str) -> Mapping[str, Any]:
    """Return ImageNet's weights from torch's own store, fetched into it if need be."""
    file, weights = imagenet_file(name), _imagenet(name)
    try:
        # weights_only: the file is a pickle, and whoever placed it could have put code in it.
        return weights.get_state_dict(check_hash=True, weights_only=True)
    except OSError as error:
        raise UserError(
            f"pretrained: true needs {weights.url}, which cannot be reached ({error}). "
            f"Place the file in {file.parent}, or set pretrained: false"
        ) from None
    except (UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(
            f"pretrained: true: {file} holds no weights: {str(error).splitlines()[0]}"
        ) from None
