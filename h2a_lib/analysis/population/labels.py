"""Who the hands belong to, and what their labels give away without any image."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from h2a_lib.analysis.age.errors import constant, constant_by_sex, error
from h2a_lib.analysis.sex.errors import BASELINES
from h2a_lib.analysis.statistics.agreement import adjusted_rand
from h2a_lib.analysis.statistics.bootstrap import Estimate, bootstrap, number, share_interval
from h2a_lib.analysis.statistics.roc import auc

FOLDS = 5
# Beyond this age one cut agrees best with sex, of all cuts through the RSNA training labels.
THRESHOLD_MONTHS = 144
# A plate is called nearly single-sex from here on, if enough children have it.
SINGLE_SEX_SHARE = 0.9
LEAST_ON_A_PLATE = 30
MOST_SAID = 4


# --- counts and moments --------------------------------------------------------------------------


def counts(labels: pd.DataFrame) -> pd.DataFrame:
    """Count and describe each split, by sex and in all.

    Parameters
    ----------
    labels : DataFrame
        age_months, male, split.

    Returns
    -------
    DataFrame
        split, sex, n, age_mean, age_sd, age_median, age_min, age_max (months, one decimal; SD with
        n - 1). A split or sex without hands has no row.
    """
    splits = [(name, labels[labels["split"] == name]) for name in pd.unique(labels["split"])]
    rows = []
    for split, part in [*sorted(splits, key=lambda one: one[0]), ("all", labels)]:
        sexes = (("female", part[~part["male"]]), ("male", part[part["male"]]), ("both", part))
        for sex, own in sexes:
            if len(own):
                rows.append({"split": split, "sex": sex, "n": len(own)} | _moments(own))
    return pd.DataFrame(rows)


def _moments(part: pd.DataFrame) -> dict[str, float]:
    age = part["age_months"].agg(["mean", "std", "median", "min", "max"])
    names = ("age_mean", "age_sd", "age_median", "age_min", "age_max")
    return dict(zip(names, age.round(1), strict=True))


def constant_error(labels: pd.DataFrame, by_sex: bool = False) -> Estimate:
    """Error of saying the training hands' median age of every validation hand.

    Parameters
    ----------
    labels : DataFrame
        age_months, male, split.
    by_sex : bool
        Say each sex's own median instead: what is known without an image if sex is.

    Returns
    -------
    Estimate
        Mean absolute error in months.
    """
    train, held_out = (labels[labels["split"] == name] for name in ("train", "validation"))
    predict = constant_by_sex if by_sex else constant
    return error(predict(train, held_out))


# --- heaping -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Heaping:
    """How far the labels sit on round ages.

    Attributes
    ----------
    multiples_of_6, multiples_of_12 : Estimate
        Share of labels that are multiples of so many months. Evenly spread whole months would give
        1/6 and 1/12.
    distinct : int
        Different values.
    top_20 : float
        Share of labels that have one of the 20 most frequent values.
    """

    multiples_of_6: Estimate
    multiples_of_12: Estimate
    distinct: int
    top_20: float


def heaping(labels: pd.DataFrame) -> Heaping:
    """Measure how far the labels sit on round ages."""
    age = labels["age_months"]
    frequent = age.value_counts()
    return Heaping(
        share_interval(age % 6 == 0),
        share_interval(age % 12 == 0),
        len(frequent),
        float(frequent.head(20).sum() / len(age)),
    )


def plates(labels: pd.DataFrame, least: int = 1) -> pd.DataFrame:
    """Count the children and the share of boys at each value of the label.

    Parameters
    ----------
    labels : DataFrame
        age_months, male.
    least : int
        Values with fewer children are left out.

    Returns
    -------
    DataFrame
        age_months, n, share_male, in the order of age.
    """
    by_age = labels.groupby("age_months")["male"].agg(n="size", share_male="mean").reset_index()
    return by_age[by_age["n"] >= least].reset_index(drop=True)


def single_sex_plates(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the values of the label that nearly all belong to one sex, the most frequent first.

    Values with at least 30 children of whom at least 90 % are of one sex.
    """
    found = plates(labels, LEAST_ON_A_PLATE)
    one_sex = (found["share_male"] - 0.5).abs() >= SINGLE_SEX_SHARE - 0.5
    return found[one_sex].sort_values("n", ascending=False).reset_index(drop=True)


# --- what the label tells of sex -----------------------------------------------------------------


def label_tells_sex(labels: pd.DataFrame) -> pd.DataFrame:
    """Predict sex from the age label alone, cross-validated in five folds.

    Each child is judged by what the other folds show: the majority, the best single age threshold,
    the share of boys in its 12-month bin, and the share of boys at its exact month.

    Parameters
    ----------
    labels : DataFrame
        age_months, male.

    Returns
    -------
    DataFrame
        name, auc (Estimate, DeLong's interval; of the majority, 0.5), accuracy (Estimate).
    """
    male = labels["male"].to_numpy(bool)
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    scores = {name: np.full(len(labels), math.nan) for name in BASELINES}
    for k in range(FOLDS):
        train, held_out = labels[fold != k], labels[fold == k]
        for name, baseline in BASELINES.items():
            scores[name][fold == k] = baseline(train, held_out)
    rows = []
    for name, score in scores.items():
        # The majority says the same of all; between folds it differs by chance, which is no rank.
        ranks = np.zeros(len(score)) if name == "majority" else score
        right = share_interval((score >= 0.5) == male)
        rows.append({"name": name, "auc": auc(male, ranks), "accuracy": right})
    return pd.DataFrame(rows)


