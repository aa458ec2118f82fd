"""Which runs answer a question, and the pictures of the hands they are evaluated on."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from h2a_lib.analysis.statistics.conformal import has_quantiles
from h2a_lib.data import measure
from h2a_lib.data.hands import Hands
from h2a_lib.errors import UserError
from h2a_lib.files import read_csv, read_json
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run


def best_runs(runs: Iterable[Run], answer: str, experiment: str = "") -> list[Run]:
    """Return all seeds of the experiment that answers "age" or "sex" best on the selection hands.

    Best is the lowest MAE, or the highest AUC (lowest log loss where there is none), mean over
    seeds. Both questions are about the image alone, so runs with sex input are taken only by name,
    or if the study has no other. A UserError if no run answers the question.
    """
    able = [
        run
        for run in runs
        if estimates(run, answer) and (not experiment or run.config.experiment == experiment)
    ]
    if not able:
        what = f"experiment {experiment!r}" if experiment else "experiment of the study"
        raise UserError(
            f"no {what} estimates {answer} from the image: add one with task: {answer} to the "
            "profile's experiments in study.yaml"
        )
    return _best_group([run for run in able if not run.config.sex_input] or able, answer)


def estimates(run: Run, answer: str) -> bool:
    """Whether a run's network estimates "age" or "sex"."""
    return run.config.estimates_age if answer == "age" else run.config.estimates_sex


def with_weights(runs: Iterable[Run]) -> list[Run]:
    """Return the runs whose weights are here: of some, only the record may be."""
    return [run for run in runs if run.has_weights]


def blind_to_sex(runs: Iterable[Run]) -> list[Run]:
    """Return the runs trained on age alone, without sex input; a UserError if there is none."""
    blind = [run for run in runs if run.config.task == "age" and not run.config.sex_input]
    if not blind:
        raise UserError(
            "every run of the study has sex as an input or a target: add one with task: age "
            "and without sex_input to the profile's experiments in study.yaml"
        )
    return blind


def best_with_sex_input(runs: Iterable[Run]) -> list[Run]:
    """Return all seeds of the best experiment with sex input; none if there is none."""
    with_sex_input = [run for run in runs if run.config.sex_input]
    return _best_group(with_sex_input, "age") if with_sex_input else []


def runs_with_quantiles(runs: Iterable[Run]) -> list[Run]:
    """Return the runs without sex input whose predictions have quantiles of the age."""
    return [run for run in runs if not run.config.sex_input and has_quantiles(run.predictions)]


def _best_group(runs: Iterable[Run], answer: str) -> list[Run]:
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.config.experiment, []).append(run)
    best = min(groups.values(), key=lambda group: np.mean([_loss(r, answer) for r in group]))
    return sorted(best, key=lambda run: run.config.seed)


def _loss(run: Run, answer: str) -> float:
    """Return a run's error on the selection hands; lower is better."""
    metrics = run.metrics["selection"]
    if answer == "age":
        return metrics["mae_months"]
    # An AUC is at least 0, so any that exists comes before any log loss.
    return -metrics["auc"] if "auc" in metrics else metrics["log_loss"]


def runs_like(runs: Iterable[Run], answer: str, like: Run) -> Run | None:
    """Return the best run for an answer that was given the same pictures as another, or None.

    Features of two runs can only be compared on the same pictures and hands.
    """
    same = [run for run in runs if estimates(run, answer) and same_images(run, like)]
    return best_runs(same, answer)[0] if same else None


def same_images(run: Run, like: Run) -> bool:
    """Whether two runs are given the same pictures."""
    keys = ("image_size_px", "geometry", "contrast")
    return all(getattr(run.config, key) == getattr(like.config, key) for key in keys)


def predictions_of(run: Run, split: str) -> pd.DataFrame:
    """Return a run's predictions of one split, rows numbered anew."""
    return run.predictions[run.predictions["split"] == split].reset_index(drop=True)


def validation(run: Run) -> pd.DataFrame:
    """Return a run's predictions of the validation hands, rows numbered anew."""
    return predictions_of(run, "validation")


def pictures(hands: Hands, ids: Sequence[str]) -> NDArray[np.uint8]:
    """Return the images of some ids, (n, s, s), in their order; a UserError for an unknown id."""
    index = pd.Index(hands.labels["id"])
    rows = index.get_indexer(list(ids))
    if (rows < 0).any():
        raise UserError(f"no image of id {ids[int(np.argmin(rows))]} in the cache")
    return np.asarray(hands.images[rows])


def age_estimator(run: Run) -> Callable[[NDArray[np.uint8], NDArray], NDArray[np.float64]]:
    """Return a run's function from images, (n, s, s) uint8, and sexes, (n,), to months, (n,)."""
    return lambda images, male: predictor_of(run).predict(images, male)["predicted_age_months"]


def nuisances(
    labels: pd.DataFrame, images: NDArray[np.uint8], data_folder: Path
) -> dict[str, NDArray]:
    """Measure what hands might be grouped by other than sex and age, (n,) each.

    Size is in pixels of the file, exposure the mean grey, background the 10th percentile of grey
    (near black from a digital detector, often grey on scanned film). Of phantoms it is
    known which imitate a film; of other hands, whether the background of the network's picture is
    bright by `measure.BRIGHT_RULE`.
    """
    measured = {
        "aspect ratio": (labels["height_px"] / labels["width_px"]).to_numpy(),
        "image size": (labels["height_px"] * labels["width_px"]).to_numpy(),
        "exposure": images.mean(axis=(1, 2)),
        "background": np.quantile(images, 0.1, axis=(1, 2)),
    }
    truth = data_folder / "phantom-truth.csv"
    if is_phantom(data_folder) and truth.is_file():
        kind = read_csv(truth).set_index("id")["kind"]
        measured["detector type"] = (kind.loc[labels["id"]] == "film").to_numpy()
    else:
        measured["background brightness"] = kinds(images)["bright background"]
    return measured


def kinds(images: NDArray[np.uint8]) -> dict[str, NDArray[np.bool_]]:
    """Classify pictures, (n, s, s) uint8, by the rules of `data.measure` for hard ones."""
    measured = pd.DataFrame([measure.measure_one(np.asarray(image)) for image in images])
    flat = measured["contrast_grey"] < measured["contrast_grey"].quantile(0.1)
    return {
        "bright background": measure.has_bright_background(measured).to_numpy(),
        "with a straight border": measure.has_border(measured).to_numpy(),
        "lowest-contrast tenth": flat.to_numpy(),
    }


def is_phantom(data_folder: Path) -> bool:
    """Whether a data folder holds phantoms, whose regions are known."""
    companion = data_folder / "phantom.json"
    return companion.is_file() and bool(read_json(companion).get("synthetic"))
