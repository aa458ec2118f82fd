"""The runs of a study side by side: one row each, and every experiment against the default.

What is compared with what follows from study.yaml: the experiments that differ from the default in
one setting alone are the comparison of that setting. `groups` are the runs by experiment, `configs`
their settings; the default is among them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.comparison.labels import DEFAULT, differences, labels_of
from h2a_lib.analysis.selection import validation
from h2a_lib.analysis.statistics.bootstrap import Estimate, join, over_seeds
from h2a_lib.analysis.statistics.variance_components import Errors, RunNoise, difference, run_noise
from h2a_lib.analysis.statistics.verdicts import verdicts
from h2a_lib.errors import UserError
from h2a_lib.study.config import NETWORKS, RunConfig, Step
from h2a_lib.study.runs import Run

# Settings that trade bias for variance, in words.
TRADES = {
    "network": "depth",
    "weight_decay": "weight decay",
    "train_fraction": "share of data",
    "augment": "augmentation",
}

Groups = dict[str, list[Run]]
COLUMNS = ["experiment", "label", "difference_months", "difference_months_low"]
COLUMNS += ["difference_months_high", "verdict", "same_as", "seeds", "n"]
MOST_NAMES = 4  # of settings, in a cell of the table of runs


# --- which runs ---


def by_experiment(runs: Iterable[Run]) -> Groups:
    """Return the runs that estimate age by experiment, in the order of study.yaml and of seeds."""
    groups: Groups = {}
    for run in runs:
        if run.config.estimates_age:
            groups.setdefault(run.config.experiment, []).append(run)
    return groups


def differing_in(configs: Mapping[str, RunConfig], setting: str) -> list[str]:
    """Return the default and the experiments that differ from it in one setting alone."""
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


def configs_of(groups: Groups) -> dict[str, RunConfig]:
    """Return the settings of each experiment."""
    return {name: group[0].config for name, group in groups.items()}


def labels_of_runs(runs: Iterable[Run]) -> dict[str, str]:
    """Return the label of each experiment of these runs; its name where the default is missing."""
    configs = {run.config.experiment: run.config for run in runs}
    return labels_of(configs, configs) if DEFAULT in configs else {name: name for name in configs}


def comparisons(configs: Mapping[str, RunConfig]) -> dict[str, list[str]]:
    """Return each figure that these experiments are enough for, with their names in drawing order.

    A UserError if the default, with which all others are compared, is not among them.
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
    sizes = differing_in(configs, "train_fraction")
    figures = {
        "curves_by_depth": differing_in(configs, "network"),
        "step_grid_curves": [DEFAULT, *steps] if steps else [],
        "plateau": [DEFAULT, *named("plateau")],
        "cyclic": [DEFAULT, *named("cyclic", "one_cycle", "cosine", "constant")],
        "learning_rates": differing_in(configs, "lr"),
        "optimizers": optimizers(configs),
        "normalisation": differing_in(configs, "pixel_norm"),
        "bias_variance": [name for setting in TRADES for name in differing_in(configs, setting)],
        # A line through fewer than three amounts of data extrapolates nothing.
        "data_curve": sizes if len(sizes) > 2 else [],
        "forest": list(configs),
    }
    return {
        name: list(dict.fromkeys(chosen)) for name, chosen in figures.items() if len(chosen) > 1
    }


# --- how well ---


def error(run: Run) -> Estimate:
    """Return a run's validation MAE in months, computed from its predictions."""
    return age.error(validation(run))


def constant_error(run: Run) -> Estimate:
    """Return the validation MAE of the median training age: what a network must beat."""
    return age.error(age.constant(run.predictions_train, validation(run)))


def train_error(run: Run) -> float:
    """Return the MAE in months of the selected weights on the hands they were trained on."""
    trained_on = run.predictions_train
    return float((trained_on["predicted_age_months"] - trained_on["age_months"]).abs().mean())


def mean_error(group: Sequence[Run]) -> float:
    """Return the validation MAE in months, averaged over the seeds of one experiment."""
    return over_seeds(run.metrics["validation"]["mae_months"] for run in group).mean


