"""Age and sex of the children, and how much the labels reveal without any image.

`labels` has a row for each hand: id, age_months, male, split.
"""

import math

import numpy as np
import pandas as pd

from h2a_lib.analysis.sex.errors import BASELINES
from h2a_lib.analysis.statistics.bootstrap import Estimate, bootstrap, number, share_interval
from h2a_lib.analysis.statistics.roc import auc

FOLDS = 5
# A label counts as nearly single-sex from here on, if enough children have it.
SINGLE_SEX_SHARE = 0.9
MIN_PER_LABEL = 30
MAX_LISTED_LABELS = 4
SPLITS = ("train", "selection", "validation", "test")
# Means further apart than this share of a standard deviation are unbalanced (Stuart 2010,
# Statistical Science 25:1-21).
BALANCED_SD = 0.25


def counts(labels: pd.DataFrame) -> pd.DataFrame:
    """Count and describe each split that has hands, by sex and in all (months; SD with n - 1)."""
    names = [name for name in SPLITS if (labels["split"] == name).any()]
    rows = []
    for split in [*names, "all"]:
        part = labels if split == "all" else labels[labels["split"] == split]
        sexes = (("female", part[~part["male"]]), ("male", part[part["male"]]), ("both", part))
        for sex, group in sexes:
            if len(group):
                age = group["age_months"].agg(
                    age_mean="mean", age_sd="std", age_median="median", age_min="min", age_max="max"
                )
                counted = {"split": split, "sex": sex, "n": len(group)}
                rows.append(counted | age.round(1).to_dict())
    return pd.DataFrame(rows)


def share_of_multiples_of_6(labels: pd.DataFrame) -> Estimate:
    """Return how far the labels are heaped: evenly spread whole months would give 1/6."""
    return share_interval(labels["age_months"] % 6 == 0)


def sex_by_label(labels: pd.DataFrame, least: int = 1) -> pd.DataFrame:
    """Count children and the share of boys at each label that at least so many have."""
    by_age = labels.groupby("age_months")["male"].agg(n="size", share_male="mean").reset_index()
    return by_age[by_age["n"] >= least].reset_index(drop=True)


def single_sex_labels(labels: pd.DataFrame) -> pd.DataFrame:
    """Return the labels of 30 or more children, 90 % of them of one sex; most frequent first."""
    by_label = sex_by_label(labels, MIN_PER_LABEL)
    is_single = (by_label["share_male"] - 0.5).abs() >= SINGLE_SEX_SHARE - 0.5
    return by_label[is_single].sort_values("n", ascending=False).reset_index(drop=True)


def format_single_sex_labels(labels: pd.DataFrame) -> str:
    """Format as "94 months (100 % female, n = 202), 108 months (99 % male, n = 424)"."""
    listed = single_sex_labels(labels).head(MAX_LISTED_LABELS)
    parts = [
        f"{row.age_months:g} months ({_share_of_one_sex(row.share_male)}, n = {row.n:,})"
        for row in listed.itertuples()
    ]
    return ", ".join(parts) or "none"


def heaping_sentence(labels: pd.DataFrame) -> str:
    """State how many labels are round, and which of them nearly give the sex away."""
    share = share_of_multiples_of_6(labels).text("%", 1, 100)
    single = single_sex_labels(labels)
    if single.empty:
        sexes = "No label of at least 30 children has 90 % or more of one sex"
    else:
        children = single["n"].sum() / len(labels)
        word, whose = ("label belongs", "its") if len(single) == 1 else ("labels belong", "their")
        sexes = (
            f"{len(single)} {word} to one sex in at least 90 % of {whose} children"
            f" ({100 * children:.0f} % of all hands): {format_single_sex_labels(labels)}"
        )
    return f"Multiples of 6 months are {share} of the labels; 16.7 % would be expected. {sexes}."


