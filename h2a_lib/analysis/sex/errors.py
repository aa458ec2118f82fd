"""Question 2: can sex be classified from the image, beyond what the label of age implies?

A `frame` of predictions has a row for each hand: id, age_months, male, male_probability. `train`
holds the labels of the training hands. In the tables, a number stands with the ends of its 95 %
interval, _low and _high, and `few` marks those of fewer than 30 hands.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.bands import masks_by_band
from h2a_lib.analysis.statistics.bootstrap import (
    FEW,
    RESAMPLES,
    TAILS,
    Estimate,
    bootstrap,
    share_interval,
)
from h2a_lib.analysis.statistics.roc import auc, auc_difference

PROBABILITY = "male_probability"
Array = NDArray[np.float64]
# Calipers for pairs of about the same age, in months, from exact upwards.
CALIPERS_MONTHS = (0, 3, 6, 12)


def choose_threshold(selection: pd.DataFrame) -> float:
    """Choose the probability from which a hand is classified as male, on selection hands.

    The one with the highest balanced accuracy; of a whole range that is equally good, its middle;
    0.5 where there is one sex only.
    """
    male = selection["male"].to_numpy(bool)
    if male.all() or not male.any():
        return 0.5
    levels = np.unique(selection[PROBABILITY].to_numpy(float))
    # Between neighbours, and outside: calling everyone the same is a choice as well.
    cuts = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2, [(levels[-1] + 1) / 2]])
    boys = np.sort(selection.loc[male, PROBABILITY])
    girls = np.sort(selection.loc[~male, PROBABILITY])
    sensitivity = 1 - np.searchsorted(boys, cuts) / len(boys)
    specificity = np.searchsorted(girls, cuts) / len(girls)
    balanced = sensitivity + specificity
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    return float(cuts[best[len(best) // 2]])


def metrics(frame: pd.DataFrame, threshold: float) -> dict[str, Estimate]:
    """Measure predictions of sex; recall_male is the share of boys classified as male."""
    male, score = frame["male"].to_numpy(bool), frame[PROBABILITY].to_numpy(float)
    called = score >= threshold
    return {
        "auc": auc(male, score),
        "accuracy": share_interval(called == male),
        "recall_male": share_interval(called[male]),
        "recall_female": share_interval(~called[~male]),
        "balanced_accuracy": bootstrap(
            lambda m, c: ((c & m).sum(-1) / m.sum(-1) + (~c & ~m).sum(-1) / (~m).sum(-1)) / 2,
            male,
            called,
        ),
        # scikit-learn takes one resample at a time: a quarter of them is enough for two digits.
        "average_precision": bootstrap(_average_precision, male, score, resamples=RESAMPLES // 4),
        "brier": bootstrap(lambda m, s: ((s - m) ** 2).mean(axis=-1), male, score),
    }


def _average_precision(male: NDArray[np.bool_], score: Array) -> Array:
    """Average precision along the last axis; NaN without a boy."""
    from sklearn.metrics import average_precision_score

    if male.ndim > 1:
        return np.array([_average_precision(m, s) for m, s in zip(male, score, strict=True)])
    return np.asarray(average_precision_score(male, score) if male.any() else math.nan)


def by_band(frame: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """AUC and accuracy by age band, beside the majority's share; a band of one sex has no AUC."""
    rows = []
    for name, in_band in masks_by_band(frame["age_months"]):
        part = frame[in_band]
        male, score = part["male"].to_numpy(bool), part[PROBABILITY].to_numpy(float)
        area, right = auc(male, score), share_interval((score >= threshold) == male)
        share = male.mean() if len(male) else math.nan
        rows.append(
            {"band": name, "n": len(part), "n_male": int(male.sum()), "few": right.few}
            | area.row("auc")
            | right.row("accuracy")
            | {"majority": max(share, 1 - share)}
        )
    return pd.DataFrame(rows)


@dataclass(frozen=True)
class Matched:
    """Share of pairs with about the same label in which the boy receives the higher score.

    In `estimate` ties count half (0.5 if the image adds nothing to what is matched), and n counts
    the hands in a pair; `fewest` counts those of the sex that has fewer. At a caliper of 0 the
    label carries no information.
    """

    estimate: Estimate
    pairs: int
    calipers: Mapping[str, float]
    fewest: int = 0

    @property
    def caliper_months(self) -> float:
        """How far the labels of a pair may be apart."""
        return self.calipers["age_months"]

    @property
    def description(self) -> str:
        """Which pairs these are: "pairs with the same label"."""
        if self.caliper_months == 0:
            return "pairs with the same label"
        return f"pairs with labels at most {self.caliper_months:g} months apart"

    def sentence(self) -> str:
        """Say how often the boy receives the higher score."""
        share = self.estimate.text("% of cases", 0, 100)
        return (
            f"in {self.pairs:,} girl–boy {self.description}, the boy receives the higher score in "
            f"{share}"
        )


