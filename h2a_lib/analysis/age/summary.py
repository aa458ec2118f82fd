"""The numbers of question 1, as the deck prints them."""

import math
from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.age import literature, robustness
from h2a_lib.analysis.statistics import calibration, conformal
from h2a_lib.analysis.statistics.bootstrap import (
    Estimate,
    mean_interval,
    number,
    over_seeds,
    paired_difference,
)

AUGMENTED = "averaged over small changes of the picture"
CORRECTED = "corrected for the pull to the mean"
ENSEMBLE = "averaged over seeds"
TOLD = "another network that is told the sex"


def by_split(frame: pd.DataFrame) -> pd.DataFrame:
    """Measure predictions of every split, one row for each figure: split, measure, value, n."""
    rows = [
        {"split": split, "measure": name} | estimate.row("value", digits=4) | {"n": estimate.n}
        for split, part in frame.groupby("split", sort=True)
        for name, estimate in age.metrics(part).items()
    ]
    return pd.DataFrame(rows)


Yardstick = tuple[str, Estimate | float, str]


def yardsticks(
    train: pd.DataFrame,
    predictions: pd.DataFrame,
    name: str,
    tier: str,
    told: tuple[str, pd.DataFrame] | None = None,
) -> list[Yardstick]:
    """List the errors to be compared in a figure: ours, without an image, published.

    Published errors stand under ours on the same kind of label alone: those of validation hands
    are compared with one report, those of the official test hands, where they are read, with the
    mean of six readings. Beside phantoms, or hands of unknown origin, no published result is shown:
    it would invite a comparison that says nothing.

    Parameters
    ----------
    train : DataFrame
        Labels of the training hands.
    predictions : DataFrame
        Of all hands that were not trained on, with their `split`.
    name : str
        Of the network.
    tier : str
        Of the data.
    told : (name, predictions), optional
        A network that is told the sex as well.

    Returns
    -------
    list of (name, error, kind)
        kind: "own", "simple", "published", or "heading" (its error is NaN).
    """
    own = [(name, age.error(_of(predictions, "validation")), "own")]
    if told is not None:
        own.append((f"{told[0]} (told the sex)", age.error(_of(told[1], "validation")), "own"))
    seen = _of(predictions, "validation")
    rows = [
        *own,
        ("median of each sex", age.error(age.constant_by_sex(train, seen)), "simple"),
        ("median age", age.error(age.constant(train, seen)), "simple"),
    ]
    if tier != "rsna":
        return rows
    rows += _published("one report")
    test = _of(predictions, "test")
    if len(test):
        rows.append(("test hands: mean of six readings", math.nan, "heading"))
        rows += [(name, age.error(test), "own"), *_published("six readings")]
    return rows


def _of(predictions: pd.DataFrame, split: str) -> pd.DataFrame:
    return predictions[predictions["split"] == split].reset_index(drop=True)


def _published(labels: str) -> list[Yardstick]:
    return [
        (o.what, o.mae_months, "published") for o in literature.AGE_ERRORS if o.labels == labels
    ]


def published(predictions: pd.DataFrame, name: str, tier: str) -> pd.DataFrame:
    """Put our errors beside published ones, each on its own kind of label.

    Returns
    -------
    DataFrame
        labels, what, ours, mae_months with _low and _high (NaN of published ones), n, source (of
        published ones). Only ours for other hands than RSNA's.
    """
    rows = [
        {"labels": literature.labels_of(split), "what": f"{name}, {split}", "ours": True}
        | found.row("mae_months", digits=2)
        | {"n": found.n}
        for split, part in predictions.groupby("split", sort=True)
        for found in [age.error(part)]
    ]
    rows += [
        {"labels": one.labels, "what": one.what, "ours": False}
        | {"mae_months": one.mae_months, "source": one.source}
        for one in literature.AGE_ERRORS
        if tier == "rsna"
    ]
    frame = pd.DataFrame(rows)
    return frame.sort_values(["labels", "mae_months"], ascending=[True, False], ignore_index=True)


def options(
    seen: pd.DataFrame,
    augmented: pd.DataFrame,
    of_seeds: Sequence[pd.DataFrame],
    told: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Compare ways to predict, paired on the same hands.

    Parameters
    ----------
    seen, augmented : DataFrame
        One run's predictions, plain and averaged over small changes of the picture.
    of_seeds : sequence of DataFrame
        Plain predictions of every seed; one alone makes no ensemble.
    told : DataFrame, optional
        Predictions of a network that is told the sex as well.

    Returns
    -------
    DataFrame
        option, mae_months and change_months (against the first) with _low and _high, tie, n.
    """
    ways = {
        "as it is": seen,
        AUGMENTED: augmented,
        CORRECTED: calibration.cross_corrected(seen),
    }
    if len(of_seeds) > 1:
        ways[ENSEMBLE] = age.ensemble(of_seeds)
    if told is not None:
        ways[TOLD] = told
    rows = []
    for name, frame in ways.items():
        change, error = paired_difference(frame, seen), age.error(frame)
        rows.append(
            {"option": name}
            | error.row("mae_months", digits=2)
            | change.row("change_months", digits=2)
            | {"tie": change.is_tie, "n": change.n}
        )
    return pd.DataFrame(rows)


def _bias_by_sex(seen: pd.DataFrame) -> dict[str, Estimate]:
    """Return the mean error of girls and of boys in months, of those there are."""
    error = seen["predicted_age_months"] - seen["age_months"]
    parts = {"girls": error[~seen["male"]], "boys": error[seen["male"]]}
    return {who: mean_interval(part) for who, part in parts.items() if len(part)}


def sexes_verdict(seen: pd.DataFrame) -> str:
    """Say which sex is read too old or too young beyond doubt, in a title's few words."""
    said = [
        f"{who} {number(abs(bias.value))} months too {'old' if bias.value > 0 else 'young'}"
        for who, bias in _bias_by_sex(seen).items()
        if bias.excludes(0)
    ]
    # The unit once: a title has one line.
    return (
        ", ".join(said[:1] + [text.replace(" months", "") for text in said[1:]])
        or f"no bias by sex that {len(seen):,} hands can show"
    )


def worst_verdict(seen: pd.DataFrame) -> str:
    """Say how large the largest errors are, and to which side, in a title's few words."""
    errors = (seen[age.PREDICTED] - seen[age.TRUE]).to_numpy(float)[age.worst(seen)]
    ends = dict.fromkeys(number(end, 0) for end in (abs(errors).min(), abs(errors).max()))
    old, young = int((errors > 0).sum()), int((errors < 0).sum())
    side, of_them = ("old", old) if old > young else ("young", young)
    count = "all" if of_them == len(errors) else f"{of_them} of {len(errors)}"
    return f"{' to '.join(ends)} months off, {count} too {side}"


def sexes_sentence(seen: pd.DataFrame) -> str:
    """Say the mean error of each sex, with its interval."""
    said = (f"of {who} {bias.text('months')}" for who, bias in _bias_by_sex(seen).items())
    return f"Mean difference {', '.join(said)}."


def variables(
    train: pd.DataFrame,
    of_seeds: Sequence[pd.DataFrame],
    augmented: pd.DataFrame,
    robust: pd.DataFrame,
    tier: str,
    level: float,
    told: pd.DataFrame | None = None,
    told_sex: bool = False,
    told_with: str = "",
) -> dict[str, str | int]:
    """Return ready-to-print values.

    Parameters
    ----------
    train : DataFrame
        Labels of the training hands.
    of_seeds : sequence of DataFrame
        Validation predictions of each seed; the first is the one the figures show.
    augmented : DataFrame
        The first, averaged over small changes.
    robust : DataFrame
        From `robustness.robustness`.
    tier : str
        Of the data.
    level : float
        Of the conformal intervals.
    told : DataFrame, optional
        Validation predictions of a network that is told the sex as well.
    told_sex : bool
        Whether the run itself is: no other one answers.
    told_with : str
        In what that other network differs besides, from `sheet.changed_besides`.
    """
    seen = of_seeds[0]
    found, ways = age.metrics(seen), options(seen, augmented, of_seeds, told).set_index("option")
    agreement, measured = age.bland_altman(seen), calibration.measures(seen)
    inside = conformal.coverage(conformal.cross_conformal(seen, level)).iloc[-1]
    floor = age.noise_floor(tier)
    seeds = over_seeds(age.error(frame).value for frame in of_seeds)
    months = {name: found[name].text("months") for name in ("mae", "rmse", "median", "bias")}
    shares = {
        name: found[name].text("%", scale=100)
        for name in ("within_6", "within_12", "within_24", "beyond_12")
    }
    gain = paired_difference(age.constant(train, seen), seen)
    return {
        "answer": age.answer(train, seen, tier, told_sex),
        "given": "image and sex" if told_sex else "image alone",
        **months,
        **shares,
        "r2": found["r2"].text(digits=2),
        "n": len(seen),
        "over_seeds": seeds.text("months"),
        "constant_mae": age.error(age.constant(train, seen)).text("months"),
        "constant_by_sex_mae": age.error(age.constant_by_sex(train, seen)).text("months"),
        "gain": gain.text("months"),
        "floor": "none: phantoms are drawn from their label"
        if tier == "phantom"
        else "not known for these labels"
        if floor is None
        else f"{number(floor)} months",
        "limits": f"{number(agreement.lower.value)} to {number(agreement.upper.value)} months",
        "calibration_slope": measured["calibration_slope"].text(digits=2),
        "pull": measured["pull"].text("months for each month of age", digits=2),
        "pull_sentence": pull_sentence(measured["pull"], ways),
        "sexes_verdict": sexes_verdict(seen),
        "sexes_sentence": sexes_sentence(seen),
        "worst_verdict": worst_verdict(seen),
        "augmented_sentence": _option_sentence("Test-time augmentation", ways.loc[AUGMENTED]),
        "ensemble_sentence": _option_sentence(
            f"An ensemble of {len(of_seeds)} seeds", ways.loc[ENSEMBLE]
        )
        if len(of_seeds) > 1
        else "One seed was trained: no ensemble.",
        **(
            {}
            if told is None
            else {"told_sentence": told_sentence(told, ways.loc[TOLD], told_with)}
        ),
        "conformal_verdict": conformal_verdict(inside, level),
        "conformal_sentence": conformal_sentence(inside, level),
        "abstention_sentence": abstention_sentence(seen, augmented),
        "robustness_verdict": robustness.verdict(robust),
        "robustness_sentence": robustness.sentence(robust),
    }


def pull_sentence(pull: Estimate, ways: pd.DataFrame) -> str:
    """Say whether estimates are drawn to the mean, and what correcting it costs."""
    if not pull.high < 0:
        return f"No pull to the mean is shown: slope {pull.text(digits=2)}."
    row = ways.loc[CORRECTED]
    if row["change_months_low"] == row["change_months_high"] == 0:
        return f"The estimates hardly follow the age: slope {pull.text(digits=2)}."
    return (
        f"Young hands are read too old and old ones too young (slope {pull.text(digits=2)}). "
        f"{_option_sentence('Correcting it', row)}"
    )


def _option_sentence(what: str, row: pd.Series) -> str:
    change = Estimate(
        row["change_months"], row["change_months_low"], row["change_months_high"], int(row["n"])
    )
    if change.is_tie:
        return f"{what} is a tie: MAE changes by {change.text('months', digits=2)}."
    verb = "raises" if change.value > 0 else "lowers"
    size = change
    if change.value < 0:
        size = Estimate(-change.value, -change.high, -change.low, change.n)
    return f"{what} {verb} the MAE by {size.text('months', digits=2)}."


def told_sentence(told: pd.DataFrame, way: pd.Series, told_with: str = "") -> str:
    """Say how close a network comes that is told the sex, and what that adds, tie or not."""
    what = f"Telling the sex, with {told_with}," if told_with else "Telling the sex"
    change = _option_sentence(what, way)
    return (
        f"A network that is told the sex as well errs by {age.error(told).text('months')}. {change}"
    )


def conformal_verdict(inside: pd.Series, level: float) -> str:
    """Say how wide the conformal intervals are, in the few words that a title has room for."""
    width = 2 * inside["half_width_months"]
    if not math.isfinite(width):
        return f"Too few hands for {level * 100:g} % intervals"
    return f"{level * 100:g} % intervals are {number(width)} months wide"


def conformal_sentence(inside: pd.Series, level: float) -> str:
    """Say how often the conformal intervals hold, and how wide they are."""
    width = 2 * inside["half_width_months"]
    if not math.isfinite(width):
        return f"{int(inside['n'])} hands are too few for {level * 100:g} % intervals."
    covered = Estimate(
        inside["coverage"], inside["coverage_low"], inside["coverage_high"], int(inside["n"])
    )
    return (
        f"Intervals made to hold {level * 100:g} % of the labels hold "
        f"{covered.text('%', scale=100)}; the median one is {number(width)} months wide."
    )


def abstention_sentence(seen: pd.DataFrame, augmented: pd.DataFrame, answered: float = 0.8) -> str:
    """Say what leaving the least certain fifth unanswered would gain."""
    errors = (seen[age.PREDICTED] - seen[age.TRUE]).to_numpy(float)
    curve = age.abstention(errors, augmented["spread_months"].to_numpy(float))
    row = curve.loc[(curve["answered"] - answered).abs().idxmin()]
    kept = Estimate(row["mae_months"], row["mae_months_low"], row["mae_months_high"], int(row["n"]))
    everyone = curve["mae_months"].iloc[-1]
    verdict = "a gain" if kept.high < everyone else "no gain that these hands can show"
    return (
        f"Answering only the {row['answered'] * 100:.0f} % of hands that change least under small "
        f"changes of the picture: {kept.text('months')}, against {number(everyone)} for all: "
        f"{verdict}."
    )
