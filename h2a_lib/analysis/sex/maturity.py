"""How much of the discrimination of sex is skeletal maturity.

Labels of bone age are specific to sex, and girls mature earlier: of a girl and a boy with equal
labels the girl's hand looks more mature. An age estimate that is blind to sex therefore
discriminates sex among hands of equal label, although maturity is all it measures.

One estimate measures maturity with an error, and any other reading of maturity adds to it. The
image is therefore compared with what a second sex-blind estimate adds.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import logit

from h2a_lib.analysis.selection import best_runs, predictions_of
from h2a_lib.analysis.sex.errors import PROBABILITY, Matched, by_label, closest_match
from h2a_lib.analysis.statistics.bootstrap import FEW, Estimate, months_text, number
from h2a_lib.analysis.statistics.roc import auc, auc_difference
from h2a_lib.study.runs import Run

ESTIMATE = "predicted_age_months"
SECOND_ESTIMATE = "second_predicted_age_months"
# How far two estimates of age may be apart in a matched pair, in months, closest first.
CALIPERS_MONTHS = (1, 2, 3, 6)
LABEL, MATURITY, TWICE, IMAGE, ALL = (
    "label",
    "label and estimated age",
    "label and two age estimates",
    "image",
    "label, estimated age and image",
)


def age_runs(runs: Iterable[Run]) -> list[Run]:
    """Return the runs that estimate age and have no knowledge of sex, the best first."""
    blind = [run for run in runs if run.config.task == "age" and not run.config.sex_input]
    best = best_runs(blind, "age")[:1] if blind else []
    return best + [run for run in blind if run not in best]


def with_estimates(run: Run, ages: Sequence[Run], split: str) -> pd.DataFrame:
    """Return a sex run's predictions with the ages that `age_runs` estimate, joined by id.

    `ESTIMATE` is the first's, `SECOND_ESTIMATE` the mean of the others'; NaN where there is none.
    """
    predictions = predictions_of(run, split).drop(columns=ESTIMATE, errors="ignore")
    estimates = [predictions_of(age, split).set_index("id")[ESTIMATE] for age in ages]
    second = pd.concat(estimates[1:], axis=1).mean(axis=1) if estimates[1:] else pd.Series()
    columns = {ESTIMATE: estimates[0] if estimates else pd.Series(), SECOND_ESTIMATE: second}
    return predictions.assign(
        **{name: predictions["id"].map(values).astype(float) for name, values in columns.items()}
    )


@dataclass(frozen=True)
class Maturity:
    """Which part of the AUC maturity explains.

    `table` has the AUC of `LABEL`, `MATURITY`, `TWICE`, `IMAGE` and `ALL`. `remaining` is the AUC
    of the image minus that of label and estimated age, `added` what the image adds to these two,
    `second` what a second age estimate adds, and `beyond` the former minus the latter (DeLong,
    paired; NaN without a second estimate). Pairs of a girl and a boy are of equal label
    (`same_label`), or also of a similar estimate (`same_maturity`); `maturity_alone` is the share
    of the former in which `MATURITY` scores the boy higher. `problem` says why nothing could be
    measured.
    """

    table: pd.DataFrame
    remaining: Estimate
    added: Estimate
    second: Estimate
    beyond: Estimate
    same_label: Matched
    same_maturity: Matched
    maturity_alone: Estimate
    problem: str = ""

    @property
    def is_beyond(self) -> bool:
        """Whether the image adds more to label and estimated age than a second estimate does."""
        return self.added.low > 0 and self.beyond.low > 0

    def sentence(self) -> str:
        """Say what maturity explains and what remains."""
        if self.problem:
            return f"Whether this is more than maturity cannot be determined: {self.problem}"
        value = self.table.set_index("name")["auc"]
        explained = (
            f"the label and a sex-blind age estimate reach an AUC of {number(value[MATURITY], 3)} "
            f"(label alone {number(value[LABEL], 3)}, image alone {number(value[IMAGE], 3)}); "
            "adding the image"
        )
        size = abs(self.added).text(digits=3)
        verb = "raises" if self.added.value > 0 else "lowers"
        explained += f" {verb} the AUC by {size}"
        if self.added.is_tie:
            explained += ", not distinguishable from zero"
        if not math.isnan(self.second.value):
            explained += (
                ". As a control, adding a second such estimate instead of the image changes it by "
                f"{signed(self.second)}"
            )
        elif self.added.low > 0:
            explained += "; how much a second reading of maturity would add is not known"
        if self.is_beyond:
            return (
                f"Estimated maturity explains only part of how well sex is predicted: {explained}"
            )
        return f"Nothing beyond maturity is shown: {explained}"

    def verdict(self) -> str:
        """Say the same in a title."""
        if self.problem:
            return "Whether the image shows more than maturity is not known"
        if not self.is_beyond:
            return "Nothing beyond maturity is shown"
        added = number(self.added.value, 3)
        return f"Beyond label and estimated maturity, the image adds {added} to the AUC"

    def variables(self) -> dict[str, str | int]:
        """Return ready-to-print values."""
        value = self.table.set_index("name")

        def text(name: str) -> str:
            if name not in value.index:
                return "not estimable"
            return Estimate.of(value.loc[name], "auc").text("", 3)

        return {
            "maturity_sentence": f"{self.sentence()}.",
            "maturity_verdict": self.verdict(),
            "maturity_auc": text(MATURITY),
            "maturity_all_auc": text(ALL),
            "maturity_remaining": signed(self.remaining),
            "maturity_added": signed(self.added),
            "maturity_second": signed(self.second),
            "maturity_alone_pairs": self.maturity_alone.text("%", scale=100),
            "maturity_matched": self.same_maturity.estimate.text("%", scale=100),
            "maturity_matched_pairs": f"{self.same_maturity.pairs:,}",
            "maturity_caliper": "not estimable"
            if self.problem
            else months_text(self.same_maturity.calipers[ESTIMATE]),
        }


def signed(difference: Estimate) -> str:
    """Print a difference with its sign."""
    text = difference.text(digits=3)
    return f"+{text}" if difference.value > 0 else text


def maturity(train: pd.DataFrame, selection: pd.DataFrame, frame: pd.DataFrame) -> Maturity:
    """Compare the image with what label and an age estimate blind to sex say of sex.

    Logistic regressions are fitted on the selection hands and evaluated on `frame`, both from
    `with_estimates`.
    """
    same_label = closest_match(frame)
    problem = _problem(selection, frame)
    if problem:
        none = Estimate(math.nan, math.nan, math.nan, len(frame))
        unmatched = Matched(Estimate(math.nan, math.nan, math.nan, 0), 0, {})
        empty = pd.DataFrame(columns=["name", "auc", "auc_low", "auc_high", "n"])
        return Maturity(empty, none, none, none, none, same_label, unmatched, none, problem)
    male = frame["male"].to_numpy(bool)
    scores = {LABEL: by_label(train, frame), MATURITY: _logistic(train, selection, frame)}
    if selection[SECOND_ESTIMATE].notna().all() and frame[SECOND_ESTIMATE].notna().all():
        scores[TWICE] = _logistic(train, selection, frame, SECOND_ESTIMATE)
    scores[IMAGE] = frame[PROBABILITY].to_numpy(float)
    scores[ALL] = _logistic(train, selection, frame, PROBABILITY)

    def difference(name: str, reference: str) -> Estimate:
        if not {name, reference} <= scores.keys():
            return Estimate(math.nan, math.nan, math.nan, len(frame))
        return auc_difference(male, scores[name], scores[reference])

    table = pd.DataFrame(
        [{"name": name} | auc(male, score).row("auc") for name, score in scores.items()]
    ).assign(n=len(frame))
    # As closely in the estimate as leaves enough hands of each sex.
    calipers = ({**same_label.calipers, ESTIMATE: caliper} for caliper in CALIPERS_MONTHS)
    alone = frame.assign(**{PROBABILITY: scores[MATURITY]})
    return Maturity(
        table,
        remaining=difference(IMAGE, MATURITY),
        added=difference(ALL, MATURITY),
        second=difference(TWICE, MATURITY),
        beyond=difference(ALL, TWICE),
        same_label=same_label,
        same_maturity=closest_match(frame, calipers),
        maturity_alone=closest_match(alone).estimate,
    )


def _problem(selection: pd.DataFrame, frame: pd.DataFrame) -> str:
    if frame[ESTIMATE].isna().any() or selection[ESTIMATE].isna().any():
        return "the study has no age estimate that is blind to sex"
    for name, part in (("selection", selection), ("validation", frame)):
        fewest = part["male"].value_counts().reindex([False, True], fill_value=0).min()
        if fewest < FEW / 2:
            return f"too few {name} hands of one sex ({fewest})"
    return ""


def _logistic(
    train: pd.DataFrame, selection: pd.DataFrame, frame: pd.DataFrame, added: str = ""
) -> NDArray[np.float64]:
    """Probability of male by label, estimate, their squares and product, and the label's share.

    `added` is a further column: `SECOND_ESTIMATE`, also with its square and product, or
    `PROBABILITY`.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def features(part: pd.DataFrame) -> NDArray[np.float64]:
        label = part["age_months"].to_numpy(float)
        # Months from the middle of childhood: squares that are not almost the value itself.
        age = (label - 120) / 60
        columns = [logit(np.clip(by_label(train, part), 0.01, 0.99)), age, age**2]
        for name in (ESTIMATE, *([SECOND_ESTIMATE] if added == SECOND_ESTIMATE else [])):
            ahead = (part[name].to_numpy(float) - label) / 12
            columns += [ahead, ahead**2, age * ahead]
        if added == PROBABILITY:
            columns.append(logit(np.clip(part[PROBABILITY].to_numpy(float), 1e-6, 1 - 1e-6)))
        return np.column_stack(columns)

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(features(selection), selection["male"].to_numpy(bool))
    return model.predict_proba(features(frame))[:, 1]
