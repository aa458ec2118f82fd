"""Choose experiments and see their learning curves together."""

import ipywidgets as widgets

from h2a_lib.analysis.comparison.labels import DEFAULT, label
from h2a_lib.analysis.comparison.runs import Comparison
from h2a_lib.figures.comparison import selected_curves
from h2a_lib.figures.explore.live import View, interact

ROWS = 8


def curves(comparison: Comparison) -> View:
    """Return a list of experiments with the curves of those that are chosen."""
    default = comparison.configs[DEFAULT]
    options = [(label(config, default), name) for name, config in comparison.configs.items()]
    others = [name for name in comparison.configs if name != DEFAULT]
    control = widgets.SelectMultiple(
        options=options,
        value=(DEFAULT, *others[:2]),
        rows=min(ROWS, len(options)),
        description="experiments",
        style={"description_width": "initial"},
    )
    return interact(
        lambda experiments: selected_curves(comparison, experiments),
        "Learning curves of the chosen experiments: error over epochs, solid on the selection "
        "hands, dotted in training.",
        experiments=control,
    )
