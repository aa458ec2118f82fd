"""What the deck says of the runs side by side: verdicts against the default, never a winner."""

from collections.abc import Iterable, Sequence

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.comparison.labels import DEFAULT, labels_of
from h2a_lib.analysis.comparison.runs import (
    Comparison,
    Groups,
    PowerLaw,
    comparisons,
    configs_of,
    constant_error,
    error,
    power_law,
    train_error,
)
from h2a_lib.analysis.selection import best_runs, validation
from h2a_lib.analysis.statistics.bootstrap import number, paired_difference
from h2a_lib.analysis.statistics.verdicts import BETTER, EQUIVALENT, UNDECIDED, WORSE
from h2a_lib.study.runs import Run

# What the deck says of a comparison: name, the figure that shows it.
TOPICS = {
    "depth": "curves_by_depth",
    "step_grid": "step_grid_curves",
    "plateau": "plateau",
    "cyclic": "cyclic",
    "normalisation": "normalisation",
    "learning_rate": "learning_rates",
    "optimizer": "optimizers",
}
# Experiments that a sentence names; more are counted.
MOST_NAMED = 3
IDENTICAL = "identical"
NOISE_UNKNOWN = "training noise unknown: one seed each"


# --- verdicts ---


def verdict(comparison: Comparison, experiments: Iterable[str] = ()) -> str:
    """Return the verdicts on some experiments, by default all, in a title's few words."""
    compared = _compared(comparison, experiments)
    if not comparison.noise.is_known and any(
        comparison.row(name)["verdict"] == UNDECIDED for name in compared
    ):
        return f"undecided ({NOISE_UNKNOWN})"
    by_verdict = _by_verdict(comparison, compared)
    if len(by_verdict) == 1 and len(next(iter(by_verdict.values()))) > 1:
        (kind, names), *_ = by_verdict.items()
        return f"{'both' if len(names) == 2 else f'all {len(names)}'} {kind}"
    if len(compared) == 1:
        return f"{_capital(_labels(comparison, compared)[compared[0]])}: {next(iter(by_verdict))}"
    return ", ".join(f"{len(names)} {kind}" for kind, names in by_verdict.items())


def sentence(comparison: Comparison, experiments: Iterable[str]) -> str:
    """Return the verdicts on some experiments in a few sentences, each with its interval.

    "ResNet-34 performs worse than ResNet-18 by 2.2 months (95 % CI 1.2–3.1)."
    """
    compared = _compared(comparison, experiments)
    labels = _labels(comparison, compared)
    reference = _reference(labels[DEFAULT])
    n = int(comparison.row(compared[0])["n"])
    by_verdict = _by_verdict(comparison, compared)
    sentences = []
    for kind in (BETTER, WORSE):
        names = by_verdict.get(kind, [])
        sizes = [_interval(comparison, name) for name in names]
        if len(names) == 1:
            sentences.append(f"{labels[names[0]]} performs {kind} than {reference} by {sizes[0]}")
        elif names:
            listed = [f"{labels[name]} by {size}" for name, size in zip(names, sizes, strict=True)]
            sentences.append(f"{len(names)} perform {kind} than {reference}: {_listed(listed)}")
    margin = f"{comparison.margin_months:g} month{'s' if comparison.margin_months != 1 else ''}"
    alike = {
        EQUIVALENT: f"equivalent to {reference} (margin: {margin})",
        IDENTICAL: f"the same training as {reference} here",
    }
    for kind, text in alike.items():
        if names := by_verdict.get(kind):
            verb = "is" if len(names) == 1 else "are"
            sentences.append(f"{_listed([labels[name] for name in names])} {verb} {text}")
    if names := by_verdict.get(UNDECIDED):
        listed = [f"{labels[name]} ({_signed(comparison, name)})" for name in names]
        reason = f" ({NOISE_UNKNOWN})" if not comparison.noise.is_known else ""
        sentences.append(f"undecided against {reference}{reason}: {_listed(listed)}")
    return f"{'. '.join(map(_capital, sentences))}. n = {n:,}."


def _reference(label: str) -> str:
    """Return "ResNet-18" or "the default (Adam)"."""
    value = label.removesuffix(" (default)")
    if value.startswith("ResNet"):
        return value
    return "the default" if value == "default" else f"the default ({value})"


def _compared(comparison: Comparison, experiments: Iterable[str]) -> list[str]:
    chosen = list(experiments) or list(comparison.groups)
    return [name for name in chosen if name != DEFAULT]


def _labels(comparison: Comparison, compared: Sequence[str]) -> dict[str, str]:
    return labels_of(comparison.configs, [DEFAULT, *compared])


def _by_verdict(comparison: Comparison, compared: Sequence[str]) -> dict[str, list[str]]:
    """Return the experiments with each verdict; of identical trainings the first alone."""
    groups: dict[str, list[str]] = {}
    for name in compared:
        row = comparison.row(name)
        if row["same_as"] not in compared:
            groups.setdefault(row["verdict"], []).append(name)
    order = (BETTER, WORSE, EQUIVALENT, IDENTICAL, UNDECIDED)
    return {kind: groups[kind] for kind in order if kind in groups}


