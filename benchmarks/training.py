"""How fast we train, side by side with what else one would write.

    python benchmarks/training.py [--size 64] [--batch 16] [--network resnet18] [--threads 2]
        [--precision 32-true] [--seconds 8] [--rounds 3] [--without-files]

On phantoms, same network, batch and pixels: (a) ours, with augmentation on; (b) the limit: the same
network stepping on one fixed batch; on a GPU also kernel by kernel, see
`h2a_lib.models.cuda_graph`; (c) what a user would write: a Dataset that decodes the full-size PNG
with Pillow, torchvision's transforms, a DataLoader with two workers; (d) fastai's ImageDataLoaders
and learner, whole epochs on files that already have the size, if it is installed (`pip install
fastai`). The methods take turns, and the median of each one's rounds counts, so that other work on
the machine harms all alike. Then the limit's share of the matrix-product rate of this machine,
measured in the same run. Prints a table and writes benchmarks/results/training.json.
"""

import argparse
import itertools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision import transforms

from h2a_lib import phantoms as phantom
from h2a_lib.data import images
from h2a_lib.files import read_csv, write_json
from h2a_lib.models import networks
from h2a_lib.models.cuda_graph import Graphed
from h2a_lib.models.dataset import DeviceDataset, PixelStatistics, augment, generator, normalise
from h2a_lib.models.schedules import build_optimizer
from h2a_lib.study import config as study
from h2a_lib.study import provenance

ROOT = Path(__file__).parents[1]
HEIGHT_PX, DIFFERENT = 1620, 24
# Hands in an epoch: the different ones over and over.
HANDS = 1600
LAYOUT = "boneage-training-dataset"
AUGMENT = study.Augment()
SINGLE = "kernel by kernel"


