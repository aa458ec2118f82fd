"""How fast files become the cache, side by side with what else one would write.

    python benchmarks/ingest.py [--n 400] [--processes 2] [--rounds 3]

On phantoms of the RSNA images' size (about 1,270 x 1,620, 8-bit PNG): our cache, on several
processes, their start included; (a) a plain Pillow loop; (b) torchvision's decoder and resize;
(c) the fastest decoder found, bare, on the same number of processes: the limit. Then single
decoders, one process each (imagecodecs, pyvips and pywuffs only where they are installed). The
methods take turns, and each one's best round counts, so that other work on the machine harms all
alike. At last the cache of 200 to 2,000 images, each in a process of its own: seconds and memory.
Prints tables and writes benchmarks/results/ingest.json.
"""

import argparse
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import psutil
import torch
from PIL import Image

from h2a_lib import phantoms as phantom
from h2a_lib.data import cache, decode, index, pool
from h2a_lib.files import write_json

ROOT = Path(__file__).parents[1]
HEIGHT_PX, DIFFERENT, SIZE_PX = 1620, 40, 224
COUNTS = (200, 500, 1000, 2000)
LAYOUT = "boneage-training-dataset"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--processes", type=int, default=pool.cores())
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(*options.build)
        return
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        files = make_files(Path(scratch), max(options.n, *COUNTS))
        result = compare(files[: options.n], options.processes, options.rounds)
        result["decoders"] = decoders(files[:DIFFERENT], options.rounds)
        result["scaling"] = [scaling(files[:n], options.processes) for n in COUNTS]
    result["most_off_a_line"] = off_a_line(result["scaling"])
    show(result)
    write_json(ROOT / "benchmarks" / "results" / "ingest.json", result)


def make_files(scratch: Path, n: int) -> list[Path]:
    """Draw a few phantoms and link to them under n names."""
    phantom.write(scratch / "drawn", DIFFERENT, seed=7, height_px=HEIGHT_PX)
    drawn = sorted((scratch / "drawn" / LAYOUT).glob("*.png"))
    (scratch / "files").mkdir()
    files = [scratch / "files" / f"{k:05}.png" for k in range(n)]
    for k, file in enumerate(files):
        os.link(drawn[k % DIFFERENT], file)
    return files


# --- the methods ---------------------------------------------------------------------------------


