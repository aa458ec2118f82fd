"""The colours of every figure, and what they stand for."""

from matplotlib.colors import to_rgb
from matplotlib.typing import ColorType

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
FAINT = "#6A6A6A"
# Radiographs are read on a dark ground, where a white page would blind.
DARK_GROUND, ON_DARK = "#14181b", "#E6E6E6"
# Runs side by side: the default in black, and the colours of the sexes last.
PALETTE = (BLACK, GREEN, ORANGE, PURPLE, SKY, BLUE, VERMILLION)

# The sexes have these two colours in every figure.
SEX_COLOURS = {"female": VERMILLION, "male": BLUE}
DARK, BRIGHT = "#4A4A4A", ORANGE
SEX_NAMES = {"female": "girls", "male": "boys"}
SEX_KEY = {name: SEX_COLOURS[sex] for sex, name in SEX_NAMES.items()}


def readable(colour: ColorType) -> ColorType:
    """Return a colour as words take it on white: the light ones darker."""
    red, green, blue = to_rgb(colour)
    is_light = 0.3 * red + 0.6 * green + 0.1 * blue > 0.5
    return (0.75 * red, 0.75 * green, 0.75 * blue) if is_light else colour
