"""How often is a picture, and how often a set of ten, called unlike the training hands?

    python benchmarks/likeness.py --run runs/demo/resnet18/seed-0 --strange FOLDER

The run's own validation hands, as they are and changed; the radiographs of a folder that the run
should not know (real ones for a run of phantoms); noise, a chequerboard and black. See
docs/answers.md, "One hand".
"""

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from h2a_lib.analysis import out_of_distribution, selection
from h2a_lib.analysis.age.robustness import blur, changed, noise
from h2a_lib.analysis.prediction import MIN_SET, SET_P
from h2a_lib.data import images
from h2a_lib.data.hands import load_hands
from h2a_lib.study import runs, workspace

TENS = 200


def main() -> None:
    """Print one line for each kind of picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True, help="a finished run")
    parser.add_argument("--strange", type=Path, required=True, help="a folder of image files")
    requested = parser.parse_args()
    run = runs.load(requested.run)
    study = workspace.locate(requested.run.resolve().parents[1].name)
    hands = load_hands(study, run.config)
    result = out_of_distribution.fit_detector(run, hands)
    own = selection.pictures(hands, selection.validation(run)["id"])
    config = run.config
    strange = np.stack(
        [
            images.prepare(file, config.image_size_px, config.geometry, config.contrast)
            for file in sorted(requested.strange.iterdir())
        ]
    )
    for name, pictures in sets(own, strange).items():
        far = result.distances(out_of_distribution.features_of(run, pictures))
        random = np.random.default_rng(0)
        tens = [
            result.compare(random.choice(far, MIN_SET, replace=False))[1] < SET_P
            for _ in range(TENS)
        ]
        print(
            f"{name:24} n = {len(pictures):5,}: {np.mean(far > result.threshold):4.0%} one by one, "
            f"{np.mean(tens):4.0%} of sets of {MIN_SET}",
            flush=True,
        )


def sets(own: NDArray[np.uint8], strange: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """Return the kinds of pictures, (n, s, s) uint8 each."""
    side = own.shape[1]
    tiles = np.kron(np.indices((8, 8)).sum(0) % 2, np.ones((-(-side // 8),) * 2))[:side, :side]
    return {
        "validation hands": own,
        "the folder's": strange,
        "the folder's, inverted": 255 - strange,
        "turned by 90 degrees": np.ascontiguousarray(np.rot90(own, axes=(1, 2))),
        "upside down": np.ascontiguousarray(own[:, ::-1]),
        "inverted": 255 - own,
        "noise of 20 levels": changed(own, noise(20)),
        "blurred by 4 %": changed(own, blur(0.04)),
        "nothing but noise": np.random.default_rng(0).integers(0, 256, own.shape, dtype=np.uint8),
        "a chequerboard": np.repeat((tiles * 255).astype(np.uint8)[None], MIN_SET, axis=0),
        "black": np.zeros((MIN_SET, side, side), np.uint8),
    }


if __name__ == "__main__":
    main()