def _listed(names: Sequence[str]) -> str:
    """Join names; of many, name some and count the rest."""
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def _interval(comparison: Comparison, name: str) -> str:
    """Return how large a difference is, without its sign: "2.2 months (95 % CI 1.2–3.1)"."""
    estimate = abs(comparison.estimate(name))
    return f"{number(estimate.value)} months (95 % CI {estimate.span()})"


def _signed(comparison: Comparison, name: str) -> str:
    estimate = comparison.estimate(name)
    sign = "+" if estimate.value > 0 else ""
    if not comparison.noise.is_known:
        return f"{sign}{number(estimate.value)} months"
    return f"{sign}{number(estimate.value)} months, 95 % CI {estimate.span()}"


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def noise_sentence(comparison: Comparison) -> str:
    """Say how much of a difference is the noise of training."""
    noise = comparison.noise
    if not noise.is_known:
        return (
            "No experiment has a second seed: training noise is unknown, and no difference "
            "between experiments can be distinguished from it."
        )
    return (
        f"From seed to seed the error varies with an SD of {number(noise.sd, 1)} months "
        f"({noise.degrees} degree{'s' if noise.degrees > 1 else ''} of freedom, pooled over "
        "experiments); every interval includes it."
    )


# --- bias and variance ---


def variance_sentence(groups: Groups) -> str:
    """Compare the default's error in training and in validation."""
    run = groups[DEFAULT][0]
    finding = variance_verdict(groups)
    return (
        f"{_capital(finding)}: {number(train_error(run))} months in training, "
        f"{error(run).text('months')} in validation."
    )


def variance_verdict(groups: Groups) -> str:
    """Return what `variance_sentence` comes to, for a title."""
    run = groups[DEFAULT][0]
    train, held_out = train_error(run), error(run)
    if not held_out.excludes(train):
        return "no overfitting"
    if held_out.value < train:
        return "no overfitting (the validation hands are easier)"
    return f"overfitting by {number(held_out.value - train)} months"


def confounding_note(settings: Iterable[str]) -> str:
    """Return what changes along with a setting of `TRADES`, if anything."""
    if "train_fraction" not in settings:
        return ""
    return (
        "With the same number of epochs, a smaller share of the data also means "
        "proportionally fewer updates: the two effects are not separated here."
    )


def power_law_sentence(law: PowerLaw) -> str:
    """State the exponent of the learning curve and what twice the hands would give."""
    doubled = law.doubled
    hands = round(law.line["hands"].iloc[-1])
    return (
        f"The error falls with the number of hands to the power of −{number(law.exponent, 2)}. "
        f"If this continues, {hands:,} hands would give {number(doubled.value)} months "
        f"(95 % prediction interval {doubled.span()}, from {doubled.n} runs). "
        f"{confounding_note(['train_fraction'])}"
    )


# --- the answer ---


def errors_verdict(runs: Sequence[Run]) -> str:
    """Return between what the errors of all runs that estimate age lie, for a title."""
    errors = [error(run).value for run in runs if run.config.estimates_age]
    ends = dict.fromkeys(number(end) for end in (min(errors), max(errors)))
    return f"errors of {' to '.join(ends)} months"


def beats_constant_sentence(run: Run) -> str:
    """Compare a run with always predicting the median age, paired on the same hands."""
    predictions = validation(run)
    constant = age.constant(run.predictions_train, predictions)
    difference = paired_difference(predictions, constant)
    if difference.is_tie:
        return "Its error is not distinguishable from that of always predicting the median age."
    if difference.value > 0:
        return "It performs worse than always predicting the median age."
    share = 100 * (1 - error(run).value / constant_error(run).value)
    return f"It removes {share:.0f} % of the error of always predicting the median age."


def variables(comparison: Comparison, runs: Sequence[Run]) -> dict[str, str]:
    """Return what the deck says of the runs, ready to print."""
    groups = comparison.groups
    drawn = comparisons(configs_of(groups))
    # The question is what an image shows; 07_age_answer says what the sex adds.
    best = best_runs(runs, "age")[0]
    values = {
        f"{DEFAULT}_mae": error(groups[DEFAULT][0]).text("months"),
        "errors_verdict": errors_verdict(runs),
        "constant_mae": constant_error(best).text("months"),
        "best_experiment": best.config.experiment,
        "best_mae": error(best).text("months"),
        "answer_sentence": beats_constant_sentence(best),
        "bias_variance_sentence": variance_sentence(groups),
        "bias_variance_verdict": variance_verdict(groups),
        "noise_sentence": noise_sentence(comparison),
        "margin": f"{comparison.margin_months:g}",
    }
    if "forest" in drawn:
        values["forest_verdict"] = verdict(comparison)
    if "data_curve" in drawn:
        values["data_sentence"] = power_law_sentence(power_law(groups))
    for topic, figure in TOPICS.items():
        if names := drawn.get(figure):
            values[f"{topic}_sentence"] = sentence(comparison, names)
            values[f"{topic}_verdict"] = verdict(comparison, names)
    return values
