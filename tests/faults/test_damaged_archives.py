"""Archives with escaping paths, links and bombs, and weights that are pickles or cut.

All is refused in words or is what it should be; nothing is written elsewhere, and no code runs.
"""

import hashlib
import io
import os
import pickle
import shutil
import stat
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from damage import attempt, examples
from data_folders import write_set
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save
from trained import trained

from h2a_lib.data import fetch
from h2a_lib.files import read_json, write_json
from h2a_lib.models.inference import predictor_of
from h2a_lib.models.networks import build
from h2a_lib.study import runs

pytestmark = pytest.mark.slow
often = examples(120)
LINK, PIPE, DEVICE = ((kind | 0o777) << 16 for kind in (stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR))
PARTS = (
    "..",
    ".",
    "",
    "a",
    "boneage",
    "C:",
    "~",
    "con",
    "\\..",
    "..\\..",
    "x" * 300,
    "\0",
    "é",
    "🦴",
)
NAMES = st.one_of(
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=5).map("/".join),
    st.sampled_from(("/etc/evil", "\\\\host\\share", "/../../evil", "a//../../b", ".part-x.png")),
    st.text(min_size=1, max_size=20),
)


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> bytes:
    """Return an archive of twelve radiographs."""
    folder = write_set(tmp_path_factory.mktemp("sound"), [str(k) for k in range(12)])
    return zipped({str(f.relative_to(folder)): f.read_bytes() for f in folder.rglob("*.*")})


def zipped(members: dict[str, bytes], kinds: dict[str, int] | None = None, level: int = 6) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED, compresslevel=level) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo("x")
            info.filename = name  # as it is: the constructor would clean it
            info.external_attr = (kinds or {}).get(name, 0o644 << 16)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)
    return stream.getvalue()