def threshold_agreement(labels: pd.DataFrame) -> float:
    """Return the adjusted Rand index between "older than `THRESHOLD_MONTHS`" and sex.

    What a clustering reaches that has found nothing but one cut through age.
    """
    return adjusted_rand(labels["male"], labels["age_months"] > THRESHOLD_MONTHS)


# --- the split -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Balance:
    """How alike the training and validation hands are: validation minus training.

    Attributes
    ----------
    age_months : Estimate
        Difference of mean ages.
    share_male : Estimate
        Difference of the shares of boys.
    ks : float
        Largest distance between the two distributions of age (Kolmogorov-Smirnov).
    ks_p_value : float
        Of that distance, were the split independent of age.
    """

    age_months: Estimate
    share_male: Estimate
    ks: float
    ks_p_value: float


def balance(labels: pd.DataFrame) -> Balance:
    """Compare the training and validation hands by age and sex."""
    from scipy.stats import ks_2samp

    kept = labels[labels["split"].isin(["train", "validation"])]
    held_out = (kept["split"] == "validation").to_numpy(float)

    def difference(values: np.ndarray, held: np.ndarray) -> np.ndarray:
        mean = (values * held).sum(-1) / held.sum(-1)
        return mean - (values * (1 - held)).sum(-1) / (1 - held).sum(-1)

    age, male = kept["age_months"].to_numpy(float), kept["male"].to_numpy(float)
    test = ks_2samp(age[held_out == 1], age[held_out == 0])
    return Balance(
        *(bootstrap(difference, values, held_out, strata=held_out) for values in (age, male)),
        float(test.statistic),
        float(test.pvalue),
    )


# --- for the slides ------------------------------------------------------------------------------


def variables(labels: pd.DataFrame, fingerprint: str) -> dict[str, str]:
    """Return what the slides say of the population, ready to print.

    Parameters
    ----------
    labels : DataFrame
        id, age_months, male, split.
    fingerprint : str
        Of the data set; its first 12 digits are shown.
    """
    age, male = labels["age_months"], labels["male"]
    heaps, alike = heaping(labels), balance(labels)
    split = labels["split"].value_counts()
    return {
        "n_total": f"{len(labels):,}",
        "n_train": f"{split.get('train', 0):,}",
        "n_selection": f"{split.get('selection', 0):,}",
        "n_validation": f"{split.get('validation', 0):,}",
        "n_test": f"{split.get('test', 0):,}",
        "age_mean": number(age.mean(), 1),
        "age_sd": number(age.std(), 1),
        "age_median": f"{age.median():g}",
        "age_range": f"{age.min():g}–{age.max():g}",
        "n_male": f"{male.sum():,}",
        "n_female": f"{(~male).sum():,}",
        "share_male": f"{100 * male.mean():.1f} %",
        "fingerprint": fingerprint[:12],
        "multiples_of_6": _percent(heaps.multiples_of_6.value),
        "multiples_of_12": _percent(heaps.multiples_of_12.value),
        "distinct_ages": str(heaps.distinct),
        "top_20_ages": _percent(heaps.top_20),
        "single_sex_plates": _say(single_sex_plates(labels)),
        "constant_mae_months": constant_error(labels).text("months"),
        "constant_by_sex_mae_months": constant_error(labels, by_sex=True).text("months"),
        "threshold_ari": number(threshold_agreement(labels), 3),
        "split_age_difference": alike.age_months.text("months"),
        "split_male_difference": alike.share_male.text("percentage points", scale=100),
        "split_ks": f"{alike.ks:.3f} (p = {alike.ks_p_value:.2f})",
    } | _label_sex(label_tells_sex(labels))


def _label_sex(table: pd.DataFrame) -> dict[str, str]:
    keys = {
        "majority": "majority",
        "one age threshold": "threshold",
        "label in years": "bins",
        "label in months": "month",
    }
    said = {}
    for row in table.itertuples():
        key = keys[row.name]
        said[f"label_sex_accuracy_{key}"] = row.accuracy.text("%", 1, 100)
        if key != "majority":
            said[f"label_sex_auc_{key}"] = row.auc.text("", 3)
    return said


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _say(found: pd.DataFrame) -> str:
    """Say "94 months (100 % female, n = 202), 108 months (99 % male, n = 424)"."""
    if found.empty:
        return "none"
    parts: Sequence[str] = [
        f"{row.age_months:g} months ({_share_of_one_sex(row.share_male)}, n = {row.n:,})"
        for row in found.head(MOST_SAID).itertuples()
    ]
    return ", ".join(parts)


def _share_of_one_sex(share_male: float) -> str:
    sex = "male" if share_male >= 0.5 else "female"
    # One digit more than whole percent: 99.5 % is not all of them.
    return f"{100 * max(share_male, 1 - share_male):.1f} % {sex}"
