"""What the deck says of the runs side by side: verdicts against the default, never a winner."""

from collections.abc import Iterable, Sequence

import numpy as np

from h2a_lib.analysis.age import errors as age
from h2a_lib.analysis.comparison import runs as comparisons
from h2a_lib.analysis.comparison.hyperparameters import described
from h2a_lib.analysis.comparison.labels import (
    DEFAULT,
    PER,
    RECIPE,
    describe_setting,
    differences,
    has_equal_updates,
    labels_of,
)
from h2a_lib.analysis.comparison.runs import Comparison, Groups, PowerLaw
from h2a_lib.analysis.selection import best_runs, validation
from h2a_lib.analysis.statistics.bootstrap import (
    Estimate,
    capitalised,
    listed,
    months_text,
    number,
    paired_difference,
)
from h2a_lib.analysis.statistics.verdicts import BETTER, EQUIVALENT, INCONCLUSIVE, WORSE
from h2a_lib.study.config import NETWORKS
from h2a_lib.study.runs import Run

# The comparisons of the deck: the figure that shows each, and what one of its experiments is.
TOPICS = {
    "depth": ("curves_by_depth", "other depth"),
    "step_grid": ("step_grid_curves", "step schedule"),
    "plateau": ("plateau", "other schedule"),
    "cyclic": ("cyclic", "cyclic, cosine or constant schedule"),
    "normalisation": ("normalisation", "other normalisation"),
    "learning_rate": ("learning_rates", "other learning rate"),
    "optimizer": ("optimizers", "other optimiser"),
}
WORDS = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine")
# Experiments that a sentence names; more are counted.
MOST_NAMED = 3
IDENTICAL = "identical"
GAP = "The default has a generalisation gap"
NOISE_UNKNOWN = "training noise unknown: one seed each"


# --- verdicts ---


def verdict(comparison: Comparison, experiments: Iterable[str] = ()) -> str:
    """Count the verdicts on some experiments, by default all."""
    compared = _compared(comparison, experiments)
    if not comparison.noise.is_known and any(
        comparison.row(name)["verdict"] == INCONCLUSIVE for name in compared
    ):
        return f"inconclusive ({NOISE_UNKNOWN})"
    by_verdict = _by_verdict(comparison, compared)
    if len(by_verdict) == 1 and len(next(iter(by_verdict.values()))) > 1:
        (kind, names), *_ = by_verdict.items()
        return f"{'both' if len(names) == 2 else f'all {len(names)}'} {kind}"
    if len(compared) == 1:
        label = _labels(comparison, compared)[compared[0]]
        return f"{capitalised(label)}: {next(iter(by_verdict))}"
    return ", ".join(f"{len(names)} {kind}" for kind, names in by_verdict.items())


def title(comparison: Comparison, experiments: Iterable[str], topic: str) -> str:
    """Return the finding of a comparison of `TOPICS`, with its largest difference."""
    compared = _compared(comparison, experiments)
    labels = _labels(comparison, compared)
    reference, (_, noun) = _reference(labels[DEFAULT]).split(" (")[0], TOPICS[topic]
    if topic == "plateau" and not rate_fell(comparison, compared[0]):
        epochs = comparison.configs[compared[0]].epochs
        return f"Reduce on plateau never lowered the rate in {epochs} epochs"
    if not comparison.noise.is_known:
        return f"{capitalised(noun.removeprefix('other '))}: inconclusive ({NOISE_UNKNOWN})"
    by_verdict = _by_verdict(comparison, compared)
    better, worse = by_verdict.get(BETTER, []), by_verdict.get(WORSE, [])
    if better:  # from best to worst
        first = min(better, key=lambda name: comparison.estimate(name).value)
        text = f"{capitalised(labels[first])} performs better by {_size(comparison, first)}"
        return text if len(better) == 1 else f"{text}; {len(better)} beat {reference}"
    if worse and (special := _worse_title(comparison, compared, worse, topic)):
        return special
    if len(compared) > 1:
        equivalent = len(by_verdict.get(EQUIVALENT, [])) == len(compared)
        verb = "beats" if equivalent else "demonstrably beats"
        return f"No {noun} {verb} {reference}"
    (name,), (kind,) = compared, by_verdict
    if kind == WORSE:
        return f"{capitalised(labels[name])} performs worse by {_size(comparison, name)}"
    if kind == EQUIVALENT:
        return f"{capitalised(labels[name])} is equivalent to {reference}"
    if kind == IDENTICAL:
        return f"{capitalised(labels[name])} is identical to {reference} here"
    if topic == "normalisation":
        ours, other = (comparison.configs[each].pixel_norm for each in (DEFAULT, name))
        return (
            f"Pixel scaling per {PER.get(ours, ours)} or per {PER.get(other, other)}: inconclusive"
        )
    return (
        f"{capitalised(labels[DEFAULT].removesuffix(' (default)'))} or {labels[name]}: inconclusive"
    )


def _worse_title(
    comparison: Comparison, compared: Sequence[str], worse: Sequence[str], topic: str
) -> str:
    """Return the title of a scale where nothing is better and something worse; "" elsewhere."""
    configs = comparison.configs
    most = max(worse, key=lambda name: comparison.estimate(name).value)
    size = _size(comparison, most)
    if topic == "depth":
        depth = {name: NETWORKS[configs[name].network].gflops for name in [DEFAULT, *compared]}
        label = _labels(comparison, compared)[most]
        unclear = _by_verdict(comparison, compared).get(INCONCLUSIVE, [])
        if not unclear and all(depth[name] > depth[DEFAULT] for name in compared):
            return f"Deeper is not better: {label} performs worse by {size}"
        reference = _reference(_labels(comparison, compared)[DEFAULT])
        return f"{label} performs worse than {reference} by {size}"
    if topic == "learning_rate":
        rate, default = configs[most].lr, configs[DEFAULT].lr
        return f"A learning rate of {rate:g} performs worse than {default:g} by {size}"
    return ""


def forest_title(comparison: Comparison) -> str:
    """Say whether single settings and combined recipes beat the default."""
    if not comparison.noise.is_known:
        return f"No verdict against the default ({NOISE_UNKNOWN})"
    changed = {
        name: len(differences(config, comparison.configs[DEFAULT]))
        for name, config in comparison.configs.items()
    }
    better = _by_verdict(comparison, _compared(comparison, ())).get(BETTER, [])
    if not better:
        return "No experiment demonstrably beats the default"
    recipes = [name for name in better if changed[name] > 1]
    n_single = len(better) - len(recipes)
    labels = _labels(comparison, recipes)
    is_recipe = all(labels[name].startswith(RECIPE) for name in recipes)
    several = RECIPE if is_recipe else "multi-setting experiment"
    if n_single:
        text = f"{_count(n_single, 'single setting')} {_beat(n_single)} the default"
        if not recipes:
            return text
        also = f"{_count(len(recipes), several)} {_beat(len(recipes))} it as well"
        return f"{text}, {also.lower()}"
    text = f"{_count(len(recipes), several)}{_advantage(comparison, recipes)}"
    none = "; no single setting demonstrably does" if 1 in changed.values() else ""
    return f"{text} {_beat(len(recipes))} the default{none}"


def _count(n: int, noun: str) -> str:
    """Return "Three combined recipes", "One single setting"."""
    return f"{WORDS[n] if n < len(WORDS) else n} {noun}{'s' if n != 1 else ''}"


def _beat(n: int) -> str:
    return "beats" if n == 1 else "beat"


