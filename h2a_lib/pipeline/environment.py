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
    *("PYTHON", "OMP_", "KMP_", "MKL_", "OPENBLAS_", "NUMEXPR_", "BASH_ENV", "ENV", "CDPATH"),
    *("LC_", "LANG"),
)
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
    kept = {key: value for key, value in environment.items() if not key.startswith(OF_THE_USER)}
    return kept | own


def use_step_environment(root: Path) -> None:
    """Make this process, and what it starts, one of the study's steps."""
    environment = step_environment(root)
    os.environ.clear()
    os.environ.update(environment)


@contextlib.contextmanager
def socket_folder() -> Iterator[Path]:
    """Give a temporary folder whose path is short enough for the sockets of a kernel."""
    candidates = [os.environ.get("TMPDIR", ""), tempfile.gettempdir(), "/tmp", "/var/tmp"]
    for parent in dict.fromkeys(filter(None, [*candidates, "/dev/shm", str(Path.home())])):
        if takes_sockets(Path(parent)):
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