def unpacked(content: bytes, folder: Path):
    """Unpack an archive; whatever comes of it, all that is there are plain files below `out`."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    (folder / "archive.zip").write_bytes(content)
    outcome = attempt(
        lambda: len(fetch.fetch([folder / "archive.zip"], folder / "out")),
        folder / "out",
    )
    assert sorted(one.name for one in folder.iterdir()) == ["archive.zip", "out"]
    for one in (folder / "out").rglob("*"):
        assert one.is_dir() or (one.is_file() and not one.is_symlink()), one
    return outcome


@often
@given(
    names=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    kinds=st.lists(st.sampled_from((0, LINK, PIPE, DEVICE)), min_size=4, max_size=4),
)
def test_no_name_and_no_kind_of_member_leads_out_of_the_folder(tmp_path, names, kinds):
    members = dict.fromkeys(names, b"../../../../etc/passwd")
    try:
        content = zipped(members, dict(zip(names, kinds, strict=False)))
    except UnicodeEncodeError:  # not even an archive can hold such a name
        return
    outcome = unpacked(content, tmp_path)
    assert outcome.error, "none of it is a set of radiographs"


@often
@given(at=st.integers(0, 50_000), length=st.integers(0, 300), noise=st.binary(max_size=100))
def test_an_archive_damaged_anywhere_is_refused_or_sound(tmp_path, sound, at, length, noise):
    at %= len(sound)
    outcome = unpacked(sound[:at] + noise + sound[at + length :], tmp_path)
    assert outcome.error or outcome.result == 1


def nested(content: bytes, depth: int) -> bytes:
    for k in range(depth):
        content = zipped({f"{k}.zip": content})
    return content


def claiming(content: bytes, size: int) -> bytes:
    """Return an archive whose directory and heads claim another size of each member."""
    changed = bytearray(content)
    for magic, at in ((b"PK\1\2", 24), (b"PK\3\4", 22)):
        start = -1
        while (start := content.find(magic, start + 1)) >= 0:
            struct.pack_into("<I", changed, start + at, size)
    return bytes(changed)


def bombs() -> dict[str, bytes]:
    zeros = zipped({"a/1.png": bytes(300_000_000)}, level=1)
    ten = zipped({f"{k}.zip": zipped({"a/1.png": bytes(50_000_000)}) for k in range(10)})
    return {
        "300 MB of zeros": zeros,
        "300 MB of zeros that claim 10 bytes": claiming(zeros, 10),
        "ten times 50 MB of zeros in archives": ten,
        "archives in archives": nested(ten, 4),
        "10 bytes that claim 4 GB": claiming(zipped({"a/1.png": b"x" * 10}), 2**32 - 2),
        "20,000 members": zipped({f"a/{k}.txt": b"" for k in range(20_000)}),
        "a file that is a folder too": zipped({"a": b"x", "a/b": b"y", "a/b/c.png": b"z"}),
    }


def test_bombs_are_refused(tmp_path):
    for what, content in bombs().items():
        outcome = unpacked(content, tmp_path)
        assert outcome.error, what
        written = sum(file.stat().st_size for file in (tmp_path / "out").rglob("*.*"))
        assert written < 100_000_000, what


# --- weights -------------------------------------------------------------------------------------


class Runs:
    """Pickled, it runs a program when it is read."""

    def __reduce__(self):
        return os.system, ("touch h2a-ran-this",)


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    trained(folder, epochs=1)
    return folder


def pickled() -> bytes:
    stream = io.BytesIO()
    torch.save({"w": Runs()}, stream)
    return stream.getvalue()


def head(text: bytes, length: int | None = None) -> bytes:
    return struct.pack("<Q", len(text) if length is None else length) + text


OTHERS = {
    "nothing": b"",
    "zeros": bytes(1000),
    "a pickle": pickle.dumps(Runs()),
    "a checkpoint that is a pickle": pickled(),
    "an archive of arrays": zipped({"w.npy": b"\x93NUMPY\1\0"}),
    "a head without an end": head(b"{", 2**63),
    "a head of 4 GB": head(b"{}", 2**32),
    "a head that is no JSON": head(b"\xff" * 40),
    "a head of brackets": head(b"[" * 100_000),
    "no tensors": save({}),
    "other tensors": save({"w": torch.zeros(3)}),
    "another network's": save(build("resnet34", "age", False).state_dict()),
    "tensors that overlap": head(
        b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]},'
        b'"b":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
    )
    + bytes(36),
    "a tensor of 10**18 numbers": head(
        b'{"a":{"dtype":"F32","shape":[1000000000,1000000000],"data_offsets":[0,4]}}'
    )
    + bytes(4),
}


def read(folder: Path, weights: Path):
    """Return what the network says of a picture, its weights taken from a file."""
    loaded = runs.load(folder)
    loaded.__dict__["folder"] = weights.parent
    return (
        predictor_of(loaded)
        .predict(np.zeros((1, 32, 32), np.uint8))["predicted_age_months"]
        .tolist()
    )


def test_weights_that_are_something_else_are_refused_and_no_code_runs(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    expected = read(run, run / runs.WEIGHTS)
    assert len(expected) == 1
    fitting = shutil.copytree(run, tmp_path / "fitting")
    for what, content in OTHERS.items():
        (tmp_path / runs.WEIGHTS).write_bytes(content)
        # Once with a digest of other weights, once with their own: somebody else's run.
        digest = hashlib.sha256(content).hexdigest()
        write_json(
            fitting / "model.json", read_json(run / "model.json") | {"weights_sha256": digest}
        )
        for of in (run, fitting):
            outcome = attempt(lambda of=of: read(of, tmp_path / runs.WEIGHTS), tmp_path)
            assert outcome.error and runs.WEIGHTS in outcome.error, what
    assert not (tmp_path / "h2a-ran-this").exists()


@examples(40)
@given(share=st.floats(0, 1), length=st.integers(0, 64), noise=st.binary(max_size=64))
def test_weights_damaged_anywhere_are_refused(run, tmp_path, share, length, noise):
    content = (run / runs.WEIGHTS).read_bytes()
    at = int(share * len(content))
    damaged = content[:at] + noise + content[at + length :]
    (tmp_path / runs.WEIGHTS).write_bytes(damaged)
    outcome = attempt(lambda: read(run, tmp_path / runs.WEIGHTS), tmp_path)
    assert outcome.error or damaged == content
