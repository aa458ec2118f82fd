"""Refuse files that must not be committed: large ones, radiographs, weights, rows of children.

`python .ci/kept_out.py FILE ...`; pre-commit runs it on what is staged, a test on all that git has.
"""

import csv
import hashlib
import re
import sys
from pathlib import Path

MOST_BYTES = 600_000
# Arrays, weights, archives and DICOM can hold patients and cannot be looked through in a review.
NEVER = (".npy", ".npz", ".pt", ".pth", ".pkl", ".safetensors", ".onnx", ".pt2")
NEVER += (".zip", ".dcm", ".dicom", ".tif", ".tiff", ".bmp", ".webp")
PIXELS = (".png", ".jpg", ".jpeg", ".gif")
# Pictures of slides and of phantoms, each looked at before it was committed.
PICTURES_IN = ("docs/images/",)
# Inspected one by one; another content under the same name is refused. The first are averages of 30
# hands or more and the deck that shows them, the others public samples for the decoders' tests.
INSPECTED = {
    "docs/decks/rsna-100px.pdf": "4070c67d40cb250b",
    "results/rsna-100px/figures/mean_hands.png": "320801313b1f61ab",
    "results/rsna-100px/figures/saliency_age.png": "9180a1cca1703c33",
    "results/rsna-100px/figures/saliency_sex.png": "306feb7250888269",
    "tests/data/files/flower-minisblack-12.tif": "86fc9309872f4e46",
    "tests/data/files/flower-rgb-planar-16.tif": "0a143fb6c5792fa7",
    "tests/data/files/gradient-1c-32b.tiff": "534fe9778ab696c5",
    "tests/data/files/monkey12.jpg": "a3cb218412cecfa8",
    "tests/data/files/rgb16-12bits.png": "3dd353f2fa95c20a",
    "tests/data/files/tbbn0g04.png": "c5e7eeaffa677bfa",
    "tests/data/files/tbwn0g16.png": "01e86f108b244bde",
}
# The networks that predict uses, with the thresholds of their detectors; README.md there is a card.
RELEASED = re.compile(r"h2a_lib/pretrained/\w+/(weights\.safetensors|out_of_distribution\.npz)")
MOST_BYTES_RELEASED = 10_000_000
# A picture inside a text file. A colour bar or heat map takes a few kB, a radiograph more.
EMBEDDED = re.compile(r"data:image/(?:png|jpe?g|webp|gif);base64,([A-Za-z0-9+/=\s]{20000,})")
PICTURE_IN_PDF = re.compile(rb"/Subtype\s*/Image\b")


def problem(name: str, content: bytes) -> str | None:
    """Return why a file is refused, None if it is not.

    Parameters
    ----------
    name : str
        Its path in the repository, with slashes.
    content : bytes
    """
    suffix = Path(name).suffix.lower()
    if name in INSPECTED and hashlib.sha256(content).hexdigest().startswith(INSPECTED[name]):
        return None
    if RELEASED.fullmatch(name):
        return "is too large to be shipped" if len(content) > MOST_BYTES_RELEASED else None
    if len(content) > MOST_BYTES:
        return f"has {len(content):,} bytes, more than {MOST_BYTES:,}"
    if suffix in NEVER:
        return f"{suffix} files are not kept in git"
    if suffix in PIXELS and not name.startswith(PICTURES_IN):
        return f"pictures are kept in {', '.join(PICTURES_IN)} alone: is it a radiograph?"
    if suffix == ".pdf" and PICTURE_IN_PDF.search(content):
        return "holds a picture: is it a radiograph?"
    text = content.decode("utf-8", errors="ignore")
    if suffix in (".svg", ".html", ".ipynb", ".md", ".json") and EMBEDDED.search(text):
        return "holds a picture: is it a radiograph?"
    if suffix == ".csv":
        header = next(csv.reader(text.splitlines()[:1]), [])
        if {"id", "case id", "image id"} & {cell.strip().lower() for cell in header}:
            return "has a column of ids: rows of single children are not kept in git"
    return None


def main(names: list[str]) -> int:
    """Print each refused file with its reason; 1 if there is any."""
    found = {name: problem(name, Path(name).read_bytes()) for name in names if Path(name).is_file()}
    refused = {name: why for name, why in found.items() if why}
    for name, why in refused.items():
        print(f"{name}: {why}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
