"""Question 1 on images of another source: does the error carry over?

The profile names the folder (`external` in study.yaml). Nothing is chosen by these hands. A text
file beside the folder, of its name and .txt, says where they come from: a name for a title in its
first line ("Re-cropped RSNA images"), then a sentence.
"""

import numpy as np
import pandas as pd

from h2a_lib.analysis.age import errors
from h2a_lib.analysis.selection import predictions_of
from h2a_lib.analysis.statistics.bootstrap import number, share_interval
from h2a_lib.analysis.statistics.conformal import split_conformal
from h2a_lib.data import images
from h2a_lib.files import read_csv
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run
from h2a_lib.study.workspace import Study


def predict_external(study: Study, run: Run, nominal: float) -> pd.DataFrame | None:
    """Predict the hands of the profile's other source; None where it has none.

    The intervals are from `conformal.split_conformal`, fitted on the run's own selection hands.
    """
    if study.external_folder is None or not study.external_file.exists():
        return None
    hands = read_csv(study.external_file)
    hands = hands[hands["age_months"].notna()].reset_index(drop=True)
    config = run.config
    how = config.image_size_px, config.geometry, config.contrast
    pictures = [images.prepare(study.external_folder / path, *how) for path in hands["path"]]
    sexes = hands["male"].to_numpy(bool) if config.sex_input else None
    outputs = predictor_of(run).predict(np.stack(pictures), sexes)
    frame = hands[["id", "age_months", "male"]].assign(**outputs)
    return split_conformal(predictions_of(run, "selection"), frame, nominal)


def sentence(frame: pd.DataFrame, validation: pd.DataFrame, nominal: float) -> str:
    """State error, bias and coverage on the other images, beside those of the validation hands."""
    measured, own = errors.metrics(frame), errors.metrics(validation)
    text = (
        f"On these {len(frame)} images the error is {measured['mae'].text('months')} and "
        f"the bias {measured['bias'].text('months')}; on the validation hands, "
        f"{number(own['mae'].value)} and {number(own['bias'].value)} months."
    )
    if not np.isfinite(frame["half_width_months"]).all():
        return text
    inside = share_interval(frame["covered"]).text("%", scale=100)
    return f"{text} The {nominal * 100:g} % intervals cover {inside} of the labels of these images."


def variables(
    frame: pd.DataFrame | None,
    validation: pd.DataFrame,
    nominal: float,
    source: tuple[str, str] = ("External images", ""),
) -> dict[str, str]:
    """Return what the slide prints; nothing where there are no such images."""
    if frame is None:
        return {}
    name, about = source
    error, own = (number(errors.error(hands).value) for hands in (frame, validation))
    return {
        "external_verdict": f"{name}: MAE {error} months, against {own} in validation",
        "external_sentence": sentence(frame, validation, nominal),
        "external_source": about or "The source of the additional images is not recorded.",
    }
