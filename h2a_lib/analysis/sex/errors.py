"""Question 2: can sex be read from the image, beyond what the label of age already tells?"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.bands import NAMES, band_of
from h2a_lib.analysis.statistics.bootstrap import (
    FEW,
    LEVEL,
    RESAMPLES,
    Estimate,
    bootstrap,
    share_interval,
)
from h2a_lib.analysis.statistics.roc import auc, auc_difference, average_precision

PROBABILITY = "male_probability"
Array = NDArray[np.float64]
# Calipers for pairs of about the same age, in months, from exact upwards.
CALIPERS_MONTHS = (0, 3, 6, 12)


# --- figures of merit ----------------------------------------------------------------------------


def choose_threshold(train: pd.DataFrame) -> float:
    """Choose the probability above which a hand is called male, on training predictions.

    The one with the highest balanced accuracy; of a whole range that is equally good, its middle.

    Parameters
    ----------
    train : DataFrame
        `male` and `male_probability` of hands that are not those to be judged.

    Returns
    -------
    float
        0.5 where there is only one sex to learn from.
    """
    male = train["male"].to_numpy(bool)
    if male.all() or not male.any():
        return 0.5
    levels = np.unique(train[PROBABILITY].to_numpy(float))
    # Between neighbours, and outside: calling everyone the same is a choice as well.
    cuts = np.concatenate([[levels[0] / 2], (levels[1:] + levels[:-1]) / 2, [(levels[-1] + 1) / 2]])
    boys = np.sort(train.loc[male, PROBABILITY])
    girls = np.sort(train.loc[~male, PROBABILITY])
    found_male = 1 - np.searchsorted(boys, cuts) / len(boys)
    found_female = np.searchsorted(girls, cuts) / len(girls)
    balanced = found_male + found_female
    best = np.flatnonzero(balanced >= balanced.max() - 1e-12)
    return float(cuts[best[len(best) // 2]])


def metrics(frame: pd.DataFrame, threshold: float) -> dict[str, Estimate]:
    """Measure predictions of sex, each figure with its interval.

    Parameters
    ----------
    frame : DataFrame
        `male`, `male_probability`.
    threshold : float
        From `choose_threshold`, so not from these hands.

    Returns
    -------
    dict of str to Estimate
        auc (DeLong), accuracy, balanced_accuracy, found_male and found_female (the share of each
        sex that is called so), average_precision (male as the positive class), brier.
    """
    male, score = frame["male"].to_numpy(bool), frame[PROBABILITY].to_numpy(float)
    called = score >= threshold
    measured = {
        "balanced_accuracy": lambda m, c, s: (_share(c, m) + _share(~c, ~m)) / 2,
        "average_precision": lambda m, c, s: average_precision(m, s),
        "brier": lambda m, c, s: ((s - m) ** 2).mean(axis=-1),
    }
    return {
        "auc": auc(male, score),
        "accuracy": share_interval(called == male),
        "found_male": share_interval(called[male]),
        "found_female": share_interval(~called[~male]),
    } | {name: bootstrap(measure, male, called, score) for name, measure in measured.items()}


def _share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> Array:
    """Share of `among` that is `of`, along the last axis; NaN of none."""
    size = among.sum(axis=-1)
    return np.where(size > 0, (of & among).sum(axis=-1) / np.maximum(size, 1), np.nan)


def by_band(frame: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """AUC and accuracy by age band, beside the majority's share in the band.

    Returns
    -------
    DataFrame
        band, n, n_male, few, auc with _low and _high, accuracy with _low and _high, majority.
        A band with one sex has no AUC, an empty one nothing.
    """
    band = band_of(frame["age_months"])
    rows = []
    parts = [(name, frame[band == i]) for i, name in enumerate(NAMES)] + [("all", frame)]
    for name, part in parts:
        male, score = part["male"].to_numpy(bool), part[PROBABILITY].to_numpy(float)
        area, right = auc(male, score), share_interval((score >= threshold) == male)
        share = male.mean() if len(male) else math.nan
        rows.append(
            {"band": name, "n": len(part), "n_male": int(male.sum()), "few": right.few}
            | area.row("auc", digits=4)
            | right.row("accuracy", digits=4)
            | {"majority": round(max(share, 1 - share), 4)}
        )
    return pd.DataFrame(rows)


def calibration_curve(frame: pd.DataFrame) -> pd.DataFrame:
    """Share of boys against the probability that was given, in ten bins of about as many hands.

    Returns
    -------
    DataFrame
        probability (mean), male with _low and _high, n; fewer bins where there are fewer than 10
        hands for each.
    """
    bins = max(1, min(10, len(frame) // 10))
    ordered = frame.sort_values(PROBABILITY, kind="stable")
    rows = []
    for rows_of_bin in np.array_split(np.arange(len(ordered)), bins):
        part = ordered.iloc[rows_of_bin]
        if len(part):
            share, mean = share_interval(part["male"]), part[PROBABILITY].mean()
            rows.append({"probability": mean} | share.row("male") | {"n": share.n})
    return pd.DataFrame(rows, columns=["probability", "male", "male_low", "male_high", "n"])


def calibration_verdict(curve: pd.DataFrame) -> str:
    """Say in how many bins of `calibration_curve` the probability holds, in a title's few words."""
    probability = curve["probability"]
    held = int(((curve["male_low"] <= probability) & (probability <= curve["male_high"])).sum())
    some = "all" if held == len(curve) else f"{held} of" if held else "none of"
    return f"in {some} {len(curve)} groups of hands"


