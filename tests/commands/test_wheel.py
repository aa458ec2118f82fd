"""Without a clone: what the installed package does in a folder of its user's own."""

import json
import subprocess

import cv2
import pytest
import wheels
from trained import squares_for, trained

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    python = wheels.plain_venv(tmp_path_factory.mktemp("wheel") / "venv")
    wheels.pip("install", "--no-deps", str(wheel), python=python)
    return python


@pytest.fixture
def h2a(python, tmp_path):
    def call(*words):
        return subprocess.run(
            [python.with_name("h2a"), *map(str, words)],
            cwd=tmp_path,
            env=wheels.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    return call


def test_the_library_is_the_wheels(python, tmp_path):
    done = subprocess.run(
        [python, "-c", "import h2a_lib; print(h2a_lib.__file__)"],
        cwd=tmp_path,
        env=wheels.environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(python.parents[1]))


def test_version_and_doctor_answer_anywhere(h2a):
    assert h2a("--version").stdout.startswith("h2a ")
    done = h2a("doctor")
    assert done.returncode == 0, done.stderr
    assert "no study.yaml here or above" in done.stdout and "clone the project" in done.stdout


def test_hands_are_drawn_and_checked_anywhere(h2a, tmp_path):
    done = h2a("data", "phantom", "--n", 22, "--height-px", 64, "--out", "hands")
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("hands/**/*.png"))) == 22
    done = h2a("data", "check", "hands")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_run_predicts_anywhere(h2a, tmp_path):
    run = trained(tmp_path / "run", n=60, n_validation=20, task="both", epochs=2)
    cv2.imwrite(str(tmp_path / "a.png"), squares_for(run.config, 60, 20).images[0])
    done = h2a("predict", "a.png", "--run", "run", "--json")
    assert done.returncode == 0, done.stderr
    (prediction,) = json.loads(done.stdout)["predictions"]
    assert prediction["age_months"] >= 0 and prediction["sex"] in ("male", "female")


@pytest.mark.parametrize(
    "words", [("report",), ("train", "resnet18"), ("status",), ("publish",), ("diff", "a", "b")]
)
def test_what_needs_a_study_says_how_to_get_one(h2a, words, tmp_path):
    done = h2a(*words)
    assert done.returncode == 2
    assert "clone the repository that it was built from" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())
