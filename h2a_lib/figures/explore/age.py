"""Browse validation hands by the size of their error."""

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure

from h2a_lib.analysis.age.errors import PREDICTED, TRUE, worst
from h2a_lib.analysis.age.sex_gap import signed
from h2a_lib.analysis.bands import sex_of
from h2a_lib.analysis.saliency.maps import grad_cam
from h2a_lib.analysis.statistics.bootstrap import number
from h2a_lib.figures.colours import BLACK, BLUE, GREY
from h2a_lib.figures.explore.live import View, interact
from h2a_lib.figures.saliency import overlay
from h2a_lib.figures.style import write_beside
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run


def browse_errors(run: Run, images: np.ndarray, intervals: pd.DataFrame) -> View:
    """Show hands with label, estimate, interval and Grad-CAM; a slider goes from worst to best.

    images: (n, s, s), uint8, in the order of the intervals from `conformal.split_conformal`.
    """
    order = worst(intervals, len(intervals))

    def draw(rank: int) -> Figure:
        at = order[rank - 1]
        return hand_with_error(run, images[at], intervals.iloc[at], f"{rank} of {len(order):,}")

    rank = widgets.IntSlider(
        value=1, min=1, max=len(order), description="error rank", continuous_update=False
    )
    return interact(
        draw, "A hand with its labelled and estimated age, beside its saliency map.", rank=rank
    )


def hand_with_error(run: Run, image: np.ndarray, row: pd.Series, rank: str) -> Figure:
    """Draw one hand, its label, estimate and interval, and where the network looks.

    image: (s, s), uint8. row: of `conformal.split_conformal`. rank: of the size of its error.
    """
    predictor = predictor_of(run)
    male = torch.tensor([float(row["male"])]) if run.config.sex_input else None
    (cam,) = grad_cam(predictor.network, predictor.normalise(image[None]), "age", male)
    figure, axes = plt.subplots(1, 3, figsize=(10.4, 3.8), width_ratios=(1, 1, 1.3))
    axes[0].imshow(image, cmap="gray", vmin=0, vmax=255)
    axes[0].set_axis_off()
    axes[0].set_title(f"id {row['id']}, {sex_of([row['male']])[0]}", parse_math=False)
    overlay(image, cam, axes[1]).set_title("Grad-CAM")
    low, high = row["low_months"], row["high_months"]
    bounded = np.isfinite(high)
    label, estimate = row[TRUE], row[PREDICTED]
    axes[2].plot([low, high if bounded else 240], [0, 0], lw=8, color=GREY, alpha=0.5)
    axes[2].plot(label, 0, "D", ms=11, color=BLACK)
    axes[2].plot(estimate, 0, "o", ms=11, color=BLUE)
    write_beside(axes[2], f"label {number(label)}", (label, 0), (0, 14), ha="center")
    style = {"ha": "center", "color": BLUE}
    write_beside(axes[2], f"estimate {number(estimate)}", (estimate, 0), (0, -24), **style)
    span = (
        f"interval {number(low, 0)} to {number(high, 0)} months"
        if bounded
        else "no finite interval"
    )
    error = signed(estimate - label)
    axes[2].set_title(f"Error {error} months, {rank}\n{span}", loc="left")
    axes[2].set(xlim=(-20, 260), ylim=(-1, 1), yticks=[], xlabel="Bone age (months)")
    axes[2].spines["left"].set_visible(False)
    return figure