# --- the same age, the other sex -----------------------------------------------------------------


@dataclass(frozen=True)
class Matched:
    """How often the boy of a pair of about one age gets the higher score.

    Attributes
    ----------
    estimate : Estimate
        Share of pairs, ties counting half: 0.5 if the image tells nothing beyond the label. Its n
        counts the hands that are in a pair.
    pairs : int
    caliper_months : float
        Largest difference in age within a pair; at 0 the label tells nothing at all.
    """

    estimate: Estimate
    pairs: int
    caliper_months: float

    @property
    def of_age(self) -> str:
        """How near in age the two of a pair are, in words."""
        if self.caliper_months == 0:
            return "with the same age label"
        return f"at most {self.caliper_months:g} months apart"


def age_matched(frame: pd.DataFrame, caliper_months: float = 0) -> Matched:
    """Compare every girl with every boy of about her age.

    At a caliper of 0 this is the AUC within each value of the label, pooled over values by their
    number of pairs (a stratified Mann-Whitney statistic): what the label of age tells of sex is
    the same for both of a pair and drops out. The interval is a bootstrap over children.

    Parameters
    ----------
    frame : DataFrame
        `age_months`, `male`, `male_probability`.
    caliper_months : float

    Returns
    -------
    Matched
    """
    boys, girls = frame[frame["male"].astype(bool)], frame[~frame["male"].astype(bool)]
    age_b, age_g = boys["age_months"].to_numpy(float), girls["age_months"].to_numpy(float)
    near = np.abs(age_b[:, None] - age_g[None, :]) <= caliper_months  # (boys, girls)
    keep_b, keep_g = near.any(axis=1), near.any(axis=0)
    near = near[np.ix_(keep_b, keep_g)]
    n, pairs = int(keep_b.sum() + keep_g.sum()), int(near.sum())
    if pairs == 0:
        return Matched(Estimate(math.nan, math.nan, math.nan, 0), 0, caliper_months)
    difference = boys[PROBABILITY].to_numpy(float)[keep_b, None]
    difference = difference - girls[PROBABILITY].to_numpy(float)[keep_g]
    wins = np.where(near, (np.sign(difference) + 1) / 2, 0.0).astype(np.float32)
    near = near.astype(np.float32)
    rng = np.random.default_rng(0)
    drawn = []
    # A child that is drawn twice counts twice in each of its pairs.
    for _ in range(math.ceil(RESAMPLES / 500)):
        boy = rng.multinomial(len(wins), np.full(len(wins), 1 / len(wins)), 500)
        girl = rng.multinomial(wins.shape[1], np.full(wins.shape[1], 1 / wins.shape[1]), 500)
        boy, girl = boy.astype(np.float32), girl.astype(np.float32)
        won, all_pairs = ((boy @ w * girl).sum(axis=1) for w in (wins, near))
        drawn.append(np.where(all_pairs > 0, won / np.maximum(all_pairs, 1e-9), np.nan))
    defined = np.concatenate(drawn)[:RESAMPLES]
    defined = defined[~np.isnan(defined)]
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = float(wins.sum(dtype=np.float64) / pairs)
    return Matched(Estimate(value, float(low), float(high), n), pairs, caliper_months)


def closest_match(frame: pd.DataFrame) -> Matched:
    """Match as closely as leaves at least 30 hands of each sex in pairs.

    The caliper is chosen by the ages alone, so not by what comes out; the widest if none will do.
    """
    boys = frame.loc[frame["male"].astype(bool), "age_months"].to_numpy(float)
    girls = frame.loc[~frame["male"].astype(bool), "age_months"].to_numpy(float)
    for caliper in CALIPERS_MONTHS:
        near = np.abs(boys[:, None] - girls[None, :]) <= caliper
        if near.any(axis=1).sum() >= FEW and near.any(axis=0).sum() >= FEW:
            break
    return age_matched(frame, caliper)


# --- what the label alone tells ------------------------------------------------------------------