def errors_of(group: Sequence[Run]) -> Errors:
    """Return the absolute validation errors of an experiment, (seeds, n), in months, by id."""
    frames = [validation(run).sort_values("id") for run in group]
    for frame in frames[1:]:
        join(frames[0][["id", "age_months"]], frame[["id", "age_months"]])
    return np.stack(
        [(f["predicted_age_months"] - f["age_months"]).abs().to_numpy() for f in frames]
    )


def duplicates(groups: Groups) -> dict[str, str]:
    """Return the experiments that are the same training as an earlier one, by its name.

    StepLR after 25 epochs is a constant rate where there are only ten. The default comes first.
    """
    first: dict[bytes, str] = {}
    same = {}
    for name in sorted(groups, key=lambda name: name != DEFAULT):
        frame = validation(groups[name][0]).sort_values("id")
        content = frame["predicted_age_months"].to_numpy().tobytes()
        if content in first:
            same[name] = first[content]
        else:
            first[content] = name
    return same


def errors_by_experiment(groups: Groups) -> dict[str, Errors]:
    """Return `errors_of` each experiment that is a training of its own, by its name."""
    same = duplicates(groups)
    return {name: errors_of(group) for name, group in groups.items() if name not in same}


def training_noise(runs: Iterable[Run]) -> RunNoise:
    """Return how much the error varies from seed to seed, pooled over the experiments."""
    return run_noise(errors_by_experiment(by_experiment(runs)).values())


# --- against the default ---


@dataclass(frozen=True)
class Comparison:
    """Every experiment against the default, as one family of comparisons.

    `table` has, from best to worst: experiment, label, difference_months with _low and _high (95 %
    each; below zero: better than the default), verdict (adjusted for the number of comparisons),
    same_as (an earlier experiment that is the same training, or ""), seeds, n. `noise` is pooled
    over experiments with more than one seed; `margin_months` is the smallest difference that
    matters.
    """

    groups: Groups
    table: pd.DataFrame
    noise: RunNoise
    margin_months: float

    def row(self, experiment: str) -> pd.Series:
        """Return the comparison of one experiment with the default."""
        return self.table.set_index("experiment").loc[experiment]

    def estimate(self, experiment: str) -> Estimate:
        """Return how much larger the experiment's error is than the default's, in months."""
        return Estimate.of(self.row(experiment), "difference_months")

    @property
    def configs(self) -> dict[str, RunConfig]:
        """The settings of each experiment."""
        return configs_of(self.groups)


def compare(runs: Iterable[Run], margin_months: float) -> Comparison:
    """Compare every experiment that estimates age with the default.

    Never with the best: an experiment that was chosen because it came out first flatters itself.
    """
    groups = by_experiment(runs)
    if DEFAULT not in groups:
        raise UserError(f"no run of {DEFAULT}, with which all experiments are compared")
    same = duplicates(groups)
    errors = errors_by_experiment(groups)
    noise = run_noise(errors.values())
    compared = {
        name: difference(own, errors[DEFAULT], noise)
        for name, own in errors.items()
        if name != DEFAULT
    }
    verdict_of = dict(zip(compared, verdicts(list(compared.values()), margin_months), strict=True))
    identical = Estimate(0.0, 0.0, 0.0, errors[DEFAULT].shape[1])
    labels = labels_of(configs_of(groups), groups)
    rows = []
    for name in groups:
        if name == DEFAULT:
            continue
        original = same.get(name, name)
        estimate = compared[original].estimate if original in compared else identical
        rows.append(
            {
                "experiment": name,
                "label": labels[name],
                **estimate.row("difference_months"),
                "verdict": verdict_of.get(original, "identical"),
                "same_as": same.get(name, ""),
                "seeds": len(groups[name]),
                "n": estimate.n,
            }
        )
    table = pd.DataFrame(rows, columns=COLUMNS)
    table = table.sort_values("difference_months", ignore_index=True)
    return Comparison(groups, table, noise, margin_months)


