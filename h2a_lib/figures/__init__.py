"""How the report draws: functions from data and Axes to Axes, by topic."""

from h2a_lib.figures import training
from h2a_lib.figures.style import use_style

__all__ = ["training", "use_style"]
