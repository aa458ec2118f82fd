"""Many files, all cores: one function over chunks of tasks, results as they come."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# A worker takes about a second to start; decoding this many bytes of PNG takes about as long.
BYTES_WORTH_A_WORKER = 20_000_000


def cores() -> int:
    """Return the processors this process may use: affinity and container limits respected."""
    import joblib

    return joblib.cpu_count()


def workers(n_bytes: int, processes: int | None = None) -> int:
    """Return how many processes are worth starting for so many bytes of image files."""
    if processes is not None:
        return max(1, processes)
    return min(cores(), 1 + n_bytes // BYTES_WORTH_A_WORKER)


def in_parallel(
    function: Callable[..., Any],
    chunks: Sequence[Sequence[Any]],
    *constants: Any,
    processes: int,
    title: str,
    progress: bool = True,
) -> Iterator[Any]:
    """Yield `function(chunk, *constants)` for each chunk, in the order in which they finish.

    The processes are joblib's (loky): unlike those of multiprocessing they need no
    `if __name__ == "__main__"` in the caller, so they start alike from a script, a notebook and
    papermill, and one that is killed is an error and not a hang.

    Parameters
    ----------
    function : callable
        Importable by name.
    chunks : sequence of sequences
        The tasks; a chunk is one process's unit of work, its length what the bar counts.
    *constants
        Passed to each call.
    processes : int
        1 runs everything in this process.
    title : str
        On the progress bar.
    progress : bool
        Show a bar where someone can see it; a log file gets none.
    """
    # Imported here: a worker process that unpickles `_counted` needs neither.
    import joblib
    from tqdm.auto import tqdm

    call, alone = joblib.delayed(_counted), processes > 1
    tasks = (call(function, chunk, alone, *constants) for chunk in chunks)
    pool = joblib.Parallel(
        n_jobs=processes,
        # Bounded memory: no more chunks are out than are being worked on, and one each in wait.
        pre_dispatch="2 * n_jobs",
        batch_size=1,
        return_as="generator_unordered" if processes > 1 else "generator",
    )
    total = sum(map(len, chunks))
    results = pool(tasks)
    try:
        with tqdm(
            total=total, desc=title, unit="image", disable=not (progress and is_watched())
        ) as bar:
            for n, result in results:
                bar.update(n)
                yield result
    finally:
        results.close()


def chunked(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a sequence into pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def _counted(
    function: Callable[..., Any], chunk: Sequence[Any], alone: bool, *constants: Any
) -> tuple[int, Any]:
    if alone:
        # The cores are shared out between processes already.
        import cv2

        cv2.setNumThreads(1)
    return len(chunk), function(chunk, *constants)


def is_watched() -> bool:
    """Whether someone watches: a terminal, or a live notebook (papermill sets no such variable)."""
    return sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ
