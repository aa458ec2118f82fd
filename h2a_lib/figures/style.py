"""One look for every figure: colours, sizes, and what is written on each."""

import matplotlib as mpl
from cycler import cycler

# Okabe and Ito's palette, told apart under every common colour blindness
# (Wong 2011, Nature Methods 8:441).
BLUE, VERMILLION, GREEN, ORANGE, SKY, PURPLE, YELLOW, BLACK = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#E69F00",
    "#56B4E9",
    "#CC79A7",
    "#F0E442",
    "#222222",
)
GREY = "#8A8A8A"
PALETTE = (BLUE, VERMILLION, GREEN, ORANGE, PURPLE, SKY, BLACK)

# One colour for each sex, everywhere.
SEX_COLOURS = {"female": VERMILLION, "male": BLUE}

# Drawn at these sizes (inches) a figure's 13-point text is legible from the back of a room
# when it fills the slide.
WIDE = (11.0, 4.9)
HALF = (5.6, 4.6)
SQUARE = (5.2, 5.2)


def use_style() -> None:
    """Set matplotlib's defaults to the report's look."""
    mpl.rcParams.update(
        {
            "figure.figsize": WIDE,
            "figure.constrained_layout.use": True,
            "figure.facecolor": "none",
            "savefig.facecolor": "none",
            "axes.facecolor": "none",
            "font.family": "sans-serif",
            "font.sans-serif": ["DejaVu Sans"],
            "font.size": 13,
            "axes.titlesize": 14,
            "axes.labelsize": 13,
            "legend.fontsize": 12,
            "legend.frameon": False,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#DDDDDD",
            "grid.linewidth": 0.7,
            "axes.axisbelow": True,
            "lines.linewidth": 2.0,
            "axes.prop_cycle": cycler(color=PALETTE),
            # Text as outlines: the same picture in every browser, Typst and print.
            "svg.fonttype": "path",
            # The same bytes from the same data.
            "svg.hashsalt": "h2a",
        }
    )
