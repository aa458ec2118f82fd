"""What the deck says of the runs side by side: a tie is called a tie."""

from collections.abc import Sequence

import pandas as pd

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.comparison.runs import (
    DEFAULT,
    Groups,
    best,
    by_experiment,
    comparisons,
    configs_of,
    constant_error,
    error,
    forest,
    gap,
    in_words,
    parameters_in_millions,
    train_error,
    validation,
    with_equal_seeds,
)
from h2a_lib.analysis.statistics.bootstrap import number, paired_difference
from h2a_lib.study.runs import Run

# What the deck says of a comparison: name, the figures that show it, what its runs differ in.
RANKINGS = (
    ("depth", ("curves_by_depth",), "depth"),
    ("step_grid", ("step_grid_curves",), "how fast the rate falls"),
    ("plateau", ("plateau",), "reducing the rate on a plateau"),
    ("cyclic", ("cyclic",), "which of these schedules is taken"),
    ("schedule", ("step_grid_curves", "plateau", "cyclic"), "the schedule"),
    ("normalisation", ("normalisation",), "the scaling of pixels"),
    ("learning_rate", ("learning_rates",), "the learning rate"),
    ("optimizer", ("optimizers",), "the optimiser"),
)
# Ties that a sentence names; more are counted.
MOST_NAMED = 3


def forest_verdict(table: pd.DataFrame) -> str:
    """Say how many experiments of `forest` are better than the default, worse, or a tie."""
    sure, ties = table[~table["tie"]]["difference_months"], table["tie"].sum()
    counts = {
        f"{(sure < 0).sum()} better": (sure < 0).sum(),
        f"{(sure > 0).sum()} worse": (sure > 0).sum(),
        "1 tie" if ties == 1 else f"{ties} ties": ties,
    }
    return ", ".join(words for words, count in counts.items() if count)


def ranking_sentence(groups: Groups, what: str) -> str:
    """Say which of some experiments is best, as the paired differences tell: a tie is a tie.

    Parameters
    ----------
    groups : dict of str to list of Run
        At least two experiments.
    what : str
        What they differ in: "depth", "the schedule", …
    """
    groups = with_equal_seeds(groups)
    winner = best(groups)
    names = in_words(configs_of(groups), groups) if DEFAULT in groups else {n: n for n in groups}
    others = [name for name in groups if name != winner]
    gaps = {name: gap(groups[name], groups[winner]) for name in others}
    ties = [name for name in others if gaps[name].is_tie]
    n = gaps[others[0]].n
    if len(ties) == len(others):
        return f"A tie: {what} makes no difference that {n:,} hands can show."
    beaten = max((name for name in others if name not in ties), key=lambda name: gaps[name].value)
    further = gaps[beaten].text("months")
    sentence = f"Best is {names[winner]}; {names[beaten]} errs {further} more"
    if ties:
        *first, last = (names[name] for name in ties)
        tied = f"{', '.join(first)} and {last}" if first else last
        if len(ties) > MOST_NAMED:
            tied = f"{len(ties)} others"
        return f"{sentence}; {tied} {'tie' if len(ties) > 1 else 'ties'} with the best."
    return f"{sentence}."


def ranking_verdict(groups: Groups) -> str:
    """Say `ranking_sentence` in the few words that a title has room for."""
    groups = with_equal_seeds(groups)
    winner = best(groups)
    behind = [
        name for name in groups if name != winner and not gap(groups[name], groups[winner]).is_tie
    ]
    if not behind:
        return "A tie"
    if len(behind) == len(groups) - 1:
        return f"{'The default' if winner == DEFAULT else winner} is best"
    return f"{len(behind)} of {len(groups)} {'err' if len(behind) > 1 else 'errs'} more"


def variance_sentence(groups: Groups) -> str:
    """Say how far the default's error on new hands lies above that on hands learnt from."""
    run = groups[DEFAULT][0]
    return (
        f"The default errs by {train_error(run):.1f} months on the hands it learnt from and by "
        f"{error(run).text('months')} on others: {variance_verdict(groups)}."
    )


def variance_verdict(groups: Groups) -> str:
    """Say what `variance_sentence` comes to, in the few words that a title has room for."""
    run = groups[DEFAULT][0]
    train, held_out = train_error(run), error(run)
    if not held_out.excludes(train):
        return "what is learnt holds for others as well"
    if held_out.value < train:
        return "the others happen to be easier"
    return f"{held_out.value - train:.1f} months are learnt by heart"


def errors_verdict(runs: Sequence[Run]) -> str:
    """Say between what the errors of all runs that tell the age lie, in a title's few words."""
    errors = [error(run).value for run in runs if run.config.estimates_age]
    ends = dict.fromkeys(number(end) for end in (min(errors), max(errors)))
    return f"errors of {' to '.join(ends)} months"


def beats_constant_sentence(run: Run) -> str:
    """Say how a run compares with always answering the median age, paired on the same hands."""
    seen = validation(run)
    difference = paired_difference(seen, age.constant(run.predictions_train, seen))
    share = 100 * (1 - error(run).value / constant_error(run).value)
    if difference.is_tie:
        return "It cannot be told from always answering the median age."
    if difference.value > 0:
        return "It is worse than always answering the median age."
    return f"It removes {share:.0f} % of the error of always answering the median age."


def variables(runs: Sequence[Run]) -> dict[str, str | int]:
    """Return what the deck says of the runs, ready to print."""
    groups = by_experiment(runs)
    drawn = comparisons(configs_of(groups))
    depth = {name: groups[name] for name in drawn.get("curves_by_depth", [DEFAULT])}
    # The question is what an image tells; what the sex adds is said in 07_age_answer.
    alone = {name: group for name, group in groups.items() if not group[0].config.sex_input}
    winner = groups[best(alone or groups)][0]
    millions = parameters_in_millions(runs)
    found: dict[str, str | int] = {
        **{f"{name}_mae": error(group[0]).text("months") for name, group in depth.items()},
        **{f"{name}_parameters": f"{millions[name]:.1f} million" for name in depth},
        "n_runs": len(runs),
        "errors_verdict": errors_verdict(runs),
        "constant_mae": constant_error(winner).text("months"),
        "best_experiment": winner.config.experiment,
        "best_mae": error(winner).text("months"),
        "answer_sentence": beats_constant_sentence(winner),
        "bias_variance_sentence": variance_sentence(groups),
        "bias_variance_verdict": variance_verdict(groups),
    }
    if "forest" in drawn:
        found["forest_verdict"] = forest_verdict(forest(groups))
    for name, figures, what in RANKINGS:
        names = dict.fromkeys(n for figure in figures for n in drawn.get(figure, []))
        if names:
            ranked = {n: groups[n] for n in names}
            found[f"{name}_sentence"] = ranking_sentence(ranked, what)
            found[f"{name}_verdict"] = ranking_verdict(ranked)
    return found
