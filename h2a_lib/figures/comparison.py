"""The figures of notebook 06: each draws one comparison, or nothing where it has no runs."""

import itertools
from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from h2a_lib.analysis.age.sex_gap import signed
from h2a_lib.analysis.comparison import runs as compared
from h2a_lib.analysis.comparison import summary
from h2a_lib.analysis.comparison.labels import (
    DEFAULT,
    differences,
    has_equal_updates,
    label,
    labels_of,
)
from h2a_lib.analysis.comparison.runs import Comparison
from h2a_lib.analysis.statistics.bootstrap import months_text
from h2a_lib.figures import schedules, training
from h2a_lib.figures.colours import BLACK, BLUE, FAINT, GREEN, GREY, ORANGE, PALETTE, readable
from h2a_lib.figures.style import WIDE, colour_key, write_beside
from h2a_lib.study.config import Step
from h2a_lib.study.results import Drawing

# What the experiments of each figure of curves differ in.
CURVES_BY = {
    "curves_by_depth": "by depth",
    "step_grid_curves": "by step schedule",
    "plateau": "with reduce on plateau",
    "cyclic": "by schedule",
    "learning_rates": "by learning rate",
    "optimizers": "by optimiser",
    "normalisation": "by scaling of the pixels",
}
BATCH_NOTE = "; per batch: evaluated with the training set's mean and SD, unlike in training"
# Of a key above two panels, in one line.
KEY_LETTERS = 80
# Of each gamma of StepLR, light to dark by step size.
SHADES = ("Greens", "Oranges", "Purples", "Blues")
# Rows of a forest plot that stay legible on a slide, in one panel and in two.
ROWS_OF_PANEL, MOST_ROWS = 11, 22
# The errors that label noise explains, in months, of labels that have any.
Noise = tuple[float, float] | None
BUDGET = {"epochs": "epochs", "image_size_px": "image size", "train_fraction": "amount of data"}
VERDICT_COLOURS = {"better": GREEN, "worse": ORANGE, "equivalent": FAINT, "inconclusive": GREY}


def colours_for(n: int) -> Sequence[str]:
    """Return a colour for each of n settings, the default's first; none comes twice."""
    if n <= len(PALETTE):
        return PALETTE
    import seaborn as sns

    return [BLACK, *sns.husl_palette(n - 1, l=0.55).as_hex()]


# --- curves ---


def curves(comparison: Comparison, name: str, noise: Noise = None) -> Drawing | None:
    """Draw the learning curves of one figure of `CURVES_BY`."""
    names = _experiments(comparison, name)
    if not names:
        return None
    figure, axes = plt.subplots(figsize=WIDE)
    _draw_curves(comparison, names, axes, colours_for(len(names)), noise)
    training.direct_labels(axes)
    return _drawing(comparison, figure, name, names)


def step_grid(comparison: Comparison, noise: Noise = None) -> Drawing | None:
    """Draw the curves of StepLR, with its grid as a heat map beside them if it is one."""
    name = "step_grid_curves"
    names = _experiments(comparison, name)
    grid = compared.step_grid({e: comparison.groups[e] for e in names})
    if min(grid.shape) < 2:
        return curves(comparison, name, noise)
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE, width_ratios=(1.2, 1))
    figure.set_layout_engine("constrained", wspace=0.06)
    schedule_of = {e: comparison.configs[e].schedule for e in names}
    steps = {e: schedule for e, schedule in schedule_of.items() if isinstance(schedule, Step)}
    # Short labels: the heat map beside the curves leaves little room.
    labels = dict.fromkeys(names, "default")
    labels |= {
        e: f"× {step.gamma:g} every "
        + ("epoch" if step.step_size == 1 else f"{step.step_size:g} epochs")
        for e, step in steps.items()
    }
    _draw_curves(comparison, names, left, _shades(steps, names), noise, labels)
    training.direct_labels(left)
    schedules.grid(grid, right)
    return _drawing(comparison, figure, name, names, panels=2, right="right: validation error")