class Steps:
    """One network with its optimiser, and what a step is.

    Each method has one of its own, so that none inherits the other's state.
    """

    def __init__(self, options: argparse.Namespace, how: str = ""):
        self.fabric = Fabric(accelerator="auto", devices=1, precision=options.precision)
        torch.manual_seed(0)
        network = networks.build(options.network)
        network = network.to(self.fabric.device).to(memory_format=torch.channels_last)
        optimizer = build_optimizer(study.Adam(name="adam"), network, 1e-3, 0.0)
        learner = network
        if self.fabric.device.type == "cuda" and how != SINGLE:
            learner = Graphed(network, options.batch, options.size, self.fabric)
        self.model, self.optimizer = self.fabric.setup(learner, optimizer)

    def step(self, pixels: Tensor, age_months: Tensor) -> None:
        """Learn from one batch."""
        loss = nn.functional.l1_loss(self.model(pixels)["age"], (age_months - 127) / 41)
        self.optimizer.zero_grad()
        self.fabric.backward(loss)
        self.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--network", choices=networks.TRUNKS, default="resnet18")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", choices=("32-true", "bf16-mixed"), default="32-true")
    parser.add_argument("--workers", type=int, default=2, help="of the DataLoader in (c)")
    parser.add_argument("--seconds", type=float, default=8, help="of each method in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-files", action="store_true", help="leave out (c)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        phantom.write(folder, DIFFERENT, 0, height_px=HEIGHT_PX)
        labels = read_csv(folder / f"{LAYOUT}.csv")
        files = [folder / LAYOUT / f"{name}.png" for name in labels["id"]]
        prepared = np.stack([images.prepare(file, options.size) for file in files])
        ages = labels["boneage"].to_numpy(np.float32)
        methods = {
            "ours": ours(prepared, ages, options),
            "limit": limit(prepared, ages, options),
        }
        if torch.cuda.is_available():
            methods[f"limit, {SINGLE}"] = limit(prepared, ages, options, SINGLE)
        if not options.without_files:
            methods["loader"] = loader(files, ages, options)
        if find_spec("fastai"):
            methods["fastai"] = fastai(prepared, ages, folder, options)
        result = in_turns(methods, options)
    result |= against_the_machine(result["images_per_s"]["limit"], options)
    result["options"] = vars(options)
    result["machine"] = provenance.machine()
    print(
        pd.DataFrame({"images/s": result["images_per_s"], "of the limit": result["of_the_limit"]})
    )
    print({name: value for name, value in result.items() if name not in ("machine", "options")})
    write_json(ROOT / "benchmarks" / "results" / "training.json", result)


# Each method is a generator that yields how many images it has just learnt from.


def ours(prepared: np.ndarray, ages: np.ndarray, options: argparse.Namespace) -> Iterator[int]:
    steps = Steps(options)
    device = steps.fabric.device
    which = np.arange(HANDS) % len(prepared)
    hands = DeviceDataset(prepared[which], ages[which], np.zeros(HANDS, bool), device)
    statistics_ = PixelStatistics.of(prepared)
    for epoch in itertools.count():
        random = generator(device, 0, "augment", epoch)
        shuffle = generator(torch.device("cpu"), 0, "shuffle", epoch)
        for batch in hands.shuffled(np.arange(HANDS), options.batch, shuffle):
            pixels = augment(batch.pixels, AUGMENT, random)
            steps.step(normalise(pixels, "instance", statistics_, True), batch.age_months)
            yield len(pixels)


def limit(
    prepared: np.ndarray, ages: np.ndarray, options: argparse.Namespace, how: str = ""
) -> Iterator[int]:
    steps = Steps(options, how)
    which = np.arange(options.batch) % len(prepared)
    hands = DeviceDataset(prepared, ages, np.zeros(len(ages), bool), steps.fabric.device)
    batch = hands.batch(torch.from_numpy(which))
    pixels = normalise(batch.pixels, "instance", PixelStatistics.of(prepared), True)
    while True:
        steps.step(pixels, batch.age_months)
        yield options.batch


class Files(Dataset):
    """What one would write: decode, resize and augment a file each time it is asked for."""

    def __init__(self, files: list[Path], ages: np.ndarray, size: int):
        self.files, self.ages = files, ages
        self.transform = transforms.Compose(
            [
                transforms.Resize(size, antialias=True),
                transforms.CenterCrop(size),
                transforms.RandomHorizontalFlip(),
                transforms.RandomAffine(10, (0.05, 0.05), (0.9, 1.1)),
                transforms.ColorJitter(0.1, 0.1),
                transforms.ToTensor(),
                transforms.Normalize(0.25, 0.2),
            ]
        )

    def __len__(self) -> int:
        return HANDS

    def __getitem__(self, i: int) -> tuple[Tensor, float]:
        i %= len(self.files)
        with Image.open(self.files[i]) as image:
            return self.transform(image.convert("L")), self.ages[i]


def loader(files: list[Path], ages: np.ndarray, options: argparse.Namespace) -> Iterator[int]:
    steps = Steps(options)
    batches = DataLoader(
        Files(files, ages, options.size),
        options.batch,
        shuffle=True,
        num_workers=options.workers,
        drop_last=True,
    )
    device = steps.fabric.device
    while True:
        for pixels, months in batches:
            pixels = pixels.to(device, memory_format=torch.channels_last)
            steps.step(pixels, months.to(device))
            yield len(pixels)


def fastai(
    prepared: np.ndarray, ages: np.ndarray, folder: Path, options: argparse.Namespace
) -> Iterator[int]:
    from fastai.basics import Callback, CancelValidException, L1LossFlat, Learner
    from fastai.vision import all as vision

    class OnlyTrain(Callback):
        def before_validate(self) -> None:
            raise CancelValidException

    def written(i: int) -> Path:
        Image.fromarray(prepared[i]).save(folder / f"{i}.png")
        return folder / f"{i}.png"

    files = [written(i) for i in range(len(prepared))]
    data = vision.ImageDataLoaders.from_lists(
        folder,
        [files[i % len(files)] for i in range(HANDS)],
        [(ages[i % len(files)] - 127) / 41 for i in range(HANDS)],
        valid_pct=1 / HANDS,
        y_block=vision.RegressionBlock(),
        batch_tfms=vision.aug_transforms(
            do_flip=True, max_rotate=10, max_warp=0, size=options.size
        ),
        bs=options.batch,
        num_workers=2,
        img_cls=vision.PILImageBW,
    )

    class Months(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = networks.build(options.network)

        def forward(self, pixels: Tensor) -> Tensor:
            return self.network(pixels)["age"]

    learner = Learner(data, Months(), loss_func=L1LossFlat(), lr=1e-3, cbs=OnlyTrain())
    if options.precision == "bf16-mixed":
        learner.to_bf16()
    with learner.no_bar(), learner.no_logging():
        while True:
            learner.fit(1)
            yield len(data.train) * options.batch


def in_turns(methods: dict[str, Iterator[int]], options: argparse.Namespace) -> dict:
    rates: dict[str, list[float]] = {name: [] for name in methods}
    warm_up = {}
    for name, method in methods.items():
        begun, n = time.perf_counter(), 0
        while n < 3 * options.batch:
            n += next(method)
        warm_up[name] = round(time.perf_counter() - begun, 1)
    for _ in range(options.rounds):
        for name, method in methods.items():
            rates[name].append(rate(method, options.seconds))
    middle = {name: statistics.median(result) for name, result in rates.items()}
    return {
        "images_per_s": {name: round(value, 1) for name, value in middle.items()},
        "of_the_limit": {name: round(v / middle["limit"], 3) for name, v in middle.items()},
        "warm_up_s": warm_up,
    }


def rate(method: Iterator[int], seconds: float) -> float:
    """Return images per second."""
    synchronise()
    begun, n = time.perf_counter(), 0
    while time.perf_counter() - begun < seconds:
        n += next(method)
    synchronise()
    return n / (time.perf_counter() - begun)


def synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def against_the_machine(images_per_s: float, options: argparse.Namespace) -> dict[str, float]:
    """Return the arithmetic of the limit beside that of a matrix product."""
    network = networks.build(options.network)
    pixels = torch.zeros(2, 1, options.size, options.size)
    with FlopCounterMode(display=False) as counter:
        network(pixels)["age"].sum().backward()
    gflop = counter.get_total_flops() / 2 / 1e9
    kind = torch.bfloat16 if options.precision == "bf16-mixed" else torch.float32
    peak = matrix_product_gflop_per_s(kind)
    return {
        "gflop_per_image": round(gflop, 3),
        "matrix_product_gflop_per_s": round(peak, 1),
        "share_of_matrix_product": round(gflop * images_per_s / peak, 3),
    }


def matrix_product_gflop_per_s(kind: torch.dtype) -> float:
    """Return the rate of a product of two square matrices, large to the device; the best of 8."""
    device, side = ("cuda", 8192) if torch.cuda.is_available() else ("cpu", 2048)
    a = torch.randn(side, side, device=device, dtype=kind)
    return 2 * side**3 / shortest(lambda: a @ a) / 1e9


def shortest(work: Callable[[], object], times: int = 8) -> float:
    """Return the seconds of the quickest of several times."""
    took = []
    for _ in range(times):
        synchronise()
        begun = time.perf_counter()
        work()
        synchronise()
        took.append(time.perf_counter() - begun)
    return min(took)


if __name__ == "__main__":
    main()