def _advantage(comparison: Comparison, recipes: Sequence[str]) -> str:
    """Say what all of the recipes have more of than the default, besides better settings."""
    default = comparison.configs[DEFAULT]

    def is_more(setting: str) -> bool:
        return all(
            getattr(comparison.configs[name], setting) > getattr(default, setting)
            for name in recipes
        )

    longer = "trained longer" if is_more("epochs") else ""
    larger = "larger images" if is_more("image_size_px") else ""
    hands = "more hands" if is_more("train_fraction") else ""
    on = " and ".join(filter(None, [larger, hands]))
    text = " ".join(filter(None, [longer, on and f"on {on}"]))
    return f", {text}," if text else ""


def rate_fell(comparison: Comparison, experiment: str) -> bool:
    """Whether the learning rate fell in any run of an experiment."""
    return any((run.history["lr"].diff() < 0).any() for run in comparison.groups[experiment])


def sentence(comparison: Comparison, experiments: Iterable[str]) -> str:
    """Return the verdicts on some experiments in a few sentences, each with its interval.

    "ResNet-34 performs worse than ResNet-18 by 2.2 months (95 % CI 1.2–3.1)."
    """
    compared = _compared(comparison, experiments)
    labels = _labels(comparison, compared)
    # What the default is, is said once.
    whole = _reference(labels[DEFAULT])
    references = iter([whole])

    def reference() -> str:
        return next(references, whole.split(" (")[0])

    by_verdict = _by_verdict(comparison, compared)
    sentences = []
    for kind in (BETTER, WORSE):
        names = by_verdict.get(kind, [])
        sizes = [_interval(comparison, name) for name in names]
        if len(names) == 1:
            sentences.append(f"{labels[names[0]]} performs {kind} than {reference()} by {sizes[0]}")
        elif names:
            listed = [f"{labels[name]} by {size}" for name, size in zip(names, sizes, strict=True)]
            sentences.append(f"{len(names)} perform {kind} than {reference()}: {_listed(listed)}")
    margin = months_text(comparison.margin_months)
    for kind, before, after in (
        (EQUIVALENT, "equivalent to", f" within the margin of {margin}"),
        (IDENTICAL, "identical to", " here"),
    ):
        if names := by_verdict.get(kind):
            verb = "is" if len(names) == 1 else "are"
            whose = _listed([labels[name] for name in names])
            sentences.append(f"{whose} {verb} {before} {reference()}{after}")
    if names := by_verdict.get(INCONCLUSIVE):
        listed = [f"{labels[name]} ({_signed(comparison, name)})" for name in names]
        reason = f" ({NOISE_UNKNOWN})" if not comparison.noise.is_known else ""
        against = "" if sentences else f" compared with {reference()}"
        sentences.append(f"inconclusive{against}{reason}: {_listed(listed)}")
        if any(comparison.estimate(name).excludes(0) for name in names):
            sentences.append(
                "verdicts, unlike intervals, are adjusted for the number of experiments"
            )
    return f"{'. '.join(map(capitalised, sentences))}."


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
    """Return the experiments with each verdict; of identical runs the first alone."""
    groups: dict[str, list[str]] = {}
    for name in compared:
        row = comparison.row(name)
        if row["same_as"] not in compared:
            groups.setdefault(row["verdict"], []).append(name)
    order = (BETTER, WORSE, EQUIVALENT, IDENTICAL, INCONCLUSIVE)
    return {kind: groups[kind] for kind in order if kind in groups}


def _listed(names: Sequence[str]) -> str:
    """Join names; of many, name some and count the rest."""
    if len(names) > MOST_NAMED:
        return f"{', '.join(names[:MOST_NAMED])} and {len(names) - MOST_NAMED} more"
    return listed(names)


def _size(comparison: Comparison, name: str) -> str:
    return f"{number(abs(comparison.estimate(name).value))} months"


def _interval(comparison: Comparison, name: str) -> str:
    """Return how large a difference is, without its sign: "2.2 months (95 % CI 1.2–3.1)"."""
    estimate = abs(comparison.estimate(name))
    return (
        f"{number(estimate.value)} months (95 % CI {estimate.span()}{_one_seed(comparison, name)})"
    )


