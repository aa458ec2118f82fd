"""Feed the decoder of images, or the reader of tables, what a coverage-guided fuzzer makes up.

`python fuzz.py images FOLDER -max_total_time=300` fuzzes until something is neither a result nor a
UserError, takes more than 10 s or more than 2 GB; what did it is then in FOLDER. The options are
libFuzzer's. The coverage that guides it is that of Python code: of Pillow, pydicom and this
project. Libraries in C and Rust are fed, but not looked into.
"""

import contextlib
import sys
from pathlib import Path

import atheris
from damage import GIGABYTES, SECONDS

with atheris.instrument_imports(include=["h2a_lib", "PIL", "pydicom"]):
    # Also what those would import only when they need it.
    import pydicom.pixels  # noqa: F401
    from PIL import Image, ImageOps  # noqa: F401

    from h2a_lib.data import decode, dicom, images, labels  # noqa: F401

    Image.init()

from h2a_lib.errors import UserError

LARGEST_BYTES = 20_000
LIMITS = {"timeout": SECONDS, "rss_limit_mb": round(GIGABYTES * 1000), "max_len": LARGEST_BYTES}


def decode_image(content: bytes, _: Path) -> None:
    image, _ = decode.decode(content)
    assert image.ndim == 2 and image.size and image.dtype == "uint8"


def read_table(content: bytes, folder: Path) -> None:
    file = folder / "labels.csv"
    file.write_bytes(content)
    labels.heading_kinds(file)
    frame = labels.read_labels(file)
    assert frame["id"].is_unique and frame["age_months"].between(0, labels.OLDEST_MONTHS).all()


def seeds(what: str) -> dict[str, bytes]:
    """Return sound inputs, which the fuzzer begins with."""
    from test_damaged_images import SOUND
    from test_damaged_tables import ROWS

    table = "\n".join(",".join(row) for row in [("id", "boneage", "male"), *ROWS]).encode()
    return SOUND if what == "images" else {"table": table}


def main() -> None:
    what, name, *options = sys.argv[1:]
    folder = Path(name)
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for kind, content in seeds(what).items():
        (corpus / kind).write_bytes(content)
    act = {"images": decode_image, "tables": read_table}[what]

    def one(content: bytes) -> None:
        with contextlib.suppress(UserError):
            act(content, folder)

    limits = [f"-{name}={value}" for name, value in LIMITS.items()]
    result = f"-artifact_prefix={folder}/found-"
    atheris.Setup([sys.argv[0], *limits, result, *options, str(corpus)], one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
