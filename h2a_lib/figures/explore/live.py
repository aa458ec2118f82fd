"""What every interactive view shares: controls above a picture that follows them."""

import io
import os
from collections.abc import Callable
from typing import Any, TypeAlias

import ipywidgets as widgets
import matplotlib.pyplot as plt
from IPython.display import Image
from matplotlib.figure import Figure

# Set by what runs a notebook for somebody who looks at it: Jupyter Server, VS Code, Colab, Kaggle.
LIVE = ("JPY_SESSION_NAME", "VSCODE_PID", "COLAB_RELEASE_TAG", "KAGGLE_KERNEL_RUN_TYPE")
DPI = 96
# Controls with their picture; in a batch run the picture alone.
View: TypeAlias = widgets.Widget | Image


def is_live() -> bool:
    """Whether somebody watches this notebook, so that a slider has a hand to move it."""
    values = [os.environ.get(name) for name in LIVE]
    return any(values) and values[-1] != "Batch"


def interact(draw: Callable[..., Figure], alt: str, **controls: widgets.ValueWidget) -> View:
    """Return controls with a picture that is redrawn as they are moved.

    `draw` takes the value of each control by its name and returns a figure. A batch run has the
    picture for the controls' first values alone.
    """

    def png() -> bytes:
        figure = draw(**{name: control.value for name, control in controls.items()})
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=DPI, bbox_inches="tight", facecolor="white")
        plt.close(figure)
        return content.getvalue()

    if not is_live():
        return Image(png(), alt=alt)
    picture = widgets.Image(value=png(), format="png", alt=alt)

    def redraw(_: Any) -> None:
        picture.value = png()

    for control in controls.values():
        control.observe(redraw, names="value")
    # Controls wrap where the page is narrow; the picture keeps its size.
    wrapped = widgets.HBox(list(controls.values()), layout=widgets.Layout(flex_flow="row wrap"))
    return widgets.VBox([wrapped, picture], layout=widgets.Layout(align_items="flex-start"))
