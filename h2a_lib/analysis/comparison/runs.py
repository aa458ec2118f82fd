"""The runs of a study side by side: one row each, with intervals, ties called ties.

What is compared with what follows from study.yaml: the experiments that differ from the default in
one setting alone are the comparison of that setting.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.statistics.bootstrap import (
    Estimate,
    over_seeds,
    paired_difference,
    paired_over_seeds,
)
from h2a_lib.errors import UserError
from h2a_lib.study.config import RunConfig, Step
from h2a_lib.study.runs import Run

# The experiment that differs from the defaults in nothing.
DEFAULT = "resnet18"

# Settings that trade bias for variance, in words.
TRADES = {
    "network": "depth",
    "weight_decay": "L2",
    "train_fraction": "share of the data",
    "augment": "augmentation",
}

Groups = dict[str, list[Run]]


# --- which runs ---


def by_experiment(runs: Iterable[Run]) -> Groups:
    """Return the runs that estimate age by experiment, in the order of study.yaml and of seeds."""
    groups: Groups = {}
    for run in runs:
        if run.config.estimates_age:
            groups.setdefault(run.config.experiment, []).append(run)
    return groups


def differences(config: RunConfig, default: RunConfig) -> dict[str, Any]:
    """Return the settings in which one configuration differs from another."""
    ours, theirs = config.model_dump(mode="json"), default.model_dump(mode="json")
    return {
        key: value
        for key, value in ours.items()
        if key not in ("experiment", "seed") and value != theirs[key]
    }


def differing_in(configs: Mapping[str, RunConfig], setting: str) -> list[str]:
    """Return the default and the experiments that differ from it in one setting alone.

    Parameters
    ----------
    configs : mapping of str to RunConfig
        Experiment -> its settings, the default among them.
    setting : str
        A field of `RunConfig`.

    Returns
    -------
    list of str
        In the order of `configs`.
    """
    default = configs[DEFAULT]
    return [
        name for name, config in configs.items() if set(differences(config, default)) <= {setting}
    ]


def optimizers(configs: Mapping[str, RunConfig]) -> list[str]:
    """Return the default and the experiments with another optimiser.

    Each optimiser has a rate and a decay of its own: SGD stands still at the rate of Adam.
    """
    default = configs[DEFAULT]
    own = {"optimizer", "lr", "weight_decay"}
    return [
        name
        for name, config in configs.items()
        if name == DEFAULT
        or (config.optimizer != default.optimizer and set(differences(config, default)) <= own)
    ]


def in_words(configs: Mapping[str, RunConfig], experiments: Iterable[str]) -> dict[str, str]:
    """Return what to call experiments beside each other: the default by what it has, "adam".

    Parameters
    ----------
    configs : mapping of str to RunConfig
        Experiment -> its settings, the default among them.
    experiments : iterable of str
        That differ from the default in one setting, or in the optimiser and its rate and decay.

    Returns
    -------
    dict of str to str
        Experiment -> its name.
    """
    names = {name: name for name in experiments}
    default = configs[DEFAULT]
    settings = {key for name in names for key in differences(configs[name], default)}
    if DEFAULT in names and settings:
        setting = "optimizer" if "optimizer" in settings else min(settings)
        value = getattr(default, setting)
        names[DEFAULT] = f"{getattr(value, 'name', value)} (default)"
    return names


def configs_of(groups: Groups) -> dict[str, RunConfig]:
    """Return the settings of each experiment."""
    return {name: group[0].config for name, group in groups.items()}


def comparisons(configs: Mapping[str, RunConfig]) -> dict[str, list[str]]:
    """Return each figure that these experiments are enough for, and what it compares.

    Parameters
    ----------
    configs : mapping of str to RunConfig
        Experiments that estimate age.

    Returns
    -------
    dict of str to list of str
        Figure -> names of experiments, in the order in which they are drawn.

    Raises
    ------
    UserError
        If the default, with which all others are compared, is not among them.
    """
    if DEFAULT not in configs:
        raise UserError(
            f"all experiments are compared with {DEFAULT}, which is not among those of the profile "
            "or has failed: name it in the profile's experiments in study.yaml"
        )
    schedules = differing_in(configs, "schedule")

    def named(*names: str) -> list[str]:
        return [name for name in schedules if configs[name].schedule.name in names]

    steps = named("step")
    found = {
        "curves_by_depth": differing_in(configs, "network"),
        "step_grid_curves": [DEFAULT, *steps] if steps else [],
        "plateau": [DEFAULT, *named("plateau")],
        "cyclic": [DEFAULT, *named("cyclic", "one_cycle", "cosine", "constant")],
        "learning_rates": differing_in(configs, "lr"),
        "optimizers": optimizers(configs),
        "normalisation": differing_in(configs, "pixel_norm"),
        "bias_variance": [name for setting in TRADES for name in differing_in(configs, setting)],
        "forest": list(configs),
    }
    return {figure: list(dict.fromkeys(names)) for figure, names in found.items() if len(names) > 1}


# --- how well ---


def validation(run: Run) -> pd.DataFrame:
    """Return a run's predictions on the validation set."""
    return run.predictions[run.predictions["split"] == "validation"]


def error(run: Run) -> Estimate:
    """Return a run's validation MAE in months, computed from its predictions."""
    return age.error(validation(run))