def curves_and_rates(comparison: Comparison, name: str, noise: Noise = None) -> Drawing | None:
    """Draw the learning curves of one figure of `CURVES_BY` beside the learning rates."""
    names = _experiments(comparison, name)
    if not names:
        return None
    figure, (left, right) = plt.subplots(1, 2, figsize=WIDE)
    colours = colours_for(len(names))
    _draw_curves(comparison, names, left, colours, noise)
    labels = labels_of(comparison.configs, names)
    tables = {}
    for experiment in names:
        run = comparison.groups[experiment][0]
        per_epoch = len(run.steps) / run.metrics["epochs"]
        tables[labels[experiment]] = run.steps.assign(epoch=run.steps["step"] / per_epoch)
    schedules.rates(tables, right, colours)
    # One key for both panels, above them.
    words = {labels[e]: colour for e, colour in zip(names, colours, strict=False)}
    fits = sum(map(len, words)) < KEY_LETTERS
    columns = len(words) if fits else -(-len(words) // 2)
    colour_key(figure, words, loc="outside upper center", ncols=columns)
    return _drawing(comparison, figure, name, names, panels=2, right="right: learning rate")


def _experiments(comparison: Comparison, figure: str) -> list[str]:
    return compared.comparisons(comparison.configs).get(figure, [])


def _draw_curves(
    comparison: Comparison,
    names: Sequence[str],
    axes: Axes,
    colours: Sequence[str],
    noise: Noise,
    labels: dict[str, str] | None = None,
) -> None:
    labels = labels or labels_of(comparison.configs, names)
    histories = {labels[e]: [run.history for run in comparison.groups[e]] for e in names}
    training.curves(histories, axes, colours)
    constant = compared.constant_error(comparison.groups[DEFAULT][0])
    training.reference_line(constant.value, "always the median age", axes)
    drawn = [history["selection_mae_months"].max() for h in histories.values() for history in h]
    training.cut_off(drawn, constant.value, axes)
    if noise is not None:
        training.noise_band(noise, axes)


def _shades(steps: Mapping[str, Step], names: Sequence[str]) -> list[str]:
    """Give each gamma of StepLR a hue, each step size a shade of it, and the default black."""
    hues = dict(zip(sorted({s.gamma for s in steps.values()}), itertools.cycle(SHADES)))
    sizes = sorted({s.step_size for s in steps.values()})
    depths = dict(zip(sizes, np.linspace(0.45, 0.9, len(sizes)), strict=True))
    return [
        to_hex(plt.get_cmap(hues[steps[e].gamma])(depths[steps[e].step_size]))
        if e in steps
        else BLACK
        for e in names
    ]


def _drawing(
    comparison: Comparison,
    figure: Figure,
    name: str,
    names: Sequence[str],
    panels: int = 1,
    right: str = "",
) -> Drawing:
    """Say of which hands the curves are, and of which the errors that are compared."""
    labels, what = labels_of(comparison.configs, names), CURVES_BY[name]
    errors = ", ".join(
        f"{labels[e]} {compared.mean_error(comparison.groups[e]):.1f}" for e in names[:12]
    )
    return Drawing(
        figure,
        name,
        alt=f"Learning curves {what}. Validation error in months: {errors}.",
        caption=f"{'Left: error' if panels > 1 else 'Error'} {what} on {_selection(comparison)} "
        "(solid; rings: epochs kept; band: range of the seeds) and in training (dotted)"
        f"{right and f'; {right}'}; {_seeds(comparison, names)}; {_hands(comparison)} for the "
        "dashed line and the differences in the text"
        + (BATCH_NOTE if name == "normalisation" else ""),
        finding=summary.sentence(comparison, names),
    )


def _sizes(comparison: Comparison, names: Sequence[str]) -> str:
    """Return "n = 414 validation hands, 3–5 seeds"."""
    return f"{_hands(comparison)}, {_seeds(comparison, names)}"


def _hands(comparison: Comparison) -> str:
    n = compared.error(comparison.groups[DEFAULT][0]).n
    return f"n = {n:,} validation hands"


def _seeds(comparison: Comparison, names: Sequence[str]) -> str:
    seeds = sorted({len(comparison.groups[e]) for e in names})
    count = "–".join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))
    return f"{count} seed{'' if count == '1' else 's'}"


def _selection(comparison: Comparison) -> str:
    return f"{comparison.groups[DEFAULT][0].metrics['selection']['n']:,} selection hands"


# --- training against validation ---


