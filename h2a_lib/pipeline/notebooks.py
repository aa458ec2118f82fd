"""papermill, made strict: what it would let pass in silence is an error here."""

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from h2a_lib.errors import UserError, require_file, unknown
from h2a_lib.files import remove, write_atomically, write_bytes
from h2a_lib.pipeline.environment import socket_folder, use_step_environment
from h2a_lib.pipeline.gpus import one_gpu
from h2a_lib.pipeline.processes import end_with_leader


class NotebookError(Exception):
    """A cell of a notebook raised; the notebook up to there is kept beside the output."""


def execute(notebook: Path, output: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook with values for names that its cell tagged "parameters" declares.

    Three things differ from plain papermill, each because of a reported loss: an undeclared
    parameter is an error (papermill #245 goes on with the defaults); the output gets its name only
    when all cells have run (snakemake #348: an empty notebook left by a crash counts as done), and
    a failed one is `<output stem>.failed.ipynb`; and the kernel is reached over IPC (papermill
    #511: with TCP, parallel kernels die on "Address already in use").

    A UserError if the notebook is missing, does not declare a parameter or raised one; a
    NotebookError if a cell raised anything else, or the kernel died.
    """
    # Not needed by whoever only checks the parameters of a command: 0.6 s.
    import papermill
    from nbclient.exceptions import DeadKernelError
    from traitlets.config import Config

    require_file(notebook, "no such notebook")
    declared = papermill.inspect_notebook(_as_it_is(notebook))
    for name in parameters:
        if name not in declared:
            raise unknown(f"parameter of {notebook.name}", name, declared)
    failed = output.with_suffix(".failed.ipynb")
    remove(failed)
    # A socket's path has room for about 100 letters, and the usual runtime folder can be longer.
    with socket_folder() as runtime:
        os.environ["JUPYTER_RUNTIME_DIR"] = str(runtime)
        with write_atomically(output) as temporary:
            try:
                papermill.execute_notebook(
                    _as_it_is(notebook),
                    _as_it_is(temporary),
                    parameters=parameters,
                    kernel_name="python3",
                    cwd=str(notebook.parent),
                    progress_bar=False,
                    stdout_file=sys.stdout,
                    stderr_file=sys.stderr,
                    kernel_manager_class=f"{__package__}.kernels.StudyKernelManager",
                    # All that it made is on the disk; a polite end takes 1.6 s.
                    shutdown_kernel="immediate",
                    config=Config({"KernelManager": {"transport": "ipc", "ip": f"{runtime}/k"}}),
                )
            except DeadKernelError:
                raise NotebookError(
                    f"{notebook.name}: its kernel was killed, most likely because the memory was "
                    "full: a smaller batch_size, image_size_px or network takes less"
                ) from None
            except papermill.PapermillExecutionError as error:
                write_bytes(failed, temporary.read_bytes())
                if error.ename in ("UserError", "DataError"):
                    raise UserError(error.evalue) from None
                raise NotebookError(
                    f"{notebook.name}, cell {error.exec_count}: {error.ename}: {error.evalue}\n"
                    f"the notebook up to there: {failed}"
                ) from None


def _as_it_is(path: Path) -> str:
    """Return a path in which papermill does not take a brace for one of its parameters."""
    return str(path).replace("{", "{{").replace("}", "}}")


def main() -> int:
    """Run `python -m h2a_lib.pipeline.notebooks [--gpu] NOTEBOOK OUTPUT JSON`, as the graph does.

    With `--gpu` the notebook has a place on a GPU, where there is one. Returns 0; 1 if a cell
    raised; 2 for a mistake of the user.
    """
    end_with_leader()
    *options, notebook, output, parameters = sys.argv[1:]
    notebook = str(Path(notebook).resolve())
    use_step_environment(Path(notebook).parents[1])
    began = time.monotonic()
    print(f"{output}: begins", flush=True)
    alone = one_gpu() if "--gpu" in options else contextlib.nullcontext()
    try:
        with alone:
            execute(Path(notebook), Path(output), json.loads(parameters))
    except UserError as error:
        print(f"{Path(notebook).name}: {error}", file=sys.stderr)
        return 2
    except NotebookError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{output}: done in {time.monotonic() - began:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
