"""The representations of hands that question 3 compares."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from h2a_lib.analysis.clusters.groups import Representation, pixel_features
from h2a_lib.analysis.selection import runs_like, same_images
from h2a_lib.models.inference import Predictor, predictor_of
from h2a_lib.study.runs import Run

LABELS_OF_TASK = {"age": "age", "sex": "sex", "both": "age and sex"}


def representations(
    images: NDArray[np.uint8], runs: Sequence[Run], like: Run
) -> list[Representation]:
    """Describe hands, (n, s, s) uint8, in every way that the study has.

    Without labels: pixels; the network of `like` (trained for age) untrained, with ImageNet's
    weights where they are stored on this machine (nothing is downloaded), and trained on the images
    alone (task "ssl"). With labels, for comparison: trained for age, trained for sex.
    """
    from h2a_lib.models.networks import imagenet_file

    described = [
        Representation("pixels", pixel_features(images)),
        Representation("untrained network", _of_initial(like, images, pretrained=False)),
    ]
    if imagenet_file(like.config.network).is_file():
        described.append(Representation("ImageNet", _of_initial(like, images, pretrained=True)))
    unlabelled = [run for run in runs if run.config.task == "ssl" and same_images(run, like)]
    for run in sorted(unlabelled, key=lambda run: run.config.seed)[:1]:
        described.append(Representation("self-supervised", predictor_of(run).features(images)))
    labelled = {"trained for age": like, "trained for sex": runs_like(runs, "sex", like)}
    for title, run in labelled.items():
        if run is not None:
            trained_on = LABELS_OF_TASK[run.config.task]
            features = predictor_of(run).features(images)
            described.append(Representation(title, features, trained_on))
    return described


def _of_initial(run: Run, images: NDArray[np.uint8], pretrained: bool) -> NDArray[np.float32]:
    """Describe hands by a network as it was before any training, seed 0.

    ImageNet's weights are of the standard network, whatever the run's width and stem.
    """
    import torch

    from h2a_lib.models import networks

    predictor, config = Predictor(run), run.config
    if pretrained:
        config = config.model_copy(update={"width": 1.0, "stem": "imagenet"})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        predictor.network = networks.from_config(config, pretrained).eval()
    return predictor.features(images)
