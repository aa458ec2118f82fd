"""System, packages and home that cannot be written to: only the project can.

The mounts are this test's own (`unshare --mount`); where that is not allowed it is skipped.
"""

import subprocess
import sysconfig

import pytest
from checkout import command, copy_checkout, environment

pytestmark = pytest.mark.slow
# A place that is not below /tmp, so that the copy can be reached.
PLACE = "/mnt"
READ_ONLY = f"""
set -e
mount --bind "$0" {PLACE}
for folder in /tmp /var/tmp ${{PACKAGES:+"$PACKAGES"}}; do
    mount --bind "$folder" "$folder"
    mount -o "remount,bind,$HOW" "$folder"
done
mount -t tmpfs -o "$HOW" tmpfs /dev/shm
cd {PLACE}/copy
exec "$@"
"""
READ_ONLY_PACKAGES = {"HOW": "ro", "PACKAGES": sysconfig.get_path("purelib")}


def in_namespace(folder, *words, **more):
    """Run words where the system's temporary folders are read-only and `folder` is at PLACE."""
    try:
        subprocess.run(["unshare", "--mount", "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a namespace for mounts is not allowed here")
    return subprocess.run(
        ["unshare", "--mount", "bash", "-c", READ_ONLY, str(folder), *words],
        env=environment(f"{PLACE}/copy", **(READ_ONLY_PACKAGES | more)),
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def folder(tmp_path):
    copy_checkout(tmp_path / "copy")
    for name in ("home", "long" * 30, "t"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_training_finds_folders_for_its_sockets_and_caches(folder):
    """The home is read-only too, and the folder of the user's choice has too long a name."""
    done = in_namespace(
        folder,
        *command("train", "resnet18", "--profile", "smoke"),
        TMPDIR=f"{PLACE}/{'long' * 30}",
        HOME=str(folder / "home"),
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert (folder / "copy" / "runs" / "smoke" / "resnet18" / "seed-0" / "metrics.json").is_file()
    assert not list((folder / "copy" / "cache").glob("h2a-*"))


def test_umap_is_imported_though_neither_the_packages_nor_the_home_can_be_written_to(folder):
    """numba wants a place for what it compiles as soon as it meets a function."""
    code = (
        "from pathlib import Path; from h2a_lib.pipeline.environment import use_step_environment;"
        "use_step_environment(Path.cwd()); import umap"
    )
    done = in_namespace(folder, command()[0], "-c", code, HOME=str(folder / "home"))
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(
    sysconfig.get_path("purelib").startswith(("/tmp/", "/var/tmp/")),
    reason="the packages lie in such a folder themselves",
)
def test_a_training_runs_no_program_from_the_folders_for_temporary_files(folder):
    """As where /tmp is mounted `noexec`."""
    words = command("train", "resnet18", "--profile", "smoke")
    done = in_namespace(folder, *words, HOW="noexec", PACKAGES="")
    assert done.returncode == 0, done.stderr
    assert (folder / "copy" / "runs" / "smoke" / "resnet18" / "seed-0" / "metrics.json").is_file()
