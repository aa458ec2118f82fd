"""The surroundings of a step: an environment of its own, and a folder for its sockets.

The user's own configuration must not change a result: a dark matplotlib style, an IPython startup
file, a Snakemake profile, another number of threads.
"""

import contextlib
import os
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from h2a_lib.errors import UserError
from h2a_lib.pipeline.dependencies import PACKAGE

# Variables that configure the tools of a step, by how their names begin.
OF_THE_USER = (
    *("SNAKEMAKE_", "PAPERMILL_", "JUPYTER", "IPYTHON", "JPY_", "MPL", "MATPLOTLIB", "XDG_"),
    *("PYTHON", "BASH_ENV", "ENV", "CDPATH", "LC_", "LANG", "QUARTO_PROFILE", "TYPST_", "CONDA_"),
    # Threads, and which instructions or precision a sum is computed with.
    *("OMP_", "KMP_", "MKL_", "OPENBLAS_", "GOTO_", "BLIS_", "VECLIB_", "NUMEXPR_", "NUMBA_"),
    *("LOKY_", "NPY_", "ONEDNN_", "DNNL_", "ATEN_", "OPENCV_", "LT_"),
    *("NVIDIA_TF32_OVERRIDE", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE"),
    # Of another repository, as in a hook of git: a run's commit is the project's.
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"),
)
# Places, which a machine may need and which change no result.
KEPT = ("XDG_RUNTIME_DIR", "NUMBA_CACHE_DIR")
# The longest path of a socket is 103 letters on a Mac and 107 on Linux; Jupyter appends its own.
LONGEST_SOCKET = 100
SOCKET_OF_A_KERNEL = "h2a-12345678/k-12"


def step_environment(root: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the environment of a study's steps.

    Of the user's, what configures neither tools nor locale is kept: paths, proxies, GPUs.
    """
    cache = root / "cache"
    folder = str(Path(sys.executable).parent)
    own = {
        # What torch.compile has compiled, so that the next run need not.
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "compiled"),
        # Steps run side by side: with a thread for each core in each of them they would wait for
        # one another. And the last digit of a sum must not depend on the machine's cores. A
        # training sets its own number.
        "OMP_NUM_THREADS": "1",
        # Folders of the project in place of those in the home folder, which may hold settings.
        "IPYTHONDIR": str(cache / "settings" / "ipython"),
        "JUPYTER_CONFIG_DIR": str(cache / "settings" / "jupyter"),
        "JUPYTER_DATA_DIR": str(cache / "settings" / "jupyter-data"),
        "MPLCONFIGDIR": str(cache / "settings" / "matplotlib"),
        "LC_ALL": "C.UTF-8",
        "PATH": f"{folder}{os.pathsep}{environment.get('PATH', '')}",
    }
    # The library that runs this, and not one that is installed beside it.
    if str(PACKAGE.parent) not in (sysconfig.get_path("purelib"), sysconfig.get_path("platlib")):
        own["PYTHONPATH"] = str(PACKAGE.parent)
    kept = {
        key: value
        for key, value in environment.items()
        if key in KEPT or not key.startswith(OF_THE_USER)
    }
    return kept | own | cache_of_tools(root, environment)


def use_step_environment(root: Path) -> None:
    """Make this process, and what it starts, one of the study's steps."""
    environment = step_environment(root)
    os.environ.clear()
    os.environ.update(environment)


def cache_of_tools(root: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return variables that move tools' caches into the project where the home is read-only.

    As in a container that runs as a user of no name. Without them numba, and with it UMAP, cannot
    be imported, nor can Snakemake begin. What torch has downloaded before stays where it is.
    """
    usual = Path(environment.get("HOME", "/"), ".cache").absolute()
    nearest = next(folder for folder in (usual, *usual.parents) if folder.exists())
    if os.access(nearest, os.W_OK):
        return {}
    moved = {"XDG_CACHE_HOME": str(root / "cache" / "settings" / "cache")}
    if (usual / "torch").is_dir():
        moved["TORCH_HOME"] = environment.get("TORCH_HOME", str(usual / "torch"))
    return moved


def temporary_parents() -> Iterator[Path]:
    """Yield where temporary files may go: the user's choice, the system's folders, the project."""
    named = map(os.environ.get, ("TMPDIR", "TEMP", "TMP", "XDG_RUNTIME_DIR"))
    folders = (*named, "/tmp", "/var/tmp", "/dev/shm", os.environ.get("HOME"))
    yield from dict.fromkeys(Path(one).absolute() for one in folders if one)
    from h2a_lib.study.workspace import project_root  # slow to import, and seldom needed

    with contextlib.suppress(UserError):
        yield project_root() / "cache"


def temporary_parent() -> Path:
    """Return the first folder for temporary files that can be written to; a UserError if none."""
    for parent in temporary_parents():
        with contextlib.suppress(OSError), tempfile.TemporaryFile(dir=parent):
            return parent
    raise UserError("no folder for temporary files can be written to: set TMPDIR to one that can")


@contextlib.contextmanager
def socket_folder() -> Iterator[Path]:
    """Give a temporary folder whose path is short enough for the sockets of a kernel."""
    for parent in temporary_parents():
        if takes_sockets(parent):
            with tempfile.TemporaryDirectory(prefix="h2a-", dir=parent) as folder:
                yield Path(folder)
            return
    raise UserError(
        "no folder for temporary files takes a socket: set TMPDIR to one that can be written to, "
        f"with a path of at most {LONGEST_SOCKET - len(SOCKET_OF_A_KERNEL) - 1} letters"
    )


def takes_sockets(parent: Path) -> bool:
    """Return whether sockets can be made in new folders of a folder."""
    if len(os.fsencode(parent / SOCKET_OF_A_KERNEL)) > LONGEST_SOCKET:
        return False
    try:
        with (
            tempfile.TemporaryDirectory(prefix="h2a-", dir=parent) as folder,
            socket.socket(socket.AF_UNIX) as listener,
        ):
            listener.bind(f"{folder}/k")
    except OSError:
        return False
    return True


if __name__ == "__main__":  # a program with its options, as one of the study's steps
    use_step_environment(Path.cwd())
    os.execvp(sys.argv[1], sys.argv[1:])
