"""study.yaml as two tables: which settings are varied, and which networks are trained."""

import math
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pandas as pd
from pydantic import BaseModel
from torch import nn

from h2a_lib.analysis.comparison.labels import DEFAULT, NAMES, describe_setting, differences
from h2a_lib.analysis.statistics.bootstrap import listed
from h2a_lib.study.config import NETWORKS, RunConfig, StudyConfig
from h2a_lib.study.runs import Run

# Settings of the machine are not tuned.
NOT_TUNED = {"batch_size", "precision", "threads"}
# How much a training may cost, and what for: no choice among networks of one kind.
NOT_COMBINED = {"image_size_px", "epochs", "task"}
SETTINGS = {
    "image_size_px": "image size (px)",
    "epochs": "epochs",
    "network": "depth",
    "width": "width",
    "stem": "stem",
    "schedule": "learning-rate schedule",
    "optimizer": "optimiser",
    "lr": "learning rate",
    "weight_decay": "weight decay",
    "pixel_norm": "pixel scaling",
    "geometry": "geometry",
    "contrast": "contrast",
    "augment": "augmentation",
    "ema_decay": "EMA of the weights",
    "early_stopping_patience": "early stopping",
    "train_fraction": "share of the training hands",
    "pretrained": "ImageNet weights at the start",
    "loss": "loss",
    "sex_input": "sex as an input",
    "task": "task",
}
SIZE_PX = 224
# Random changes of the training images, by the setting of each.
AUGMENTATIONS = {
    "rotation_degrees": "rotation",
    "scale": "scaling",
    "shift": "shift",
    "flip": "mirroring",
    "brightness": "brightness",
    "contrast": "contrast",
}


def hyperparameters(config: StudyConfig, profile: str) -> pd.DataFrame:
    """List every setting that an experiment of study.yaml changes, and to what.

    `tried` are the values of the profile's own experiments, which `experiments` counts, and
    `not_tried` those of the others.
    """
    configs, _ = config.run_configs(profile, config.experiments)
    default, chosen = configs[DEFAULT], config.experiments_of(profile)
    changes = {name: differences(own, default) for name, own in configs.items()}
    rows = []
    for setting in type(default).model_fields:
        values = {name: own[setting] for name, own in changes.items() if setting in own}
        if not values or setting in NOT_TUNED:
            continue
        tried = [value for name, value in values.items() if name in chosen]
        rows.append(
            {
                "setting": SETTINGS.get(setting, setting),
                "default": describe_values([default.model_dump(mode="json")[setting]]),
                "tried": _in_order(tried),
                "not_tried": _in_order(
                    value for value in values.values() if not _is_among(value, tried)
                ),
                "experiments": len(tried),
            }
        )
    return pd.DataFrame(rows)


def _is_among(value: Any, tried: Sequence[Any]) -> bool:
    """Whether a value was tried, or is described as one that was: an augmentation of other size."""
    is_named = isinstance(value, dict) and "name" in value
    return value in tried or (not is_named and _plain(value) in map(_plain, tried))


def _in_order(values: Iterable[Any]) -> str:
    listed = list(values)
    is_number = all(isinstance(value, int | float) for value in listed)
    return describe_values(sorted(listed) if is_number else listed)


def varied_verdict(table: pd.DataFrame) -> str:
    """Return which setting of `hyperparameters` is varied most, for a title."""
    varied = (table["experiments"] > 0).sum()
    first = table.loc[table["experiments"] == table["experiments"].max(), "setting"]
    if not varied:
        return f"none of {len(table)} was varied"
    if len(first) > 1:
        return f"{varied} of {len(table)} were varied"
    return f"the {first.iloc[0]} was varied most"


def changed_besides(config: RunConfig, other: RunConfig, setting: str) -> str:
    """Return how configurations differ besides one setting; "" if they do not.

    >>> changed_besides(config, other, "sex_input")
    'its epochs (24 instead of 40)'
    """
    ours, theirs = differences(config, other), differences(other, config)
    names = [name for name in ours if name != setting]
    if len(names) > 2:
        return f"{len(names)} more settings"
    values = {
        name: (describe_values([ours[name]]), describe_values([theirs[name]])) for name in names
    }
    return " and ".join(
        f"its {SETTINGS.get(name, name)} ({here} instead of {there})"
        for name, (here, there) in values.items()
    )


def describe_values(values: Iterable[Any]) -> str:
    """List different values of one setting; named ones with what differs between them.

    >>> describe_values([{"name": "step", "gamma": 0.1}, {"name": "step", "gamma": 0.5}, "adam"])
    'step (gamma 0.1, 0.5), adam'
    """
    named: dict[str, list[dict[str, Any]]] = {}
    for value in values:
        if isinstance(value, dict) and "name" in value:
            options = {key: option for key, option in value.items() if key != "name"}
            named.setdefault(value["name"], []).append(options)
        else:
            named.setdefault(_plain(value), []).append({})
    texts = [NAMES.get(name, name) + _options(options) for name, options in named.items()]
    return ("; " if any(" and " in text for text in texts) else ", ").join(texts)


def _options(several: Sequence[dict[str, Any]]) -> str:
    """Write the options in which some values of one name differ, or the single numbers of one."""
    values_of = {
        key: list(dict.fromkeys(_plain(options[key]) for options in several)) for key in several[0]
    }
    if len(several) > 1:
        values_of = {key: values for key, values in values_of.items() if len(values) > 1}
    texts = [
        f"{'' if key == 'mode' else key.replace('_', ' ') + ' '}{', '.join(values)}"
        for key, values in values_of.items()
    ]
    return f" ({'; '.join(texts)})" if texts and (len(several) > 1 or len(texts) == 1) else ""


