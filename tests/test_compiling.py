"""torch.compile is used where it pays, and changes nothing but the time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

from h2a_lib.models import compiling
from h2a_lib.models.compiling import is_compiled

CPU = torch.device("cpu")


@pytest.fixture
def compiler(monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: f"/usr/bin/{name}")


def test_a_long_run_of_large_images_is_compiled_and_others_are_not(config, compiler):
    long = {"compile": "auto", "image_size_px": 224, "epochs": 20}
    assert is_compiled(config(**long), 10_000, CPU)
    assert not is_compiled(config(**long), 100, CPU), "over before it has paid"
    assert not is_compiled(config(**long | {"image_size_px": 100}), 10_000, CPU)
    assert not is_compiled(config(**long), 10_000, torch.device("cuda")), "not measured"


def test_nothing_is_compiled_without_a_compiler(config, monkeypatch):
    monkeypatch.setattr(compiling.shutil, "which", lambda name: None)
    assert not is_compiled(config(compile="auto", image_size_px=224, epochs=20), 10_000, CPU)


def test_what_the_settings_say_outright_is_done(config, compiler):
    assert is_compiled(config(compile=True), 10, CPU)
    assert not is_compiled(config(compile=False, image_size_px=224, epochs=20), 10_000, CPU)


RUN = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from squares import SETTINGS, squares
from h2a_lib import study
from h2a_lib.models.training import train
from torch._dynamo.utils import counters
config = study.RunConfig(**(SETTINGS | {"epochs": 1, "compile": sys.argv[2] == "compiled"}))
found = train(config, squares(30, n_validation=11), Path(sys.argv[3]) / "checkpoint.pt")
found.predictions.to_csv(Path(sys.argv[3]) / f"{sys.argv[4]}.csv")
print(json.dumps(counters["aot_autograd"] | counters["inductor"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="needs a C++ compiler")
def test_a_compiled_run_learns_the_same_and_is_not_compiled_again(tmp_path):
    def run(how: str, name: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", RUN, str(Path(__file__).parent), how, str(tmp_path), name],
            env=os.environ
            | {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache"), "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    run("eager", "eager")
    assert "cache_hit" not in run("compiled", "first")
    assert "cache_hit" in run("compiled", "again")
    eager, first, again = (pd.read_csv(tmp_path / f"{n}.csv") for n in ("eager", "first", "again"))
    pd.testing.assert_frame_equal(first, again, check_exact=True)
    # Sums in another order; three steps of training carry the difference on.
    pd.testing.assert_frame_equal(eager, first, atol=2.0, rtol=0)