def _signed(comparison: Comparison, name: str) -> str:
    estimate = comparison.estimate(name)
    value = round(estimate.value, 1) + 0.0  # no negative zero
    text = f"{'+' if value > 0 else ''}{number(value)} months"
    interval = f", 95 % CI {estimate.span()}{_one_seed(comparison, name)}"
    return text + (interval if comparison.noise.is_known else "")


def _one_seed(comparison: Comparison, name: str) -> str:
    return "; one seed" if comparison.noise.is_known and comparison.row(name)["seeds"] == 1 else ""


def noise_sentence(comparison: Comparison) -> str:
    """Say how much of a difference is training noise."""
    noise = comparison.noise
    if not noise.is_known:
        return (
            "No experiment has a second seed: training noise is unknown, and no difference "
            "between experiments can be distinguished from it."
        )
    return (
        f"The seed-to-seed SD of the validation error is {number(noise.sd, 1)} months "
        f"({noise.degrees} degree{'s' if noise.degrees > 1 else ''} of freedom); the intervals of "
        "differences allow for it."
    )


# --- bias and variance ---


def _over_seeds(group: Sequence[Run]) -> Estimate:
    """Average the validation error over seeds, and the ends of the intervals, each of one run."""
    errors = [comparisons.error(run) for run in group]
    value, low, high = np.mean([(each.value, each.low, each.high) for each in errors], axis=0)
    return Estimate(value, low, high, errors[0].n)


def variance_sentence(groups: Groups, as_title: bool = False) -> str:
    """Compare the default's error in training and in validation; in a title without interval.

    Errors are means over seeds, and so are the ends of the intervals, each of one run.
    """
    train = np.mean([comparisons.train_error(run) for run in groups[DEFAULT]])
    held_out = _over_seeds(groups[DEFAULT])
    constant = comparisons.constant_error(groups[DEFAULT][0]).value
    finding, beside = "Validation hands are easier for the default", ""
    if min(train, held_out.value) >= constant:
        finding = "The default has not learned"
        beside = f", {number(constant)} for always the median"
    elif not held_out.excludes(train):
        finding = "No generalisation gap of the default is shown"
    elif held_out.value > train:
        finding = GAP
    text = f"{finding}: {number(train)} months in training,"
    if as_title:
        # A title has one line.
        if finding == GAP:
            text = f"Error of the default: {number(train)} months in training,"
        return f"{text} {number(held_out.value)} in validation{beside}"
    return f"{text} {held_out.text('months')} in validation{beside}."


def confounding_note(settings: Iterable[str]) -> str:
    """Return what changes along with a setting of `TRADES`, if anything."""
    if "train_fraction" not in settings:
        return ""
    return (
        "With the same number of epochs, a smaller share of the data also means "
        "proportionally fewer updates."
    )


def updates_sentence(comparison: Comparison) -> str:
    """Say what is left of the effect of fewer hands at equal updates, where that was trained."""
    configs, default = comparison.configs, comparison.configs[DEFAULT]
    for name, config in configs.items():
        if not has_equal_updates(config, default):
            continue
        verb = "raises" if comparison.estimate(name).value > 0 else "lowers"
        share_text = capitalised(describe_setting("train_fraction", config.train_fraction))
        text = (
            f"{share_text} {verb} the error by {_interval(comparison, name)} at an equal number of "
            "updates"
        )
        for other, own in configs.items():
            if differences(own, default) == {"train_fraction": config.train_fraction}:
                text += f", and by {_interval(comparison, other)} at an equal number of epochs"
        return f"{text}."
    note = confounding_note(["train_fraction"])
    return f"{note} The two effects are not separated here."


def power_law_sentence(law: PowerLaw) -> str:
    """State the exponent of the learning curve and what twice the hands would give."""
    doubled = law.doubled
    hands = round(law.line["hands"].iloc[-1])
    return (
        "The error is proportional to the number of training hands to the power of "
        f"−{number(law.exponent, 2)}. If this continues, {hands:,} hands would give "
        f"{number(doubled.value)} months (95 % prediction interval {doubled.span()}, from "
        f"{doubled.n} runs)."
    )


# --- the answer ---


def errors_verdict(runs: Sequence[Run]) -> str:
    """Return between what the errors of all runs that estimate age lie, for a title."""
    errors = [comparisons.error(run).value for run in runs if run.config.estimates_age]
    ends = dict.fromkeys(number(end) for end in (min(errors), max(errors)))
    return f"validation errors from {' to '.join(ends)} months"


def best_verdict(run: Run, given: str) -> str:
    """Return the error of the run behind the answer, for a title, unless the median is as good."""
    predictions = validation(run)
    constant = age.constant(run.predictions_train, predictions)
    text = f"Bone age from {given}: {number(comparisons.error(run).value)} months"
    difference = paired_difference(predictions, constant)
    if difference.high < 0:
        return f"{text} mean absolute error"
    relation = "not distinguishable from" if difference.is_tie else "worse than"
    return f"{text}, {relation} the median's {number(age.error(constant).value)}"


def beats_constant_sentence(run: Run) -> str:
    """Compare a run with always predicting the median age, paired on the same hands."""
    predictions = validation(run)
    constant = age.constant(run.predictions_train, predictions)
    difference = paired_difference(predictions, constant)
    if difference.is_tie:
        return (
            "The network's error is not distinguishable from that of always predicting the median "
            "age."
        )
    if difference.value > 0:
        return "The network performs worse than always predicting the median age."
    share = 100 * (1 - comparisons.error(run).value / comparisons.constant_error(run).value)
    return f"The network removes {share:.0f} % of the error of always predicting the median age."


def variables(comparison: Comparison, runs: Sequence[Run]) -> dict[str, str]:
    """Return what the deck says of the runs, ready to print."""
    groups = comparison.groups
    drawn = comparisons.comparisons(comparisons.configs_of(groups))
    # The question is what an image shows; 07_age_answer says what the sex adds.
    best = best_runs(runs, "age")[0]
    mae, constant = comparisons.error(best), comparisons.constant_error(best)
    given = "image and sex" if best.config.sex_input else "the image alone"
    values = {
        "default_mae": _over_seeds(groups[DEFAULT]).text("months"),
        "errors_verdict": errors_verdict(runs),
        "constant_mae": constant.text("months"),
        "constant_mae_rounded": f"{number(constant.value, 0)} months",
        "best_experiment": best.config.experiment,
        "best_label": comparisons.labels_of_runs(runs)[best.config.experiment],
        "best_network": described(best.config),
        "default_network": described(groups[DEFAULT][0].config),
        "best_mae": mae.text("months"),
        "best_mae_rounded": f"{number(mae.value)} months",
        "best_verdict": best_verdict(best, given),
        "answer_sentence": beats_constant_sentence(best),
        "bias_variance_sentence": variance_sentence(groups),
        "bias_variance_verdict": variance_sentence(groups, as_title=True),
        "noise_sentence": noise_sentence(comparison),
        "margin": months_text(comparison.margin_months),
    }
    if "forest" in drawn:
        values["forest_verdict"] = forest_title(comparison)
        values["forest_counts"] = verdict(comparison)
    if "data_curve" in drawn:
        law = comparisons.power_law(groups)
        values["data_sentence"] = f"{power_law_sentence(law)} {updates_sentence(comparison)}"
        doubled = number(law.doubled.value)
        values["data_verdict"] = (
            f"With twice the data: about {doubled} months, if the trend continues"
        )
    for topic, (figure, _) in TOPICS.items():
        if names := drawn.get(figure):
            text = sentence(comparison, names)
            if topic == "plateau" and not rate_fell(comparison, names[-1]):
                epochs = comparison.configs[names[-1]].epochs
                text = f"The rate stayed constant throughout the {epochs} epochs. {text}"
            values[f"{topic}_sentence"] = text
            values[f"{topic}_verdict"] = title(comparison, names, topic)
    return values
