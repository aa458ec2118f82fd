"""Many files, all cores: one function over chunks of tasks, results as they come."""

import contextlib
import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from concurrent.futures import Future

# A worker takes about a second to start; decoding this many bytes of PNG takes about as long.
BYTES_WORTH_A_WORKER = 20_000_000
# Chunks handed to each worker that has shown itself: one to work on, two so that it need not wait
# for the next. Until then it has one, since what is handed out cannot be taken back.
CHUNKS_OUT = 3
# Of a container, by cgroup v2 and v1, which has a number beyond any memory where there is no limit.
MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def cores() -> int:
    """Return the processors this process may use: affinity and container limits respected."""
    import joblib

    return joblib.cpu_count()


def memory() -> int:
    """Return the bytes of memory this process may use: container limits respected."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    for file in MEMORY_LIMITS:
        with contextlib.suppress(OSError, ValueError):  # not there, "max", or empty
            limits.append(int(Path(file).read_text()))
    return min(limits)


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

    The function is importable by name. A chunk is one process's unit of work, its length what the
    bar counts, if someone can see it; a log file gets none. This process is one of `processes`; 1
    runs everything here.
    """
    from tqdm.auto import tqdm

    total, hidden = sum(map(len, chunks)), not (progress and is_watched())
    results: Generator[tuple[int, Any], None, None]
    if processes == 1:
        results = ((len(chunk), function(chunk, *constants)) for chunk in chunks)
    else:
        results = _shared_out(function, iter(chunks), constants, processes - 1)
    with (
        contextlib.closing(results),
        tqdm(total=total, desc=title, unit="image", disable=hidden) as bar,
    ):
        for n, result in results:
            bar.update(n)
            yield result


def _shared_out(
    function: Callable[..., Any],
    waiting: Iterator[Sequence[Any]],
    constants: tuple[Any, ...],
    n_workers: int,
) -> Generator[tuple[int, Any], None, None]:
    """Hand chunks to workers, and work on others here, at once and not when they have started.

    The workers are joblib's (loky): unlike those of multiprocessing they need no
    `if __name__ == "__main__"` in the caller, so they start alike from a script, a notebook and
    papermill, and one that is killed is an error and not a hang.
    """
    from concurrent.futures import FIRST_COMPLETED, wait

    from joblib.externals.loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=n_workers)
    out: set[Future[tuple[int, Any]]] = set()
    each = 1
    try:
        while True:
            # Bounded memory: no more results can lie here than chunks are out.
            while len(out) < each * n_workers and (chunk := next(waiting, None)):
                out.add(executor.submit(_counted, function, chunk, constants))
            if chunk := next(waiting, None):
                yield _counted(function, chunk, constants)
            elif not out:
                return
            done, out = wait(out, None if chunk is None else 0, FIRST_COMPLETED)
            each = CHUNKS_OUT if done else each
            yield from (future.result() for future in done)
    finally:
        for future in out:
            future.cancel()


def _counted(
    function: Callable[..., Any], chunk: Sequence[Any], constants: Iterable[Any]
) -> tuple[int, Any]:
    import cv2

    # The cores are shared out between processes already.
    threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        return len(chunk), function(chunk, *constants)
    finally:
        cv2.setNumThreads(threads)


def chunked(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    """Cut a sequence into pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def is_watched() -> bool:
    """Whether someone watches: a terminal, or a live notebook (papermill sets no such variable)."""
    return sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ
