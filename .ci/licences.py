"""Write docs/licences.md: every locked package and the licence that its metadata name.

`make licences` runs it; a test fails when a package of requirements.lock is not in the list.
"""

import re
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """# Licences of the packages that H2A is installed with

H2A is under the MIT licence and bundles none of these packages; the installer fetches them.
`make licences` writes this list from the packages' metadata, which may not cover bundled binaries.

Note: `pylibjpeg-libjpeg`, which decodes JPEG inside DICOM, is under the GPL 3 (pydicom loads it if
it is installed; H2A never imports it); `codespell`, for development only, under the GPL 2;
`pypandoc-binary` contains Pandoc, which is under the GPL 2 or later; the `nvidia-*` packages, which
come with torch on Linux, are under NVIDIA's own licence.

| package | licence |
| --- | --- |
"""
# Of other operating systems, or without a word in their metadata: their LICENSE files.
KNOWN = {
    "appnope": "BSD-3-Clause",
    "atheris": "Apache-2.0",
    "colorama": "BSD-3-Clause",
    "pyreadline3": "BSD-3-Clause",
    "pywinpty": "MIT",
    "conda-inject": "MIT",
    "cuda-toolkit": "NVIDIA Proprietary Software",
    "snakemake-interface-common": "MIT",
    "snakemake-interface-logger-plugins": "MIT",
    "snakemake-interface-report-plugins": "MIT",
    "snakemake-interface-scheduler-plugins": "MIT",
    "snakemake-interface-storage-plugins": "MIT",
}


def locked() -> list[str]:
    """Names in requirements.lock, sorted."""
    lock = (ROOT / "requirements.lock").read_text()
    return sorted(set(re.findall(r"^([A-Za-z0-9._-]+)==", lock, re.MULTILINE)))


def licence(name: str) -> str:
    """Return what a package's metadata say: the expression, else the classifiers, else the text."""
    try:
        about = distribution(name).metadata
    except PackageNotFoundError:
        return KNOWN.get(name, "not said")
    kinds = [
        words.removeprefix("License :: ").removeprefix("OSI Approved :: ")
        for words in about.get_all("Classifier", [])
        if words.startswith("License") and words != "License :: OSI Approved"
    ]
    stated = (about.get("License") or "").split("\n", 1)[0]
    return about.get("License-Expression") or "; ".join(kinds) or stated or KNOWN.get(name, "")


if __name__ == "__main__":
    rows = "".join(f"| {name} | {licence(name) or 'not said'} |\n" for name in locked())
    (ROOT / "docs" / "licences.md").write_text(HEAD + rows)