def matched_pairs(frame: pd.DataFrame, calipers: Mapping[str, float]) -> Matched:
    """Compare every girl with every boy within a caliper in each column, "age_months" among them.

    At a caliper of 0 this is the AUC within each value, pooled over values by their number of pairs
    (a stratified Mann-Whitney statistic): what the column says of sex is the same for both of a
    pair and drops out. The interval is a bootstrap over children.
    """
    male = frame["male"].to_numpy(bool)
    boys, girls = frame[male], frame[~male]
    near = np.ones((len(boys), len(girls)), bool)
    for column, caliper in calipers.items():
        of_boys, of_girls = boys[column].to_numpy(float), girls[column].to_numpy(float)
        near &= np.abs(of_boys[:, None] - of_girls) <= caliper
    in_pair_b, in_pair_g = near.any(axis=1), near.any(axis=0)
    near = near[np.ix_(in_pair_b, in_pair_g)]
    n, pairs = sum(near.shape), int(near.sum())
    if pairs == 0:
        return Matched(Estimate(math.nan, math.nan, math.nan, 0), 0, calipers)
    difference = boys[PROBABILITY].to_numpy(float)[in_pair_b, None]
    difference = difference - girls[PROBABILITY].to_numpy(float)[in_pair_g]
    wins = np.where(near, (np.sign(difference) + 1) / 2, 0.0).astype(np.float32)
    near = near.astype(np.float32)
    rng = np.random.default_rng(0)
    shares = []
    # A child that is drawn twice counts twice in each of its pairs.
    for _ in range(math.ceil(RESAMPLES / 500)):
        boy, girl = (
            rng.multinomial(size, np.full(size, 1 / size), 500).astype(np.float32)
            for size in near.shape
        )
        won, all_pairs = ((boy @ w * girl).sum(axis=1) for w in (wins, near))
        shares.append(np.where(all_pairs > 0, won / np.maximum(all_pairs, 1e-9), np.nan))
    low, high = np.nanquantile(np.concatenate(shares), TAILS)
    value = float(wins.sum(dtype=np.float64) / pairs)
    return Matched(Estimate(value, float(low), float(high), n), pairs, calipers, min(near.shape))


def age_matched(frame: pd.DataFrame, caliper_months: float = 0) -> Matched:
    """Compare every girl with every boy of about her labelled age."""
    return matched_pairs(frame, {"age_months": caliper_months})


BY_LABEL = tuple({"age_months": caliper} for caliper in CALIPERS_MONTHS)


def closest_match(
    frame: pd.DataFrame, calipers: Iterable[Mapping[str, float]] = BY_LABEL
) -> Matched:
    """Match as closely as leaves at least 30 hands of each sex in pairs.

    The calipers, closest first, are chosen by the ages alone, so not by what comes out; the widest
    if none will do.
    """
    for each in calipers:
        matched = matched_pairs(frame, each)
        if matched.fewest >= FEW:
            break
    return matched


def majority(train: pd.DataFrame, frame: pd.DataFrame) -> Array:
    """Probability of male: the share of boys in training, for everyone."""
    return np.full(len(frame), float(train["male"].mean()))


def by_label(train: pd.DataFrame, frame: pd.DataFrame, width_months: float = 1) -> Array:
    """Probability of male for the label's bin: the share of boys among training hands in it.

    One pseudo-hand of the overall share is added to each bin, so that a bin of one training hand is
    not certain and an empty one falls back on the overall share.
    """
    overall = float(train["male"].mean())
    bins = np.floor(train["age_months"].to_numpy(float) / width_months)
    counts = pd.Series(train["male"].to_numpy(float)).groupby(bins).agg(["sum", "size"])
    share = (counts["sum"] + overall) / (counts["size"] + 1)
    wanted = pd.Series(np.floor(frame["age_months"].to_numpy(float) / width_months))
    return wanted.map(share).fillna(overall).to_numpy(float)


def by_age_threshold(train: pd.DataFrame, frame: pd.DataFrame) -> Array:
    """Probability of male on each side of the one age that separates training hands best."""
    age, male = train["age_months"].to_numpy(float), train["male"].to_numpy(bool)
    cuts = np.unique(age)[1:]
    if len(cuts) == 0:
        return majority(train, frame)
    right = np.array([max(((age >= c) == male).mean(), ((age < c) == male).mean()) for c in cuts])
    cut = cuts[right.argmax()]
    above, below = male[age >= cut].mean(), male[age < cut].mean()
    return np.where(frame["age_months"].to_numpy(float) >= cut, above, below)


BASELINES: dict[str, Callable[[pd.DataFrame, pd.DataFrame], Array]] = {
    "majority": majority,
    "one age threshold": by_age_threshold,
    "label in years": lambda train, frame: by_label(train, frame, 12),
    "label in months": by_label,
}


def baselines(train: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Compare the image with what labels alone imply; gain: the image's AUC minus this one's."""
    male, score = frame["male"].to_numpy(bool), frame[PROBABILITY].to_numpy(float)
    rows = []
    for name, baseline in BASELINES.items():
        simple = baseline(train, frame)
        gain = auc_difference(male, score, simple)
        rows.append(
            {"name": name}
            | auc(male, simple).row("auc")
            | {"accuracy": np.mean((simple >= 0.5) == male)}
            | gain.row("gain")
            | {"tie": gain.is_tie, "n": len(frame)}
        )
    return pd.DataFrame(rows)
