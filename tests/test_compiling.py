"""torch.compile is used where it pays, and changes nothing but the time."""

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
