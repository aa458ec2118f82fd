"""The numbers of question 1, as the deck prints them."""

import math
from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis import age, calibration, conformal
from h2a_lib.analysis.robustness import sentence
from h2a_lib.analysis.statistics import Estimate, number, over_seeds, paired_difference

AUGMENTED = "averaged over small changes of the picture"
CORRECTED = "corrected for the pull to the mean"
ENSEMBLE = "averaged over seeds"


def by_split(frame: pd.DataFrame) -> pd.DataFrame:
    """Measure predictions of every split, one row for each figure: split, measure, value, n."""
    rows = [
        {"split": split, "measure": name} | estimate.row("value", digits=4) | {"n": estimate.n}
        for split, part in frame.groupby("split", sort=True)
        for name, estimate in age.metrics(part).items()
    ]
    return pd.DataFrame(rows)


def yardsticks(
    train: pd.DataFrame, seen: pd.DataFrame, name: str, tier: str
) -> list[tuple[str, Estimate | float, str]]:
    """List the errors to be compared in a figure: ours, without an image, published.

    The published ones are those on labels from one report, as train and validation labels are;
    results on the mean of six readings are on another scale and stay out. Beside phantoms, or hands
    of unknown origin, no published result is shown: it would invite a comparison that says nothing.
    """
    own = [(name, age.error(seen), "own")]
    simple = [
        ("median of each sex", age.error(age.constant_by_sex(train, seen)), "simple"),
        ("median age", age.error(age.constant(train, seen)), "simple"),
    ]
    published = [
        (row.what, row.mae_months, "published")
        for row in age.PUBLISHED
        if row.labels == "one report" and tier == "rsna"
    ]
    return [*own, *simple, *published]


def options(
    seen: pd.DataFrame, augmented: pd.DataFrame, of_seeds: Sequence[pd.DataFrame]
) -> pd.DataFrame:
    """Compare ways to predict with the same networks, paired on the same hands.

    Parameters
    ----------
    seen, augmented : DataFrame
        One run's predictions, plain and averaged over small changes of the picture.
    of_seeds : sequence of DataFrame
        Plain predictions of every seed; one alone makes no ensemble.

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


def variables(
    train: pd.DataFrame,
    of_seeds: Sequence[pd.DataFrame],
    augmented: pd.DataFrame,
    robust: pd.DataFrame,
    tier: str,
    level: float,
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
    """
    seen = of_seeds[0]
    found, ways = age.metrics(seen), options(seen, augmented, of_seeds).set_index("option")
    agreement, measured = age.bland_altman(seen), calibration.measures(seen)
    inside = conformal.coverage(conformal.cross_conformal(seen, level)).iloc[-1]
    floor = age.noise_floor(tier)
    seeds = over_seeds(age.error(frame).value for frame in of_seeds)
    months = {name: found[name].text("months") for name in ("mae", "rmse", "median", "bias")}
    shares = {
        name: found[name].text("%", scale=100) for name in ("within_6", "within_12", "beyond_12")
    }
    gain = paired_difference(age.constant(train, seen), seen)
    return {
        "answer": age.answer(train, seen, tier),
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
        "augmented_sentence": _option_sentence("Test-time augmentation", ways.loc[AUGMENTED]),
        "ensemble_sentence": _option_sentence(
            f"An ensemble of {len(of_seeds)} seeds", ways.loc[ENSEMBLE]
        )
        if len(of_seeds) > 1
        else "One seed was trained: no ensemble.",
        "conformal_sentence": conformal_sentence(inside, level),
        "abstention_sentence": abstention_sentence(seen, augmented),
        "robustness_sentence": sentence(robust),
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


def conformal_sentence(inside: pd.Series, level: float) -> str:
    """Say how often the conformal intervals hold, and how wide they are."""
    width = inside["half_width_months"]
    if math.isinf(width) or math.isnan(width):
        return f"{int(inside['n'])} hands are too few for {level * 100:g} % intervals."
    covered = Estimate(
        inside["coverage"], inside["coverage_low"], inside["coverage_high"], int(inside["n"])
    )
    return (
        f"{level * 100:g} % intervals hold {covered.text('%', scale=100)}; "
        f"median half-width {number(width)} months."
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
