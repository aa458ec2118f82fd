"""Processes that begin with the heavy libraries already imported.

A job of the study would spend seconds of processor time on importing torch, pandas and their kin
(measured: docs/performance.md), and a study has dozens of jobs. `python -m
h2a_lib.pipeline.forkserver MODULE ARGUMENT...` does what `python -m MODULE ARGUMENT...` does, but
in a fork of a server that has imported them once, if one is running. Without a server (another
machine of a cluster, a GPU, a system that cannot fork safely) it is the plain thing.

The protocol, over a Unix socket whose path is in `H2A_WARM`; one connection is one job:

1. The client sends 8 bytes, the length of its request (big-endian), and along with them its three
   standard streams (SCM_RIGHTS); then the request: JSON, the fields of `Request` in order.
2. For each signal that the client receives, it sends one byte, the signal's number. The server
   sends the signal to the job's process group.
3. When the job has ended the server sends one byte, its exit code, 128 + n if signal n ended it.

A client that closes the connection before has its job killed. The server and all its jobs end when
its standard input closes, that is, with the process that started it.
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
# How often a client checks that the process that started it is still there.
SECONDS_BETWEEN_CHECKS = 1.0
STANDARD_INPUT = 0
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

    It imports the modules while the caller goes on. Libraries read its environment (how many
    threads, say) when they are imported. Yields the environment of the jobs: the same, and where
    the server is.
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


def run(module: str, arguments: list[str]) -> int:
    """Run a module as `python -m` does, in a fork of the server if there is one."""
    if address := os.environ.get(ADDRESS):
        connection = socket.socket(socket.AF_UNIX)
        if connection.connect_ex(address) == 0:
            return _ask(connection, module, arguments)
    return run_module(module, arguments)


def run_module(module: str, arguments: list[str]) -> int:
    """Run a module as `python -m` does, in this process, and return its exit code."""
    sys.argv[1:] = arguments
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        return end.code if isinstance(end.code, int) else int(end.code is not None)
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
    connection.settimeout(SECONDS_BETWEEN_CHECKS)
    while os.getppid() == parent:
        with contextlib.suppress(TimeoutError):
            try:
                code = connection.recv(1)
            except ConnectionError:  # as after an interrupt of the whole study
                break
            if code:
                return code[0]
            break
    return 1  # the server is gone, or whoever wanted this: the closed connection ends the job


class Server:
    """Forks a process for each request that comes to the Unix socket at a path, `address`."""

    def __init__(self, address: str):
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the jobs hear of it from their clients
        self.ended, wake = socket.socketpair()  # readable when a job has ended
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(address)
        self.listener.listen(64)
        self.jobs: dict[socket.socket, int] = {}
        self.inherited = [self.listener, self.ended, wake]
        self.selector = selectors.DefaultSelector()
        for source in (STANDARD_INPUT, self.listener, self.ended):
            self.selector.register(source, selectors.EVENT_READ)

    def serve(self) -> Request:
        """Serve until standard input closes, which ends this process; return in a fork alone."""
        while True:
            for key, _ in self.selector.select():
                if key.fileobj == STANDARD_INPUT:
                    self.leave()
                elif key.fileobj is self.listener:
                    if request := self.start_job():
                        return request
                elif key.fileobj is self.ended:
                    self.report_ended_jobs()
                elif key.fileobj in self.jobs:
                    self.pass_on_signal(key.fileobj)

    def start_job(self) -> Request | None:
        """Fork for a client; return its request in the fork, and None in the server."""
        connection, _ = self.listener.accept()
        request, streams = _receive(connection)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            self.selector.close()
            for inherited in (*self.inherited, connection, *self.jobs):
                inherited.close()
            _become(request, streams)
            return request
        os.setpgid(pid, pid)
        for stream in streams:
            os.close(stream)
        self.jobs[connection] = pid
        self.selector.register(connection, selectors.EVENT_READ)
        return None

    def report_ended_jobs(self) -> None:
        """Send the exit code of each job that has ended to its client."""
        self.ended.recv(4096)
        for connection, pid in list(self.jobs.items()):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                with contextlib.suppress(OSError):  # its client may be gone
                    connection.send(bytes([code if code >= 0 else 128 - code]))
                with contextlib.suppress(KeyError):
                    self.selector.unregister(connection)
                connection.close()
                del self.jobs[connection]

    def pass_on_signal(self, connection: socket.socket) -> None:
        """Send a job the signal that its client has received; kill it if the client is gone."""
        received = connection.recv(1)
        _kill(self.jobs[connection], received[0] if received else signal.SIGKILL)
        if not received:  # `report_ended_jobs` does the rest
            self.selector.unregister(connection)

    def leave(self) -> NoReturn:
        """Kill all jobs and end, without taking apart the libraries."""
        for pid in self.jobs.values():
            _kill(pid, signal.SIGKILL)
        os._exit(0)


def _import(modules: list[str]) -> None:
    """Import libraries; end at once if standard input closes before that is done."""

    def end_if_closed(*_: object) -> None:
        if select.select([STANDARD_INPUT], [], [], 0)[0]:
            os._exit(0)

    signal.signal(signal.SIGALRM, end_if_closed)
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


def _become(request: Request, streams: list[int]) -> None:
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


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, number)


def main() -> int:
    """Serve, or run what the command line names."""
    module, *arguments = sys.argv[1:]
    if module != "--serve":
        return run(module, arguments)
    address, *modules = arguments
    # What ipykernel sets before a notebook can import matplotlib, which reads it once.
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"
    warm = Server(address)
    print("listening", flush=True)
    _import(modules)  # whoever asks meanwhile waits in the queue
    request = warm.serve()
    _run_and_leave(request.module, request.arguments)


def _run_and_leave(module: str, arguments: list[str]) -> NoReturn:
    """Run a module and end this fork, without taking apart what it shares with the server.

    Python would free every object of the libraries one by one, which writes to, and so copies,
    their memory: a second of processor time for nothing.
    """
    code = 1
    try:
        code = run_module(module, arguments)
    except BaseException:
        traceback.print_exc()
    threading._shutdown()  # type: ignore[attr-defined]  # waits for threads, as always at the end
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
