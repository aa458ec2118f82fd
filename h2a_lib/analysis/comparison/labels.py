"""An experiment in plain words: by what it does otherwise than the default."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from h2a_lib.study.config import DEFAULT, RunConfig

# More settings than this are a recipe, of which a label names only the question and the network.
MOST_SETTINGS = 2
RECIPE = "combined recipe"
MARKS_OF_A_RECIPE = {"network", "width", "task", "sex_input", "loss"}
# How long, on what, and at which size: no part of a recipe.
BUDGET = {"epochs", "batch_size", "train_fraction", "image_size_px", "geometry"}
# Values of settings as they are printed; others are readable as they stand.
NAMES = {
    "adam": "Adam",
    "batch": "per batch",
    "dataset": "per data set",
    "instance": "per image",
    "adamw": "AdamW",
    "both": "age and sex",
    "center_crop": "centre crop",
    "clahe": "CLAHE",
    "equalize": "histogram equalisation",
    "exp_range": "decaying peaks",
    "imagenet": "as for ImageNet",
    "l1": "L1",
    "one_cycle": "one cycle",
    "plateau": "reduce on plateau",
    "resnet18": "ResNet-18",
    "resnet34": "ResNet-34",
    "resnet50": "ResNet-50",
    "resnet101": "ResNet-101",
    "sgd": "SGD",
    "smooth_l1": "smooth L1",
    "squash_nearest": "squash (nearest pixel)",
    "ssl": "self-supervised",
    "triangular": "equal peaks",
    "triangular2": "halving peaks",
}
# What pixels are centred and scaled by the mean and standard deviation of.
PER = {"instance": "image", "dataset": "data set"}
TASKS = {"age": "age alone", "sex": "sex alone", "both": "age and sex (multi-task)"}

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
    if config.task == "ssl":
        return NAMES["ssl"]
    if has_equal_updates(config, default):
        return f"{describe_setting('train_fraction', config.train_fraction)}, equal updates"
    parts, named = [], changed.keys()
    if len(changed) > MOST_SETTINGS:
        of_recipe = changed.keys() - MARKS_OF_A_RECIPE - BUDGET
        named = changed.keys() & MARKS_OF_A_RECIPE
        if len(of_recipe) == 1 or not (of_recipe or named):
            named = changed.keys() - BUDGET or changed.keys()
        elif of_recipe:
            parts.append(RECIPE)
    parts += [describe_setting(key, changed[key]) for key in changed if key in named]
    return ", ".join(parts)


def has_equal_updates(config: RunConfig, default: RunConfig) -> bool:
    """Whether an experiment has another share of the hands than the default, and as many updates.

    The schedule may be stretched to as many epochs.
    """
    changed = differences(config, default).keys() - {"schedule"}
    ours, theirs = (one.epochs * one.train_fraction for one in (config, default))
    return changed == {"train_fraction", "epochs"} and abs(ours - theirs) <= theirs / 12


def labels_of(configs: Mapping[str, RunConfig], experiments: Iterable[str]) -> dict[str, str]:
    """Return the label of each experiment, all different; the default's says what others change.

    >>> labels_of(configs, ["resnet18", "resnet34"])
    {'resnet18': 'ResNet-18 (default)', 'resnet34': 'ResNet-34'}
    """
    default, names = configs[DEFAULT], list(experiments)
    changed = {key for name in names for key in differences(configs[name], default)}
    labels = {name: label(configs[name], default) for name in names}
    if DEFAULT in labels and changed:
        setting = "optimizer" if "optimizer" in changed else min(changed)
        if len(changed) == 1 or changed <= {"optimizer", "lr", "weight_decay"}:
            value = default.model_dump(mode="json")[setting]
            labels[DEFAULT] = f"{describe_setting(setting, value)} (default)"
    count = Counter(labels.values())
    return {n: text if count[text] == 1 else f"{text} ({n})" for n, text in labels.items()}


def describe_setting(setting: str, value: Any) -> str:
    """Describe a value of one setting, as `RunConfig.model_dump` has it."""
    if setting in DESCRIPTIONS:
        return DESCRIPTIONS[setting](value)
    plain = f"{value:g}" if isinstance(value, float) else value
    return f"{setting.replace('_', ' ')} {plain}"


def _times(gamma: float) -> str:
    return {0.1: "dividing by 10", 0.5: "halving"}.get(gamma, f"× {gamma:g}")


def _schedule(value: Values) -> str:
    name = value["name"]
    if name == "step":
        epochs = value["step_size"]
        every = "every epoch" if epochs == 1 else f"every {epochs:g} epochs"
        return f"{_times(value['gamma'])} {every}"
    if name == "exponential":
        return f"{_times(value['gamma'])} every epoch"
    if name == "cyclic":
        return f"cyclic rate with {NAMES[value['mode']]}"
    return "constant rate" if name == "constant" else NAMES.get(name, name)


def _share(value: float) -> str:
    return {0.125: "an eighth", 0.25: "a quarter", 0.5: "half", 1.0: "all"}.get(
        value, f"{value:.3g}"
    )


DESCRIPTIONS: dict[str, Callable[[Any], str]] = {
    "network": lambda value: NAMES.get(value, value),
    "width": lambda value: "full width" if value == 1 else f"width × {value:g}",
    "stem": lambda value: f"{value} stem",
    "schedule": _schedule,
    "optimizer": lambda value: NAMES[value["name"]],
    "lr": lambda value: f"learning rate {value:g}",
    "weight_decay": lambda value: f"weight decay {value:g}" if value else "no weight decay",
    "pixel_norm": lambda value: f"pixel scaling per {PER.get(value, value)}",
    "geometry": lambda value: NAMES.get(value, value),
    "contrast": lambda value: "contrast as it is" if value == "none" else NAMES.get(value, value),
    "augment": lambda value: "augmentation" if value else "no augmentation",
    "train_fraction": lambda value: f"{_share(value)} of the data",
    "epochs": lambda value: f"{value:g} epochs",
    "sex_input": lambda value: "with sex input" if value else "image alone",
    "pretrained": lambda value: "ImageNet weights" if value else "random weights",
    "task": lambda value: TASKS.get(value, NAMES.get(value, "")),
    "ema_decay": lambda value: "EMA of the weights" if value else "last weights",
    "early_stopping_patience": lambda value: "early stopping" if value else "no early stopping",
    "loss": lambda value: f"{NAMES.get(value, value)} loss",
}