def ours(files: list[Path], processes: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build_cache(files, Path(folder) / "cache", processes)


def build_cache(files: list[Path], folder: Path, processes: int) -> None:
    labels = pd.DataFrame({"id": [f.stem for f in files], "path": [f.name for f in files]})
    cache.build(
        labels,
        files[0].parent,
        folder,
        size_px=SIZE_PX,
        geometry="center_crop",
        contrast="none",
        fingerprint="benchmark",
        processes=processes,
        progress=False,
    )


def pillow_loop(files: list[Path], processes: int) -> None:
    for file in files:
        with Image.open(file) as opened:
            image = opened.convert("L")
            side, (width, height) = min(image.size), image.size
            left, top = (width - side) // 2, (height - side) // 2
            box = (left, top, left + side, top + side)
            np.asarray(image.resize((SIZE_PX, SIZE_PX), Image.Resampling.BOX, box))


def torchvision_loop(files: list[Path], processes: int) -> None:
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms.v2 import functional as transforms

    for file in files:
        image = decode_image(str(file), ImageReadMode.GRAY)
        square = transforms.center_crop(image, [min(image.shape[1:])] * 2)
        transforms.resize(square, [SIZE_PX, SIZE_PX], antialias=True)


def bare(files: list[Path], processes: int) -> None:
    chunks = pool.chunked(files, index.CHUNK)
    for _ in pool.in_parallel(decode_some, chunks, processes=processes, title="", progress=False):
        pass


def decode_some(files: list[Path]) -> int:
    return sum(decode.decode(file.read_bytes())[0].shape[0] for file in files)


METHODS: dict[str, Callable[[list[Path], int], None]] = {
    "ours": ours,
    "(a) Pillow loop": pillow_loop,
    "(b) torchvision": torchvision_loop,
    "(c) bare decoding": bare,
}
SINGLE = ("(a) Pillow loop", "(b) torchvision")


# --- measuring -----------------------------------------------------------------------------------


def compare(files: list[Path], processes: int, rounds: int) -> dict:
    best: dict[str, dict[str, float]] = {}
    for _ in range(rounds):
        for name, method in METHODS.items():
            seconds, cpu_seconds = clock(method, files, processes)
            known = best.get(name, {"images_per_s": 0.0, "cpu_ms_per_image": np.inf})
            best[name] = {
                "processes": 1 if name in SINGLE else processes,
                "images_per_s": max(known["images_per_s"], round(len(files) / seconds, 1)),
                "cpu_ms_per_image": min(
                    known["cpu_ms_per_image"], round(1000 * cpu_seconds / len(files), 2)
                ),
            }
    rate = {name: values["images_per_s"] for name, values in best.items()}
    cpu = {name: values["cpu_ms_per_image"] for name, values in best.items()}
    return {
        "machine": {"cores": pool.cores(), "load_1_min": round(os.getloadavg()[0], 1)},
        "n": len(files),
        "size_px": SIZE_PX,
        "file_kB": round(np.mean([file.stat().st_size for file in files]) / 1000),
        "methods": best,
        "ours_of_the_limit": round(rate["ours"] / rate["(c) bare decoding"], 3),
        "ours_of_the_limit_by_cpu": round(cpu["(c) bare decoding"] / cpu["ours"], 3),
        "ours_over_pillow": round(rate["ours"] / rate["(a) Pillow loop"], 2),
        "ours_over_pillow_by_cpu": round(cpu["(a) Pillow loop"] / cpu["ours"], 2),
    }


def clock(method: Callable, files: list[Path], processes: int) -> tuple[float, float]:
    """Return seconds by the wall and by the processors, of this process and its children."""
    from joblib.externals.loky import get_reusable_executor

    begun, before = time.perf_counter(), os.times()
    method(files, processes)
    seconds = time.perf_counter() - begun
    # A child's processor time counts when it has ended.
    get_reusable_executor(reuse=True).shutdown(wait=True)
    after = os.times()
    return seconds, sum(after[:4]) - sum(before[:4])


def decoders(files: list[Path], rounds: int) -> dict[str, float]:
    """Images a second of processor time, bare, in one process."""
    content = [file.read_bytes() for file in files]
    known: dict[str, Callable[[bytes], object]] = {
        "kornia-rs (used here)": decode.decode,
        "OpenCV": lambda data: cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
        "Pillow": lambda data: np.asarray(Image.open(io.BytesIO(data))),
    }
    try:
        import imagecodecs

        known["imagecodecs (libpng)"] = imagecodecs.png_decode
        known["imagecodecs (libspng)"] = imagecodecs.spng_decode
    except ImportError:
        pass
    try:
        import pyvips

        known["pyvips"] = lambda data: pyvips.Image.new_from_buffer(data, "").numpy()
    except (ImportError, OSError):
        pass
    try:
        from pywuffs import ImageDecoderType, PixelFormat
        from pywuffs.aux import ImageDecoder, ImageDecoderConfig

        config = ImageDecoderConfig()
        config.enabled_decoders, config.pixel_format = [ImageDecoderType.PNG], PixelFormat.Y
        known["pywuffs"] = ImageDecoder(config).decode
    except ImportError:
        pass
    rates = dict.fromkeys(known, 0.0)
    for _ in range(rounds):
        for name, decoder in known.items():
            begun = time.process_time()
            for data in content:
                decoder(data)
            rates[name] = max(rates[name], len(content) / (time.process_time() - begun))
    return {name: round(rate, 1) for name, rate in rates.items()}


def scaling(files: list[Path], processes: int) -> dict[str, float]:
    """Build in a process of its own; its children's memory, less what they share, is summed."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = [str(files[0].parent), str(len(files)), f"{processes}:{folder}/cache"]
        begun = time.perf_counter()
        child = subprocess.Popen([sys.executable, __file__, "--build", *arguments])
        peak = 0
        while child.poll() is None:
            peak = max(peak, memory(child.pid))
            time.sleep(0.1)
        seconds = time.perf_counter() - begun
        shutil.rmtree(Path(folder, "cache"), ignore_errors=True)
    if child.returncode:
        raise SystemExit(child.returncode)
    rate = round(len(files) / seconds, 1)
    return {"n": len(files), "seconds": round(seconds, 1), "images_per_s": rate, "peak_MB": peak}


def off_a_line(measured: list[dict[str, float]]) -> float:
    """Return how far the seconds lie off a straight line through them, as a share, at most."""
    n, seconds = (np.array([one[key] for one in measured]) for key in ("n", "seconds"))
    line = np.polyval(np.polyfit(n, seconds, 1), n)
    return round(float(np.abs(seconds / line - 1).max()), 3)


def memory(pid: int) -> int:
    total = 0
    try:
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            total += one.memory_full_info().uss
    except psutil.Error:
        return 0  # it ended while we looked
    return round(total / 1e6)


def build(folder: str, n: str, processes_and_cache: str) -> None:
    processes, _, where = processes_and_cache.partition(":")
    build_cache(sorted(Path(folder).glob("*.png"))[: int(n)], Path(where), int(processes))


def show(result: dict) -> None:
    print(pd.DataFrame(result["methods"]).T.to_string())
    for name, value in result.items():
        if not isinstance(value, dict | list):
            print(f"{name}: {value}")
    print("decoders, images per second of processor time:", json.dumps(result["decoders"]))
    print(pd.DataFrame(result["scaling"]).to_string(index=False))


if __name__ == "__main__":
    main()
