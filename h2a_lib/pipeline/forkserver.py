"""Processes that begin with the heavy libraries already imported.

A job of the study spends 10 s of processor time on importing torch, pandas and their kin before it
does anything (measured: docs/performance.md), and a study has dozens of jobs. `python -m
h2a_lib.pipeline.forkserver MODULE ARGUMENT...` does what `python -m MODULE ARGUMENT...` does, but
in a fork of a server that has imported them once, if one is running. Without a server (another
machine of a cluster, a GPU, a system that cannot fork safely) it is the plain thing.
"""

import atexit
import contextlib
import importlib
import json
import os
import runpy
import select
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, NoReturn

from h2a_lib.pipeline.environment import socket_folder

# In the environment of whoever may ask the server.
ADDRESS = "H2A_WARM"
# Other people's code alone: ours may change while a study runs.
HEAVY = (
    "IPython",
    "papermill",
    "sklearn.metrics",
    "seaborn",
    "scipy.stats",
    "cv2",
    "torchvision",
    "lightning_fabric",
    "safetensors.torch",
)
# How often a client looks whether the process that started it is still there.
SECONDS_BETWEEN_LOOKS = 1.0
FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Request(NamedTuple):
    """What a client wants to be run."""

    module: str
    arguments: list[str]
    folder: str
    environment: dict[str, str]


@contextlib.contextmanager
def server(
    modules: tuple[str, ...] = HEAVY, environment: Mapping[str, str] = os.environ
) -> Iterator[dict[str, str]]:
    """Keep a server for as long as the block runs; it ends with this process, however that ends.

    Parameters
    ----------
    modules : tuple of str
        What is imported, while the caller goes on.
    environment : mapping of str to str
        Of the server: libraries read it (how many threads, say) when they are imported.

    Yields
    ------
    dict of str to str
        The environment of the jobs: that of the server, and where it is.
    """
    # A fork may use neither CUDA's context nor, on a Mac, the system's libraries.
    if sys.platform != "linux" or shutil.which("nvidia-smi"):
        yield dict(environment)
        return
    with socket_folder() as folder:
        address = f"{folder}/warm"
        command = [sys.executable, "-m", __name__, "--serve", address, *modules]
        # The pipe is never written to; it closes when this process ends.
        pipe = subprocess.PIPE
        with subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe) as process:
            assert process.stdin and process.stdout
            process.stdout.readline()  # it listens
            try:
                yield {**environment, ADDRESS: address}
            finally:
                process.stdin.close()


def run(module: str, arguments: list[str]) -> int | str | None:
    """Run a module as `python -m` does, in a fork of the server if there is one.

    Returns
    -------
    int, str or None
        What `sys.exit` takes.
    """
    if address := os.environ.get(ADDRESS):
        connection = socket.socket(socket.AF_UNIX)
        if connection.connect_ex(address) == 0:
            return _ask(connection, module, arguments)
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    return 0


def _ask(connection: socket.socket, module: str, arguments: list[str]) -> int:
    """Hand a job to the server, pass on what signals come, and return the job's exit code."""
    parent = os.getppid()
    for number in FORWARDED:
        signal.signal(number, lambda received, _: connection.send(bytes([received])))
    request = Request(module, arguments, str(Path.cwd()), dict(os.environ))
    payload = json.dumps(request).encode()
    socket.send_fds(connection, [len(payload).to_bytes(8)], [0, 1, 2])
    connection.sendall(payload)
    connection.settimeout(SECONDS_BETWEEN_LOOKS)
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            if code := connection.recv(1):
                return code[0]
            break
    return 1  # the server is gone, or whoever wanted this: the closed connection ends the job


