"""torch.compile is used where it pays, and changes nothing but the time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from h2a_lib.models import compiling
from h2a_lib.models.compiling import is_compiled
from h2a_lib.models.pooling import MaxPool2d

ROOT = Path(__file__).parents[2]
CPU = torch.device("cpu")


@pytest.fixture
def compiler(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/usr/bin/{name}")


def test_a_long_run_of_large_images_in_mixed_precision_is_compiled_and_others_are_not(
    config, compiler
):
    long = {
        "compile": "auto",
        "image_size_px": 224,
        "epochs": 20,
        "precision": "bf16-mixed",
    }
    assert is_compiled(config(**long), 10_000, CPU)
    assert not is_compiled(config(**long), 100, CPU), "over before it has paid"
    assert not is_compiled(config(**long | {"image_size_px": 100}), 10_000, CPU)
    assert not is_compiled(config(**long | {"precision": "auto"}), 10_000, CPU), "float32"
    assert not is_compiled(config(**long), 10_000, torch.device("cuda")), "not measured"


def test_nothing_is_compiled_without_a_compiler(config, monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    long = config(compile="auto", image_size_px=224, epochs=20, precision="bf16-mixed")
    assert not is_compiled(long, 10_000, CPU)


def test_what_the_settings_say_outright_is_done(config, compiler):
    assert is_compiled(config(compile=True), 10, CPU)
    assert not is_compiled(config(compile=False, image_size_px=224, epochs=20), 10_000, CPU)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_compiled_pooling_and_its_gradient_are_those_of_torch_to_the_bit():
    torch.manual_seed(0)
    # Half of the pixels are 0, so that windows have no single largest one.
    theirs = torch.randn(3, 8, 13, 14).relu().to(memory_format=torch.channels_last)
    ours = theirs.clone()
    theirs.requires_grad_()
    ours.requires_grad_()
    expected = nn.MaxPool2d(3, stride=2, padding=1)(theirs)
    found = torch.compile(MaxPool2d(3, stride=2, padding=1), dynamic=False)(ours)
    weights = torch.randn_like(expected)
    expected.backward(weights)
    found.backward(weights)
    assert torch.equal(found, expected)
    assert torch.equal(ours.grad, theirs.grad)
    assert ours.grad.stride() == theirs.grad.stride()


TRAIN = """
import sys, tempfile
from pathlib import Path
from torch._dynamo.utils import counters
sys.path.insert(0, "tests")
from trained import trained
with tempfile.TemporaryDirectory() as folder:
    trained(Path(folder), epochs=1, compile=True, precision="bf16-mixed")
kept = counters["inductor"]
print(kept["fxgraph_cache_hit"], kept["fxgraph_cache_miss"])
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling needs a C++ compiler")
def test_what_one_run_has_compiled_the_next_one_loads(tmp_path):
    def compiled_and_loaded() -> tuple[int, int]:
        done = subprocess.run(
            [sys.executable, "-c", TRAIN],
            cwd=ROOT,
            env=os.environ | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        loaded, compiled = done.stdout.split()
        return int(compiled), int(loaded)

    compiled, loaded = compiled_and_loaded()
    assert compiled > 0
    assert loaded == 0
    assert compiled_and_loaded() == (0, compiled)
