"""What a hosted notebook's environment lacks, and what of it must stay."""

import subprocess
import sys
from importlib import metadata

import pytest

from h2a_lib.pipeline.requirements import to_install


@pytest.fixture
def environment(monkeypatch):
    """Return a function that makes up what a package asks for, and what is installed."""

    def make(requires: list[str], installed: dict[str, str]) -> None:
        def version(name: str) -> str:
            if name not in installed:
                raise metadata.PackageNotFoundError(name)
            return installed[name]

        monkeypatch.setattr(metadata, "requires", lambda name: requires)
        monkeypatch.setattr(metadata, "version", version)

    return make


def test_what_is_missing_or_too_old_is_installed_and_nothing_else(environment):
    environment(
        ["numpy>=2.0", "papermill>=2.6", "pandas>=2.2", "kornia-rs<0.3,>=0.2"],
        {"numpy": "1.26.4", "pandas": "2.2.2", "kornia-rs": "0.3.1"},
    )
    assert to_install() == ["numpy>=2.0", "papermill>=2.6", "kornia-rs<0.3,>=0.2"]


def test_torch_stays_in_the_version_that_is_there_however_old(environment):
    environment(["torch>=2.11", "torchvision>=0.26"], {"torch": "2.6.0+cu124"})
    assert to_install() == ["torch==2.6.0+cu124", "torchvision>=0.26"]


def test_extras_and_other_systems_are_left_out(environment):
    environment(['ruff>=0.9; extra == "dev"', 'pywin32; sys_platform == "win32"'], {})
    assert to_install() == []


def test_here_nothing_is_missing():
    assert {one.partition("==")[0] for one in to_install()} == {
        *("torch", "torchvision", "jupyterlab", "ipykernel", "ipywidgets")
    }


def test_it_can_be_queried_before_anything_is_installed():
    code = (
        "import sys; from h2a_lib.pipeline import requirements\n"
        "print(*{name.partition('.')[0] for name in sys.modules} & {'torch', 'typer', 'pandas'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