def trade_off(comparison: Comparison) -> Drawing | None:
    """Draw training against validation error, mean over seeds: by epoch and by each setting."""
    groups = comparison.groups
    names = _experiments(comparison, "bias_variance")
    tables = {
        setting: table
        for setting in compared.TRADES
        for table in [compared.trade_off(groups, setting)]
        if len(table) > 1
    }
    if not tables:
        return None
    figure, panels = plt.subplots(1, 1 + len(tables), figsize=WIDE, sharey=True)
    history = pd.concat(run.history for run in groups[DEFAULT]).groupby("epoch").mean()
    for split, colour in (("train", GREY), ("selection", BLUE)):
        panels[0].plot(history[f"{split}_mae_months"], color=colour)
    training.epoch_axis(panels[0], "Mean absolute error (months)")
    for (setting, table), axes in zip(tables.items(), panels[1:], strict=True):
        schedules.bias_and_variance(table, axes)
        axes.set_title(f"By {compared.TRADES[setting]}", loc="left")
    panels[0].set_title("By epoch (blue:\nselection hands)", loc="left")
    panels[0].set_xlabel("")
    panels[0].set_ylim(bottom=0)
    drawn = pd.concat(tables.values())["mae_months"]
    training.cut_off(drawn, compared.constant_error(groups[DEFAULT][0]).value, panels[0])
    training.direct_labels(panels[-1])
    return Drawing(
        figure,
        "bias_variance",
        alt="Error on training hands (grey) and on other hands (blue), over epochs and by "
        f"{', '.join(compared.TRADES[s] for s in tables)}. "
        f"{summary.variance_sentence(groups)}",
        caption="Error in training (grey) and on other hands (blue); points: mean over seeds; "
        f"bars: 95 % CI of one run; left: {_selection(comparison)}, "
        f"else {_sizes(comparison, names)}",
        finding=" ".join(
            filter(None, [summary.variance_sentence(groups), summary.confounding_note(tables)])
        ),
    )


def data_curve(comparison: Comparison) -> Drawing | None:
    """Draw the error against the number of training hands, and extrapolate to twice as many."""
    names = _experiments(comparison, "data_curve")
    if not names:
        return None
    law = compared.power_law(comparison.groups)
    figure, axes = plt.subplots(figsize=WIDE)
    line, largest = law.line, law.points["hands"].max()
    hands, low, high = line["hands"], line["mae_months_low"], line["mae_months_high"]
    axes.fill_between(hands, low, high, color=BLUE, alpha=0.15, lw=0)
    for part, dashes in ((hands <= largest, "-"), (hands >= largest, ":")):
        axes.plot(hands[part], line["mae_months"][part], dashes, color=BLUE)
    axes.plot(law.points["hands"], law.points["mae_months"], "o", color=BLACK)
    end = hands.iloc[-1], low.iloc[-1]
    write_beside(axes, "if it continues", end, (0, -6), ha="right", va="top", color=BLUE)
    axes.margins(y=0.15)
    axes.set(xlabel="Training hands (and, at equal epochs, updates)", xscale="log")
    axes.set(ylabel="Validation error (months)", yscale="log")
    ticks = sorted({*law.points["hands"], round(hands.iloc[-1])})
    axes.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    return Drawing(
        figure,
        "data_curve",
        alt=f"Validation error against training hands, both logarithmic. "
        f"{summary.power_law_sentence(law)}",
        caption=f"Learning curve over data; band: 95 % prediction interval of one run, dotted: "
        f"extrapolation; {_sizes(comparison, names)}",
        finding=summary.power_law_sentence(law),
    )


# --- everything ---


def forest(comparison: Comparison) -> Drawing | None:
    """Draw the difference of each experiment from the default, with interval and verdict.

    Many stand in two panels, each of its own part of one scale; of too many for those, the ones
    with a verdict come first and the table has the others.
    """
    table = comparison.table[comparison.table["same_as"] == ""]
    if table.empty:
        return None
    order = {"better": 0, "worse": 0, "equivalent": 1, "inconclusive": 2}
    size = -table["difference_months"].abs()
    ranked = table.assign(rank=table["verdict"].map(order), size=size)
    rows = ranked.sort_values(["rank", "size"]).head(MOST_ROWS).sort_values("difference_months")
    split = np.array_split(np.arange(len(rows)), 1 + (len(rows) > ROWS_OF_PANEL))
    parts = [rows.iloc[part] for part in split]
    limits = [_range(part, rows, comparison.margin_months) for part in parts]
    figure, panels = plt.subplots(
        1,
        len(parts),
        figsize=WIDE,
        squeeze=False,
        width_ratios=[high - low for low, high in limits],
    )
    for axes, part, ends in zip(panels[0], parts, limits, strict=True):
        _draw_forest(comparison, part, ends, axes)
    verdicts = {v: c for v, c in VERDICT_COLOURS.items() if (rows["verdict"] == v).any()}
    colour_key(figure, verdicts, loc="outside upper center", ncols=len(verdicts))
    left_out = len(table) - len(rows)
    caption = [
        "Validation error minus that of the default",
        "unadjusted 95 % CI; verdicts adjusted for their number (Holm)",
        f"grey band: margin of equivalence, {months_text(comparison.margin_months)}",
    ]
    if not comparison.noise.is_known:
        caption[1] = "95 % CI over children alone (one seed each)"
    budgets = [_other_budget(comparison, name) for name in rows["experiment"]]
    if other := [what for name, what in BUDGET.items() if any(name in own for own in budgets)]:
        caption.append(f"* also differs in {' or '.join(other)}")
    if len(table) < len(comparison.table):
        caption.append("identical runs are drawn once")
    if left_out:
        caption.append(f"{left_out} more in the table")
    return Drawing(
        figure,
        "forest",
        alt=f"Difference in validation error from the default for {len(rows)} experiments: "
        f"{summary.verdict(comparison)}.",
        caption=f"{'; '.join(caption)}; {_sizes(comparison, list(comparison.groups))}",
        finding=f"{summary.verdict(comparison).capitalize()}. {summary.noise_sentence(comparison)}",
    )