# --- tables ---


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row for each run of the study: settings, errors, epochs, seconds.

    train_mae_months is of the selected weights. MAE is NaN for a run that estimates sex alone, the
    AUC for one that estimates age alone.
    """
    default = next(run.config for run in runs if run.config.experiment == DEFAULT)
    labels = labels_of_runs(runs)
    rows = []
    for run in runs:
        with_age = run.config.estimates_age
        estimate = error(run) if with_age else Estimate(*3 * (math.nan,), len(validation(run)))
        rows.append(
            {
                "experiment": run.config.experiment,
                "seed": run.config.seed,
                "label": labels[run.config.experiment],
                "network": run.config.network,
                "differs_in": _names(differences(run.config, default)) or "nothing (default)",
                "epochs": run.metrics["epochs"],
                "best_epoch": run.metrics["best_epoch"],
                "n_train": len(run.predictions_train),
                "train_mae_months": round(train_error(run), 2) if with_age else math.nan,
                **estimate.row("mae_months"),
                "auc": run.metrics["validation"].get("auc", math.nan),
                "n": estimate.n,
                "seconds": run.provenance["seconds"],
            }
        )
    return pd.DataFrame(rows)


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
    """Return training and validation error of the experiments that vary a setting of `TRADES`.

    In the order of its values; each is the mean over seeds, the interval one run's over children.
    """
    runs = [run for name in differing_in(configs_of(groups), setting) for run in groups[name]]
    runs.sort(key=lambda run: _rank(setting, getattr(run.config, setting)))
    rows = [
        {
            "label": _short(setting, getattr(run.config, setting)),
            "train_mae_months": train_error(run),
            **error(run).row("mae_months"),
        }
        for run in runs
    ]
    return pd.DataFrame(rows).groupby("label", sort=False, as_index=False).mean()


def _rank(setting: str, value: object) -> float:
    if setting == "network":
        return NETWORKS[str(value)].gflops
    return float(value is not None) if setting == "augment" else float(value)  # type: ignore


def _short(setting: str, value: object) -> str:
    """Return a tick's text: the axis names the setting."""
    if setting == "augment":
        return "off" if value is None else "on"
    if setting == "network":
        return str(value).removeprefix("resnet")
    return f"{_rank(setting, value):g}"


@dataclass(frozen=True)
class PowerLaw:
    """Validation error against the number of training hands: a straight line in logarithms.

    The error falls as hands to the power of minus `exponent`. `points` has a row for each run;
    `line` its 95 % prediction interval, from the smallest number of hands to twice the largest.
    """

    points: pd.DataFrame
    exponent: float
    line: pd.DataFrame

    @property
    def doubled(self) -> Estimate:
        """The error that twice the largest number of hands would give, in months."""
        return Estimate.of(self.line.assign(n=len(self.points)).iloc[-1], "mae_months")


def power_law(groups: Groups) -> PowerLaw:
    """Fit a power law to the errors of the experiments that vary the amount of data.

    Hestness et al. (2017, arXiv:1712.00409) observe it between too few data and the noise of the
    labels; the extrapolation assumes that the floor is not near.
    """
    from scipy import stats

    names = differing_in(configs_of(groups), "train_fraction")
    points = pd.DataFrame(
        [
            {"hands": len(run.predictions_train), "mae_months": error(run).value}
            for name in names
            for run in groups[name]
        ]
    )
    x, y = np.log(points["hands"]), np.log(points["mae_months"])
    fit = stats.linregress(x, y)
    hands = np.geomspace(points["hands"].min(), 2 * points["hands"].max(), 50)
    at = np.log(hands)
    spread = ((x - x.mean()) ** 2).sum()
    residual = ((y - fit.intercept - fit.slope * x) ** 2).sum() / (len(x) - 2)
    half = stats.t.ppf(0.975, len(x) - 2) * np.sqrt(
        residual * (1 + 1 / len(x) + (at - x.mean()) ** 2 / spread)
    )
    middle = fit.intercept + fit.slope * at
    line = pd.DataFrame(
        {
            "hands": hands,
            "mae_months": np.exp(middle),
            "mae_months_low": np.exp(middle - half),
            "mae_months_high": np.exp(middle + half),
        }
    )
    return PowerLaw(points, float(-fit.slope), line)


def _names(settings: Iterable[str]) -> str:
    """Return names in a row; of more than fit a table's cell, three and how many more."""
    names = list(settings)
    if len(names) > MOST_NAMES:
        return f"{', '.join(names[:3])} and {len(names) - 3} more"
    return ", ".join(names)
