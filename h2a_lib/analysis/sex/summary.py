"""The numbers of question 2, as the deck prints them."""

from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis.sex import errors as sex
from h2a_lib.analysis.statistics.bootstrap import number, over_seeds
from h2a_lib.analysis.statistics.roc import auc, auc_difference


def by_split(frame: pd.DataFrame, threshold: float) -> pd.DataFrame:
    """Measure predictions of every split, one row for each figure: split, measure, value, n."""
    rows = [
        {"split": split, "measure": name} | estimate.row("value", digits=4) | {"n": estimate.n}
        for split, part in frame.groupby("split", sort=True)
        for name, estimate in sex.metrics(part, threshold).items()
    ]
    return pd.DataFrame(rows)


def calipers(seen: pd.DataFrame) -> pd.DataFrame:
    """Match girls and boys ever less closely: caliper_months, pairs, share with interval, n."""
    rows = []
    for caliper in sex.CALIPERS_MONTHS:
        found = sex.age_matched(seen, caliper)
        rows.append(
            {"caliper_months": caliper, "pairs": found.pairs}
            | found.estimate.row("share", digits=4)
            | {"n": found.estimate.n}
        )
    return pd.DataFrame(rows)


def variables(
    train: pd.DataFrame, of_seeds: Sequence[pd.DataFrame], threshold: float
) -> dict[str, str | int]:
    """Return ready-to-print values.

    Parameters
    ----------
    train : DataFrame
        Labels of the training hands.
    of_seeds : sequence of DataFrame
        Validation predictions of each seed; the first is the one the figures show.
    threshold : float
        Chosen on training predictions.
    """
    seen = of_seeds[0]
    found, matched = sex.metrics(seen, threshold), sex.closest_match(seen)
    label = sex.by_label(train, seen)
    gain = auc_difference(seen["male"], seen[sex.PROBABILITY], label)
    majority = max(seen["male"].mean(), 1 - seen["male"].mean())
    table = sex.baselines(train, seen).set_index("name")
    shares = ("accuracy", "balanced_accuracy", "found_male", "found_female")
    seeds = over_seeds(auc(one["male"], one[sex.PROBABILITY]).value for one in of_seeds)
    return {
        "answer": sex.answer(seen, train),
        "auc": found["auc"].text(digits=3),
        "auc_over_seeds": seeds.text(digits=3),
        **{name: found[name].text("%", scale=100) for name in shares},
        "average_precision": found["average_precision"].text(digits=3),
        "brier": found["brier"].text(digits=3),
        "calibration_verdict": sex.calibration_verdict(sex.calibration_curve(seen)),
        "threshold": f"{number(threshold, 3)}, chosen on training hands",
        "n": len(seen),
        "majority": f"{majority * 100:.1f} %",
        "age_threshold_accuracy": f"{table.loc['one age threshold', 'accuracy'] * 100:.1f} %",
        "label_auc": auc(seen["male"], label).text(digits=3),
        "label_accuracy": f"{table.loc['label in months', 'accuracy'] * 100:.1f} %",
        "gain_over_label": gain.text(digits=3),
        "matched": matched.estimate.text("%", scale=100),
        "matched_pairs": f"{matched.pairs:,}",
        "matched_caliper": f"{matched.caliper_months:g} months",
    }
