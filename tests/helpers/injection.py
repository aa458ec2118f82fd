"""Faults injected for real into a forked child that writes: kills, full disks, failed calls."""

import errno
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2

from h2a_lib import files
from h2a_lib.errors import UserError

# A child that hangs is a failure, not a wait.
SECONDS = 120
# Python tells an audit hook of these calls before it makes them; they change what is on the disk.
CALLS = ("open", "os.rename", "os.mkdir", "os.chmod", "os.remove", "os.rmdir", "os.truncate")


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and where.

    Attributes
    ----------
    kind : str
        "kill at byte", "error at byte", "kill at call" or "error at call".
    at : int
        The byte of a file that the kernel does not write any more, or the call that fails.
    code : int
        The error: no space left, input/output error, …
    """

    kind: str
    at: int
    code: int = errno.ENOSPC


@dataclass(frozen=True)
class Outcome:
    """How a child ended: "done", "killed", or the name and text of its error."""

    how: str
    message: str = ""


def in_child(write: Callable[[], object], below: Path, fault: Fault | None) -> tuple[Outcome, int]:
    """Run `write` in a forked child with a fault; return how it ended and its number of calls."""
    # A fork has no threads but its own, and would wait for those of the parent's pool for ever.
    cv2.setNumThreads(1)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS)
        counter = _Calls(below, fault)
        try:
            _arm(fault, counter)
            write()
            how, message = "done", ""
        except UserError as error:
            how, message = "UserError", str(error)
        except BaseException as error:
            how, message = type(error).__name__, str(error)
        counter.fault = None
        os.write(writing, f"{counter.made}\n{how}\n{message}".encode()[:60_000])
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        reply = pipe.read().decode(errors="replace")
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        assert number in (signal.SIGKILL, signal.SIGXFSZ), f"the child ended by signal {number}"
        return Outcome("killed"), 0
    made, how, message = reply.split("\n", 2)
    return Outcome(how, message), int(made)


class _Calls:
    """Counts the calls that change something below a folder, and makes one of them fail."""

    def __init__(self, below: Path, fault: Fault | None) -> None:
        self.below, self.fault, self.made = str(below), fault, 0

    def __call__(self, event: str, arguments: tuple) -> None:
        if event not in CALLS or not self._concerns(event, arguments):
            return
        self.note()

    def note(self) -> None:
        self.made += 1
        fault = self.fault
        if fault is None or not fault.kind.endswith("call") or self.made != fault.at:
            return
        self.fault = None
        if fault.kind.startswith("kill"):
            os.kill(os.getpid(), signal.SIGKILL)
        raise OSError(fault.code, os.strerror(fault.code))

    def _concerns(self, event: str, arguments: tuple) -> bool:
        if not str(arguments[0]).startswith(self.below):
            return False
        if event != "open":
            return True
        _, mode, flags = arguments
        return bool(set(mode or "") & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))


def _arm(fault: Fault | None, counter: _Calls) -> None:
    sys.addaudithook(counter)  # of the child alone, and for all of its life
    flush = files._fsync

    def noted(path: Path) -> None:
        counter.note()
        flush(path)

    files._fsync = noted
    if fault is None or not fault.kind.endswith("byte"):
        return
    # The kernel ends a write that would make a file larger than this: in the middle of a buffer,
    # and of native code too. SIGXFSZ kills the process, or, ignored, the call fails with EFBIG.
    kills = fault.kind.startswith("kill")
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL if kills else signal.SIG_IGN)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (fault.at, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