def predict_sex_from_label(labels: pd.DataFrame) -> pd.DataFrame:
    """Predict sex from the age label alone, cross-validated in five folds.

    Each child is predicted from the other folds: by the majority (its AUC is 0.5), the best single
    age threshold, the share of boys in its 12-month bin, and the share of boys at its exact month.
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
        # The majority is one constant; between folds it differs by chance, which is no ranking.
        ranks = np.zeros(len(score)) if name == "majority" else score
        accuracy = share_interval((score >= 0.5) == male)
        rows.append({"name": name, "auc": auc(male, ranks), "accuracy": accuracy})
    return pd.DataFrame(rows)


def format_baselines(table: pd.DataFrame) -> pd.DataFrame:
    """Format `predict_sex_from_label` for display: estimates with their intervals."""
    return pd.DataFrame(
        {
            "sex predicted from": table["name"],
            "AUC": [area.text("", 3) for area in table["auc"]],
            "accuracy": [share.text("%", 1, 100) for share in table["accuracy"]],
        }
    )


def difference_of_means(values: pd.Series, in_group: pd.Series) -> Estimate:
    """Mean of a group minus the mean of the rest, bootstrapped within both."""

    def difference(x: np.ndarray, group: np.ndarray) -> np.ndarray:
        mean = (x * group).sum(-1) / group.sum(-1)
        return mean - (x * (1 - group)).sum(-1) / (1 - group).sum(-1)

    group = in_group.to_numpy(float)
    return bootstrap(difference, values.to_numpy(float), group, strata=group)


def sex_age_sentence(labels: pd.DataFrame) -> str:
    """State by how much girls' and boys' mean bone ages differ."""
    if labels["male"].nunique() < 2:
        return "All hands are of one sex."
    difference = difference_of_means(labels["age_months"], labels["male"])
    if difference.is_tie:
        return f"No difference in mean bone age is shown: {difference.text('months')}."
    group, than = ("Boys", "girls") if difference.value > 0 else ("Girls", "boys")
    return (
        f"{group} have a higher mean bone age than {than}: the difference of boys minus girls is "
        f"{difference.text('months')}. Age alone therefore carries some information on sex."
    )


def age_difference(labels: pd.DataFrame) -> Estimate:
    """Mean age of the validation hands minus that of the training hands, in months."""
    both = labels[labels["split"].isin(["train", "validation"])]
    return difference_of_means(both["age_months"], both["split"] == "validation")


def balance_table(labels: pd.DataFrame) -> pd.DataFrame:
    """Compare selection and validation hands with the training hands, formatted for display."""
    from scipy.stats import ks_2samp

    rows = []
    for split in ("selection", "validation"):
        both = labels[labels["split"].isin(["train", split])]
        age, in_split = both["age_months"], both["split"] == split
        if in_split.any():
            ks = ks_2samp(age[in_split], age[~in_split])
            boys = difference_of_means(both["male"], in_split)
            rows.append(
                {
                    "split minus training": split,
                    "mean age": difference_of_means(age, in_split).text("months"),
                    "boys": boys.text("percentage points", scale=100),
                    "Kolmogorov-Smirnov": f"{ks.statistic:.3f} (p = {ks.pvalue:.2f})",
                }
            )
    return pd.DataFrame(rows)


def balance_sentence(labels: pd.DataFrame) -> str:
    """State whether mean age differs between the training and the validation hands."""
    if not {"train", "validation"} <= set(labels["split"]):
        return "There are no validation hands to compare with."
    difference = age_difference(labels)
    verb = "No difference" if difference.is_tie else "A difference"
    return (
        f"{verb} in mean bone age was found between validation and training hands: "
        f"{difference.text('months')}, validation minus training."
    )


def split_verdict(labels: pd.DataFrame) -> str:
    """Say whether mean ages of validation and training hands are alike, for a title.

    They are where the whole interval of their difference is less than `BALANCED_SD`.
    """
    difference = age_difference(labels)
    largest = max(abs(difference.low), abs(difference.high))
    if largest < BALANCED_SD * labels["age_months"].std():
        finding = "Balanced split"
    elif difference.is_tie:
        finding = "Too few hands to show a balanced split"
    else:
        finding = "The split is not balanced"
    return f"{finding}: mean ages differ by {number(abs(difference.value))} months"


def variables(labels: pd.DataFrame, fingerprint: str) -> dict[str, str]:
    """Format what the report says about the population."""
    age, male = labels["age_months"], labels["male"]
    split = labels["split"].value_counts()
    difference = age_difference(labels)
    auc_by_label = predict_sex_from_label(labels).set_index("name")["auc"]
    return {
        "n_total": f"{len(labels):,}",
        **{f"n_{name}": f"{split.get(name, 0):,}" for name in SPLITS},
        "age_mean": number(age.mean(), 1),
        "age_sd": number(age.std(), 1),
        "age_median": f"{age.median():g}",
        "age_range": f"{age.min():g}–{age.max():g}",
        "n_male": f"{male.sum():,}",
        "n_female": f"{(~male).sum():,}",
        "fingerprint": fingerprint[:12],
        "multiples_of_6": f"{100 * share_of_multiples_of_6(labels).value:.1f} %",
        "split_age_difference": difference.text("months"),
        "split_verdict": split_verdict(labels),
        "label_sex_auc_bins": auc_by_label["label in years"].text("", 3),
        "label_sex_auc_month": auc_by_label["label in months"].text("", 3),
    }


def _share_of_one_sex(share_male: float) -> str:
    sex = "male" if share_male >= 0.5 else "female"
    # One digit more than whole percent: 99.5 % is not all of them.
    return f"{100 * max(share_male, 1 - share_male):.1f} % {sex}"