def serve(address: str, modules: list[str]) -> tuple[str, list[str]] | None:
    """Fork a process for each request until standard input closes.

    Returns
    -------
    tuple of str and list of str, or None
        In a fork: the module to run and its arguments. In the server, at its end: None.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the jobs hear of it from their clients
    awake, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(64)
    print("listening", flush=True)
    _import(modules)  # whoever asks meanwhile waits in the queue
    selector = selectors.DefaultSelector()
    for source in (0, listener, awake):
        selector.register(source, selectors.EVENT_READ)
    jobs: dict[socket.socket, int] = {}
    while True:
        for key, _ in selector.select():
            if key.fileobj == 0:
                for pid in jobs.values():
                    _kill(pid, signal.SIGKILL)
                return None
            if key.fileobj is listener:
                connection, _ = listener.accept()
                request, streams = _receive(connection)
                pid = os.fork()
                if pid == 0:
                    signal.set_wakeup_fd(-1)
                    selector.close()
                    for inherited in (listener, awake, wake, connection, *jobs):
                        inherited.close()
                    return _become(request, streams)
                os.setpgid(pid, pid)
                for stream in streams:
                    os.close(stream)
                jobs[connection] = pid
                selector.register(connection, selectors.EVENT_READ)
            elif key.fileobj is awake:
                awake.recv(4096)
                for connection, pid in list(jobs.items()):
                    ended, status = os.waitpid(pid, os.WNOHANG)
                    if ended:
                        code = os.waitstatus_to_exitcode(status)
                        with contextlib.suppress(OSError):  # its client may be gone
                            connection.send(bytes([code if code >= 0 else 128 - code]))
                        with contextlib.suppress(KeyError):
                            selector.unregister(connection)
                        connection.close()
                        del jobs[connection]
            elif key.fileobj in jobs:
                received = key.fileobj.recv(1)
                _kill(jobs[key.fileobj], received[0] if received else signal.SIGKILL)
                if not received:  # the client is gone; the job's end wakes us
                    selector.unregister(key.fileobj)


def _import(modules: list[str]) -> None:
    """Import libraries; end at once if standard input closes before that is done."""

    def check(*_: object) -> None:
        if select.select([0], [], [], 0)[0]:
            os._exit(0)

    signal.signal(signal.SIGALRM, check)
    signal.setitimer(signal.ITIMER_REAL, 0.1, 0.1)
    for module in modules:
        importlib.import_module(module)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _receive(connection: socket.socket) -> tuple[Request, list[int]]:
    """Return a request and the three standard streams of who sent it."""
    size, streams, _, _ = socket.recv_fds(connection, 8, 3)
    with connection.makefile("rb") as file:
        return Request(*json.loads(file.read(int.from_bytes(size)))), streams


def _become(request: Request, streams: list[int]) -> tuple[str, list[str]]:
    """Make this fork look like a process that the client has started."""
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for standard, stream in enumerate(streams):
        os.dup2(stream, standard)
        os.close(stream)
    os.chdir(request.folder)
    sys.path[0] = request.folder
    os.environ.clear()
    os.environ.update(request.environment)
    if "JPY_PARENT_PID" in request.environment:  # a kernel ends when this is not its parent
        os.environ["JPY_PARENT_PID"] = str(os.getppid())
    return request.module, request.arguments


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def main() -> int | str | None:
    """Serve, or run what the command line names."""
    module, *arguments = sys.argv[1:]
    if module != "--serve":
        return run(module, arguments)
    address, *modules = arguments
    # What ipykernel sets before a notebook can import matplotlib, which reads it once.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    job = serve(address, modules)
    if job is None:
        return 0
    module, sys.argv[1:] = job
    _run_and_leave(module)


def _run_and_leave(module: str) -> NoReturn:
    """Run a module and end this fork, without taking apart what it shares with the server.

    Python would free every object of the libraries one by one, which writes to, and so copies,
    their memory: a second of processor time for nothing.
    """
    code: int | str | None = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        code = end.code
    except BaseException:
        traceback.print_exc()
        code = 1
    if isinstance(code, str):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as always at the end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    sys.exit(main())