Baseline = Callable[[pd.DataFrame, pd.DataFrame], Array]


def majority(train: pd.DataFrame, frame: pd.DataFrame) -> Array:
    """Probability of male: the share of boys in training, for everyone."""
    return np.full(len(frame), float(train["male"].mean()))


def by_label(train: pd.DataFrame, frame: pd.DataFrame, width_months: float = 1) -> Array:
    """Probability of male for the label's bin: the share of boys among training hands in it.

    One pseudo-hand of the overall share is added to each bin, so that a bin of one training hand
    is not certain and an empty one falls back on the overall share.

    Parameters
    ----------
    train, frame : DataFrame
        `age_months`, and of the training hands `male`.
    width_months : float
        Of the bins: 1 for the exact month, 12 for years.
    """
    overall = float(train["male"].mean())
    bins = np.floor(train["age_months"].to_numpy(float) / width_months)
    seen = pd.Series(train["male"].to_numpy(float)).groupby(bins).agg(["sum", "size"])
    share = (seen["sum"] + overall) / (seen["size"] + 1)
    wanted = pd.Series(np.floor(frame["age_months"].to_numpy(float) / width_months))
    return wanted.map(share).fillna(overall).to_numpy(float)


def by_age_threshold(train: pd.DataFrame, frame: pd.DataFrame) -> Array:
    """Probability of male on each side of the one age that parts training hands best."""
    age, male = train["age_months"].to_numpy(float), train["male"].to_numpy(bool)
    cuts = np.unique(age)[1:]
    if len(cuts) == 0:
        return majority(train, frame)
    right = np.array([max(((age >= c) == male).mean(), ((age < c) == male).mean()) for c in cuts])
    cut = cuts[right.argmax()]
    above, below = male[age >= cut].mean(), male[age < cut].mean()
    return np.where(frame["age_months"].to_numpy(float) >= cut, above, below)


BASELINES: dict[str, Baseline] = {
    "majority": majority,
    "one age threshold": by_age_threshold,
    "label in years": lambda train, frame: by_label(train, frame, 12),
    "label in months": by_label,
}


def baselines(train: pd.DataFrame, frame: pd.DataFrame) -> pd.DataFrame:
    """Compare the image with what labels alone tell, paired on the same hands.

    Parameters
    ----------
    train : DataFrame
        `age_months`, `male` of the training hands: all that the baselines learn from.
    frame : DataFrame
        `age_months`, `male`, `male_probability`.

    Returns
    -------
    DataFrame
        name, auc with _low and _high, accuracy (at 0.5), gain (AUC of the image minus this one's)
        with _low and _high, tie, n.
    """
    male, score = frame["male"].to_numpy(bool), frame[PROBABILITY].to_numpy(float)
    rows = []
    for name, baseline in BASELINES.items():
        simple = baseline(train, frame)
        gain = auc_difference(male, score, simple)
        rows.append(
            {"name": name}
            | auc(male, simple).row("auc", digits=4)
            | {"accuracy": round(np.mean((simple >= 0.5) == male), 4)}
            | gain.row("gain", digits=4)
            | {"tie": gain.is_tie, "n": len(frame)}
        )
    return pd.DataFrame(rows)


# --- the answer ----------------------------------------------------------------------------------


def answer(frame: pd.DataFrame, train: pd.DataFrame) -> str:
    """Answer question 2 in a sentence or two, chosen by the intervals.

    Parameters
    ----------
    frame : DataFrame
        Predictions to be judged.
    train : DataFrame
        Labels of the training hands.
    """
    area = auc(frame["male"], frame[PROBABILITY])
    if math.isnan(area.value):
        return f"Sex cannot be judged: the {area.n:,} hands are of one sex."
    matched = closest_match(frame)
    share = matched.estimate
    higher = share.text("% of the time", 0, 100)
    pairs = f"of a girl and a boy {matched.of_age}, the boy scores higher {higher}"
    simple = by_label(train, frame)
    label = auc(frame["male"], simple)
    gain = auc_difference(frame["male"], frame[PROBABILITY], simple)
    verdict = "a tie with" if gain.is_tie else "more than" if gain.value > 0 else "less than"
    beside = f"{verdict} the age label's ({label.value:.3f})"
    found = f"The AUC of the image is {area.text(digits=3)}, {beside}"
    if share.low > 0.5:
        conclusion = f"Yes, beyond the label of age: {pairs}"
    elif share.high < 0.5:
        conclusion = f"No: {pairs}, worse than chance"
    elif math.isnan(share.value):
        conclusion = "Whether beyond the label of age cannot be said: no pair is of one age"
    else:
        conclusion = f"Not shown beyond the label of age: {pairs}, a tie with chance"
    return f"{conclusion}. {found}."