def _plain(value: Any) -> str:
    if value is None:
        return "none"
    if value is False:
        return "no"
    if value is True:
        return "yes"
    if isinstance(value, dict):
        names = [name for key, name in AUGMENTATIONS.items() if value.get(key)]
        return f"random {listed(names)}"
    return f"{value:g}" if isinstance(value, float) else NAMES.get(str(value), str(value))


def possibilities(config: StudyConfig, profile: str) -> int:
    """Return how many networks it would take to try all values of `hyperparameters` together."""
    configs, _ = config.run_configs(profile, config.experiments)
    varied = [field for field in RunConfig.model_fields if field in SETTINGS.keys() - NOT_COMBINED]
    return math.prod(
        len({_counted(getattr(own, field)) for own in configs.values()}) for field in varied
    )


def _counted(value: Any) -> str:
    """Return a value as the table tells it from others: an augmentation of any size is one."""
    named = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    return str(named) if isinstance(named, dict) and "name" in named else _plain(named)


def trained(configs: Sequence[RunConfig], settings: Collection[str]) -> str:
    """List the values that experiments give to some settings, each alone; the default's first."""
    default = next(config for config in configs if config.experiment == DEFAULT)
    changes = [differences(config, default) for config in configs]
    texts = [
        describe_setting(*next(iter(changed.items())))
        for changed in changes
        if len(changed) == 1 and changed.keys() <= settings
    ]
    if len(settings) == 1:
        (setting,) = settings
        texts.insert(0, describe_setting(setting, default.model_dump(mode="json")[setting]))
    return ", ".join(dict.fromkeys(texts)) or "as in the default"


def variables(config: StudyConfig, profile: str) -> dict[str, str]:
    """Return what the deck says of study.yaml, ready to print."""
    configs = [config.run_config(profile, name) for name in config.experiments_of(profile)]
    default = config.run_config(profile, DEFAULT)
    alone = sum(len(differences(own, default)) == 1 for own in configs)
    networks = possibilities(config, profile)
    others = SETTINGS.keys() - {"network", "schedule"}
    return {
        "possibilities": f"{networks / 1e6:.1f} million" if networks >= 1e6 else f"{networks:,}",
        "varied_verdict": varied_verdict(hyperparameters(config, profile)),
        "depths": trained(configs, {"network"}),
        "schedules": trained(configs, {"schedule"}),
        "others": trained(configs, others),
        "sentence": "Task, image size and epochs aside, all combinations of the values in "
        "study.yaml would require "
        f"{networks:,} networks. This study has {len(configs)} experiments: the default, {alone} "
        f"that differ from it in one setting, and {len(configs) - 1 - alone} in several.",
    }


def layers(network: nn.Module) -> int:
    """Count layers as He et al. (2016) do: convolutions and linear layers, shortcuts apart."""
    return sum(
        isinstance(module, nn.Conv2d | nn.Linear) and "downsample" not in name
        for name, module in network.named_modules()
    )


def operations(name: str, size_px: int = SIZE_PX) -> int:
    """Return the floating-point operations of one image; a multiply-add counts as two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    from h2a_lib.models import networks

    # On the meta device: shapes without values, so without the work.
    with torch.device("meta"):
        network = networks.build(name).eval()
        image = torch.empty(1, 1, size_px, size_px)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(image)
    return counter.get_total_flops()


def described(config: RunConfig) -> str:
    """Describe a run's network and how it is trained, in a line.

    "ResNet-18 at half width (2.8 million weights), 100 × 100 px, 32 epochs, AdamW, one cycle,
    small stem, augmentation, EMA of the weights; multi-task (age and sex)"
    """
    import torch

    from h2a_lib.models import networks

    with torch.device("meta"):
        network = networks.from_config(config, pretrained=False)
    weights = sum(weights.numel() for weights in network.parameters())
    width = {1.0: "", 0.5: " at half width"}.get(config.width, f" at {config.width:g} × its width")
    values = config.model_dump(mode="json")
    options = [
        setting
        for setting in ("stem", "augment", "ema_decay", "pretrained", "task", "sex_input")
        if values[setting] not in (None, False, "imagenet", "age")
    ]
    return ", ".join(
        [
            f"{NETWORKS[config.network].title}{width} ({weights / 1e6:.1f} million weights)",
            f"{config.image_size_px} × {config.image_size_px} px",
            f"{config.epochs} epochs",
            *(
                describe_setting(name, values[name])
                for name in ("optimizer", "lr", "schedule", *options)
            ),
        ]
    )


def _size(config: RunConfig) -> tuple[float, ...]:
    return config.width, config.image_size_px, config.train_fraction


def network_table(runs: Sequence[Run]) -> pd.DataFrame:
    """Describe each network that may be trained, as built, and how fast it was in these runs.

    images_per_second is of training, evaluation after each epoch included; of the fastest run as
    large as the default's, which other work on the machine slowed least. The default's runs are the
    first.
    """
    from h2a_lib.models import networks

    rows = []
    as_large = [run for run in runs if _size(run.config) == _size(runs[0].config)]
    for name in networks.TRUNKS:
        network = networks.build(name)
        speeds = [
            len(run.predictions_train) * run.metrics["epochs"] / run.provenance["seconds"]
            for run in as_large
            if run.config.network == name and run.provenance["seconds"] > 0
        ]
        rows.append(
            {
                "network": NETWORKS[name].title,
                "layers": layers(network),
                "million_parameters": round(
                    sum(weights.numel() for weights in network.parameters()) / 1e6, 1
                ),
                f"GFLOPs_at_{SIZE_PX}px": round(operations(name) / 1e9, 1),
                "images_per_second": round(max(speeds, default=math.nan), 1),
            }
        )
    return pd.DataFrame(rows)