def constant_error(run: Run) -> Estimate:
    """Return the validation MAE of the median training age: what a network must beat."""
    return age.error(age.constant(run.predictions_train, validation(run)))


def train_error(run: Run) -> float:
    """Return the MAE in months of the best weights on the hands that they learnt from."""
    learnt = run.predictions_train
    return float((learnt["predicted_age_months"] - learnt["age_months"]).abs().mean())


def mean_error(group: Sequence[Run]) -> float:
    """Return the validation MAE in months, averaged over the seeds of one experiment."""
    return over_seeds(run.metrics["validation"]["mae_months"] for run in group).mean


def best(groups: Groups) -> str:
    """Return the experiment with the lowest validation error (lower is better)."""
    return min(groups, key=lambda name: mean_error(groups[name]))


def with_equal_seeds(groups: Groups) -> Groups:
    """Return the experiments cut down to the seeds of the one that has fewest.

    `best` takes all seeds and `gap` those that both have: where one experiment has three and
    another one, the better by its mean could be the worse by the seeds compared.
    """
    fewest = min(map(len, groups.values()))
    return {name: group[:fewest] for name, group in groups.items()}


def gap(group: Sequence[Run], reference: Sequence[Run]) -> Estimate:
    """Return how much larger the validation MAE of one experiment is than another's, in months.

    Paired on the same hands, and over seeds where both have several.
    """
    pairs = list(zip(map(validation, group), map(validation, reference), strict=False))
    if len(pairs) == 1:
        return paired_difference(*pairs[0])
    ours, theirs = zip(*pairs, strict=True)
    return paired_over_seeds(ours, theirs)


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row for each run of the study: settings, errors, epochs, seconds.

    Returns
    -------
    DataFrame
        experiment, seed, network, differs_in, epochs, best_epoch, n_train, train_mae_months (of
        the best weights on what they learnt from), mae_months with _low and _high, auc, n,
        seconds. MAE is NaN for a run that tells sex alone, the AUC for one that tells age alone.
    """
    default = next(run.config for run in runs if run.config.experiment == DEFAULT)
    rows = []
    for run in runs:
        tells_age = run.config.estimates_age
        found = error(run) if tells_age else Estimate(*3 * (math.nan,), len(validation(run)))
        rows.append(
            {
                "experiment": run.config.experiment,
                "seed": run.config.seed,
                "network": run.config.network,
                "differs_in": ", ".join(differences(run.config, default)) or "nothing (default)",
                "epochs": run.metrics["epochs"],
                "best_epoch": run.metrics["best_epoch"],
                "n_train": len(run.predictions_train),
                "train_mae_months": round(train_error(run), 2) if tells_age else math.nan,
                **found.row("mae_months", digits=2),
                "auc": run.metrics["validation"].get("auc", math.nan),
                "n": found.n,
                "seconds": run.provenance["seconds"],
            }
        )
    return pd.DataFrame(rows)


def forest(groups: Groups) -> pd.DataFrame:
    """Return each experiment's validation MAE less the default's, paired by hand.

    Returns
    -------
    DataFrame
        experiment, difference_months with _low and _high (below zero: better than the default),
        tie, n; from best to worst.
    """
    rows = []
    for name, group in groups.items():
        if name == DEFAULT:
            continue
        found = gap(group, groups[DEFAULT])
        rows.append(
            {
                "experiment": name,
                **found.row("difference_months", digits=3),
                "tie": found.is_tie,
                "n": found.n,
            }
        )
    return pd.DataFrame(rows).sort_values("difference_months", ignore_index=True)


def step_grid(groups: Groups) -> pd.DataFrame:
    """Return the validation MAE of StepLR: one row a gamma, one column a step size in epochs."""
    cells = [
        (schedule.gamma, schedule.step_size, mean_error(group))
        for group in groups.values()
        if isinstance(schedule := group[0].config.schedule, Step)
    ]
    frame = pd.DataFrame(cells, columns=["gamma", "step size", "mae_months"])
    return frame.pivot(index="gamma", columns="step size", values="mae_months")


def trade_off(groups: Groups, setting: str) -> pd.DataFrame:
    """Return the training and the validation error of the experiments that vary one setting.

    Parameters
    ----------
    groups : dict of str to list of Run
        The default among them.
    setting : str
        A key of `TRADES`.

    Returns
    -------
    DataFrame
        label (the setting's value), train_mae_months, mae_months with _low and _high; of each
        experiment's first seed, by value.
    """
    runs = [groups[name][0] for name in differing_in(configs_of(groups), setting)]
    rows = [
        {"value": getattr(run.config, setting), "train_mae_months": train_error(run)}
        | error(run).row("mae_months")
        for run in runs
    ]
    table = pd.DataFrame(rows)
    if setting == "network":
        table["value"] = [int(value.removeprefix("resnet")) for value in table["value"]]
    if setting == "augment":
        table["value"] = ["off" if value is None else "on" for value in table["value"]]
    table = table.sort_values("value", ignore_index=True)
    table.insert(0, "label", [v if isinstance(v, str) else f"{v:g}" for v in table["value"]])
    return table.drop(columns="value")


def parameters_in_millions(runs: Sequence[Run]) -> dict[str, float]:
    """Return the number of parameters of each network of some runs, in millions."""
    from h2a_lib.models import networks

    names = dict.fromkeys(run.config.network for run in runs)
    return {name: sum(p.numel() for p in networks.build(name).parameters()) / 1e6 for name in names}
