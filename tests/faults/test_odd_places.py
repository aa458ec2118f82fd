"""A project in a folder whose name has letters that some tool on the way takes for its own."""

import subprocess

import pytest
from checkout import command, copy_checkout, environment


@pytest.mark.slow
def test_a_training_runs_in_a_folder_of_any_name(tmp_path):
    folder = copy_checkout(tmp_path / """it's a #1 "hé" {x} %s $y""")
    done = subprocess.run(
        command("train", "resnet18", "--profile", "smoke"),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
