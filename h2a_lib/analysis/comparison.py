"""The runs of a study side by side: one row each, with intervals, ties called ties."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from h2a_lib.analysis.statistics import (
    Estimate,
    mae_interval,
    over_seeds,
    paired_difference,
    paired_over_seeds,
)
from h2a_lib.runs import Run

# The experiments that differ from the default in the number of layers alone.
DEPTHS = ("resnet18", "resnet34", "resnet50")


def age_runs(runs: Sequence[Run]) -> list[Run]:
    """Return the runs that estimate age."""
    return [run for run in runs if run.config.task in ("age", "both")]


def by_experiment(runs: Sequence[Run]) -> dict[str, list[Run]]:
    """Return the runs of each experiment, in the order of study.yaml and of seeds."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.config.experiment, []).append(run)
    return groups


def validation(run: Run) -> pd.DataFrame:
    """Return a run's predictions on the validation set."""
    return run.predictions[run.predictions["split"] == "validation"]


def error(run: Run) -> Estimate:
    """Return a run's validation MAE in months, computed from its predictions."""
    seen = validation(run)
    return mae_interval(seen["predicted_age_months"] - seen["age_months"])


def constant_error(run: Run) -> Estimate:
    """Return the validation MAE of the median training age: what a network must beat.

    The median is the constant with the least absolute error on the training hands.
    """
    constant = run.predictions_train["age_months"].median()
    return mae_interval(validation(run)["age_months"] - constant)


def difference(runs: Sequence[Run], reference: Sequence[Run]) -> Estimate:
    """Return how much larger the validation MAE of one setting is than another's, in months.

    Paired on the same hands, and over seeds where both have several.
    """
    a, b = [validation(r) for r in runs], [validation(r) for r in reference]
    common = min(len(a), len(b))
    if common == 1:
        return paired_difference(a[0], b[0])
    return paired_over_seeds(a[:common], b[:common])


def table(runs: Sequence[Run]) -> pd.DataFrame:
    """Return one row for each run that estimates age: settings, errors, epochs, seconds.

    Returns
    -------
    DataFrame
        experiment, seed, network, epochs, best_epoch, n_train, train_mae_months (of the best
        weights on what they learnt from), mae_months with _low and _high, n, seconds.
    """
    rows = []
    for run in age_runs(runs):
        found = error(run)
        learnt = run.predictions_train
        rows.append(
            {
                "experiment": run.config.experiment,
                "seed": run.config.seed,
                "network": run.config.network,
                "epochs": run.metrics["epochs"],
                "best_epoch": run.metrics["best_epoch"],
                "n_train": len(learnt),
                "train_mae_months": round(
                    float((learnt["predicted_age_months"] - learnt["age_months"]).abs().mean()), 2
                ),
                **found.row("mae_months", digits=2),
                "n": found.n,
                "seconds": run.made_by["seconds"],
            }
        )
    return pd.DataFrame(rows)


def mean_error(runs: Sequence[Run]) -> float:
    """Return the validation MAE in months, averaged over the seeds of one experiment."""
    return over_seeds(run.metrics["validation"]["mae_months"] for run in runs).mean


def best(groups: dict[str, list[Run]]) -> str:
    """Return the experiment with the lowest validation error (lower is better)."""
    return min(groups, key=lambda name: mean_error(groups[name]))


def depth_sentence(groups: dict[str, list[Run]]) -> str:
    """Say what depth did, as the paired differences tell it: a tie is called a tie.

    Parameters
    ----------
    groups : dict of str to list of Run
        Networks of several depths, at least two.
    """
    winner = best(groups)
    others = [name for name in groups if name != winner]
    gaps = {name: difference(groups[name], groups[winner]) for name in others}
    ties = [name for name, gap in gaps.items() if gap.is_tie]
    if len(ties) == len(others):
        return f"Depth makes no difference that these {_n(gaps)} hands can show: the networks tie."
    beaten = [f"{name} by {gaps[name].text('months')}" for name in others if name not in ties]
    sentence = f"{winner} beats {' and '.join(beaten)}"
    return sentence + (f"; {' and '.join(ties)} ties with it." if ties else ".")


def beats_constant_sentence(run: Run) -> str:
    """Say how a run compares with always answering the median age, paired on the same hands."""
    seen = validation(run)
    constant = run.predictions_train["age_months"].median()
    gap = paired_difference(seen, seen.assign(predicted_age_months=constant))
    share = 100 * (1 - error(run).value / constant_error(run).value)
    if gap.is_tie:
        return "It cannot be told from always answering the median age."
    if gap.value > 0:
        return "It is worse than always answering the median age."
    return f"It removes {share:.0f} % of the error of always answering the median age."


def variables(runs: Sequence[Run]) -> dict[str, str | int]:
    """Return what the deck says of the runs, ready to print.

    Parameters
    ----------
    runs : sequence of Run
        All runs of the study; each depth among them is named by its experiment.
    """
    groups = by_experiment(age_runs(runs))
    depth = {name: group for name, group in groups.items() if name in DEPTHS}
    winner = groups[best(groups)][0]
    millions = parameters_in_millions(runs)
    return {
        **{f"{name}_mae": error(group[0]).text("months") for name, group in depth.items()},
        **{f"{name}_parameters": f"{millions[name]:.1f} million" for name in depth},
        "n_runs": len(runs),
        "constant_mae": constant_error(winner).text("months"),
        "depth_answer": depth_sentence(depth),
        "best_experiment": winner.config.experiment,
        "best_mae": error(winner).text("months"),
        "answer": beats_constant_sentence(winner),
    }


def _n(gaps: dict[str, Estimate]) -> str:
    return f"{next(iter(gaps.values())).n:,}"


def parameters_in_millions(runs: Sequence[Run]) -> dict[str, float]:
    """Return the number of parameters of each network of some runs, in millions."""
    from h2a_lib.models import networks

    names = dict.fromkeys(run.config.network for run in runs)
    return {
        name: sum(np.prod(p.shape) for p in networks.build(name).parameters()) / 1e6
        for name in names
    }
