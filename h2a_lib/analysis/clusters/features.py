"""The ways to describe a hand by numbers that question 3 compares."""

import numpy as np
from numpy.typing import NDArray

from h2a_lib.analysis.clusters.groups import Source, pixel_features
from h2a_lib.models.inference import predictor_of
from h2a_lib.study.runs import Run


def feature_sources(
    images: NDArray[np.uint8], trained_for_age: Run, trained_for_sex: Run | None = None
) -> list[Source]:
    """Describe hands in every way there is.

    Parameters
    ----------
    images : ndarray
        (n, s, s), uint8.
    trained_for_age : Run
        Its network never saw sex, unless it has the sex input, which does not reach the features.
    trained_for_sex : Run, optional
        Marked as having seen the answer.

    Returns
    -------
    list of Source
        Pixels; the network untrained, with ImageNet's weights (where they are stored on this
        machine: nothing is downloaded), trained for age, trained for sex.
    """
    name = trained_for_age.config.network
    found = [
        Source("pixels", pixel_features(images)),
        Source("untrained network", _of_initial(trained_for_age, images, pretrained=False)),
    ]
    is_standard = trained_for_age.config.width == 1 and trained_for_age.config.stem == "imagenet"
    if is_standard and imagenet_is_stored(name):
        found.append(Source("ImageNet", _of_initial(trained_for_age, images, pretrained=True)))
    found.append(Source("trained for age", predictor_of(trained_for_age).features(images)))
    if trained_for_sex is not None:
        features = predictor_of(trained_for_sex).features(images)
        found.append(Source("trained for sex", features, has_seen_sex=True))
    return found


def imagenet_is_stored(network: str) -> bool:
    """Whether ImageNet's weights for a network lie in torch's folder already."""
    from h2a_lib.models.networks import imagenet_file

    return imagenet_file(network).is_file()


def _of_initial(
    run: Run, images: NDArray[np.uint8], pretrained: bool, batch_size: int = 256
) -> NDArray[np.float32]:
    """Describe hands by a network as it was before any training, seed 0."""
    import torch

    from h2a_lib.models import networks

    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = networks.from_config(run.config, pretrained).eval()
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), batch_size):
            pixels = predictor_of(run).normalise(images[start : start + batch_size])
            parts.append(network.features(pixels).numpy())
    return np.concatenate(parts)