def _draw_forest(
    comparison: Comparison, table: pd.DataFrame, limits: tuple[float, float], axes: Axes
) -> None:
    """Draw one row for each experiment; what lies beyond the range is an arrow with its value."""
    low, high = limits
    margin = comparison.margin_months
    axes.axvspan(-margin, margin, color=GREY, alpha=0.15, lw=0)
    axes.axvline(0, color=BLACK, linewidth=1)
    heights = np.arange(len(table))[::-1]
    for height, (_, row) in zip(heights, table.iterrows(), strict=True):
        colour = VERDICT_COLOURS[row["verdict"]]
        value = row["difference_months"]
        ends = [row["difference_months_low"], row["difference_months_high"]]
        axes.plot(np.clip(ends, low, high), [height] * 2, color=colour, solid_capstyle="butt")
        marker = ">" if value > high else "<" if value < low else "o"
        filled = colour if row["verdict"] != "inconclusive" else "white"
        at = np.clip(value, low, high)
        axes.plot(at, height, marker, color=colour, mfc=filled, ms=5, clip_on=False)
        place = {"xycoords": axes.get_yaxis_transform(), "va": "center", "color": readable(colour)}
        write_beside(axes, signed(value), (1, height), (4, 0), **place)
    names = [
        f"{row['label']}{' *' if _other_budget(comparison, row['experiment']) else ''}"
        for _, row in table.iterrows()
    ]
    # Short ones leave room for the intervals.
    for long, short in {"_": " ", "combined recipe,": "recipe,", "a quarter of": "¼ of"}.items():
        names = [name.replace(long, short) for name in names]
    axes.set_yticks(heights, names)
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.set_xlim(low, high)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0, pad=5)
    axes.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    axes.set_xlabel("Difference (months)")


def _range(part: pd.DataFrame, table: pd.DataFrame, margin: float) -> tuple[float, float]:
    """Return limits that hold the margin and most intervals: one outlier must not set the scale."""
    most = 12 * max(table["difference_months"].abs().median(), margin)
    low = max(part["difference_months_low"].min(), -most)
    high = min(part["difference_months_high"].max(), most)
    return min(low, -1.3 * margin) * 1.05, max(high, 1.3 * margin) * 1.05


def _other_budget(comparison: Comparison, experiment: str) -> set[str]:
    """Return in which means to learn an experiment differs, if not in these alone."""
    config, default = comparison.configs[experiment], comparison.configs[DEFAULT]
    changed = differences(config, default).keys()
    if has_equal_updates(config, default):
        changed -= {"train_fraction"}  # is in its name
    budget = changed & BUDGET.keys()
    return budget if changed - budget else set()


def selected_curves(comparison: Comparison, experiments: Sequence[str]) -> Figure:
    """Draw the curves of some experiments, for `explore.runs`."""
    figure, axes = plt.subplots(figsize=WIDE)
    default = comparison.configs[DEFAULT]
    histories = {
        label(comparison.configs[e], default): [run.history for run in comparison.groups[e]]
        for e in experiments
    }
    if histories:
        training.curves(histories, axes, colours_for(len(histories)))
        constant = compared.constant_error(comparison.groups[DEFAULT][0]).value
        drawn = pd.concat(h for several in histories.values() for h in several)
        training.cut_off(drawn["selection_mae_months"], constant, axes)
        training.direct_labels(axes)
    return figure
