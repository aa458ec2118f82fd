"""An experiment in plain words: by what it does otherwise than the default."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from h2a_lib.study.config import DEFAULT, RunConfig

# Of more settings than this, the name and their number.
MOST_SETTINGS = 2

Values = dict[str, Any]


def differences(config: RunConfig, default: RunConfig) -> Values:
    """Return the settings in which one configuration differs from another."""
    ours, theirs = config.model_dump(mode="json"), default.model_dump(mode="json")
    return {
        key: value
        for key, value in ours.items()
        if key not in ("experiment", "seed") and value != theirs[key]
    }


def label(config: RunConfig, default: RunConfig) -> str:
    """Describe an experiment by how it differs from the default.

    >>> label(config, default)
    'divide by 10 every 9 epochs'
    """
    changed = differences(config, default)
    if not changed:
        return "default"
    if len(changed) > MOST_SETTINGS:
        return f"{config.experiment} ({len(changed)} settings)"
    return ", ".join(describe_setting(key, value) for key, value in changed.items())


def labels_of(configs: Mapping[str, RunConfig], experiments: Iterable[str]) -> dict[str, str]:
    """Return the label of each experiment; the default's says what the others change.

    >>> labels_of(configs, ["resnet18", "resnet34"])
    {'resnet18': 'ResNet-18 (default)', 'resnet34': 'ResNet-34'}
    """
    default, names = configs[DEFAULT], list(experiments)
    changed = {key for name in names for key in differences(configs[name], default)}
    labels = {name: label(configs[name], default) for name in names}
    if DEFAULT in labels and changed:
        setting = "optimizer" if "optimizer" in changed else min(changed)
        if len(changed) == 1 or setting == "optimizer":
            value = default.model_dump(mode="json")[setting]
            labels[DEFAULT] = f"{describe_setting(setting, value)} (default)"
    return labels


def describe_setting(setting: str, value: Any) -> str:
    """Describe a value of one setting, as `RunConfig.model_dump` has it."""
    if setting in DESCRIPTIONS:
        return DESCRIPTIONS[setting](value)
    plain = f"{value:g}" if isinstance(value, float) else value
    return f"{setting.replace('_', ' ')} {plain}"


def _times(gamma: float) -> str:
    return {0.1: "divide by 10", 0.5: "halve"}.get(gamma, f"× {gamma:g}")


def _schedule(value: Values) -> str:
    name = value["name"]
    if name == "step":
        epochs = value["step_size"]
        every = "every epoch" if epochs == 1 else f"every {epochs:g} epochs"
        return f"{_times(value['gamma'])} {every}"
    if name == "exponential":
        return f"{_times(value['gamma'])} every epoch"
    if name == "cyclic":
        peaks = {"triangular": "equal", "triangular2": "halving", "exp_range": "decaying"}
        return f"cycles, {peaks[value['mode']]} peaks"
    return {
        "plateau": "reduce on plateau",
        "one_cycle": "one cycle",
        "cosine": "cosine",
        "constant": "constant rate",
    }[name]


DESCRIPTIONS: dict[str, Callable[[Any], str]] = {
    "network": lambda value: f"ResNet-{value.removeprefix('resnet')}",
    "schedule": _schedule,
    "optimizer": lambda value: {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}[value["name"]],
    "lr": lambda value: f"rate {value:g}",
    "weight_decay": lambda value: f"weight decay {value:g}" if value else "no weight decay",
    "pixel_norm": lambda value: f"pixels normalised by {value}",
    "geometry": lambda value: {"center_crop": "centre crop", "pad": "padded"}.get(
        value, "squashed"
    ),
    "contrast": lambda value: "contrast as it is" if value == "none" else f"contrast: {value}",
    "augment": lambda value: "augmentation" if value else "no augmentation",
    "train_fraction": lambda value: f"{value:.3g} of the data",
    "sex_input": lambda value: "sex as an input" if value else "image alone",
    "pretrained": lambda value: "ImageNet weights" if value else "random weights",
    "task": lambda value: f"task: {value}",
    "ema_decay": lambda value: "averaged weights" if value else "last weights",
    "early_stopping_patience": lambda value: "early stopping" if value else "no early stopping",
    "loss": lambda value: {
        "l1": "L1 loss",
        "smooth_l1": "smooth L1 loss",
        "quantile": "quantile loss",
    }[value],
}
