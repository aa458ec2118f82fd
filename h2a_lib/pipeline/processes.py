"""Processes that must not outlive the command that started them."""

import os
import signal
import socket
import threading
import time

from h2a_lib.files import is_alive

# "machine:process" of the command that works on a study; its steps inherit it.
LEADER = "H2A_LEADER"
SECONDS_BETWEEN_LOOKS = 0.2
SECONDS_TO_TIDY_UP = 3.0


def as_leader() -> dict[str, str]:
    """Return the environment that names this process as the one to end with."""
    return {LEADER: f"{socket.gethostname()}:{os.getpid()}"}


def end_with_leader() -> None:
    """End this process soon after the command that it works for has ended, however that ended.

    A kill -9 of `h2a report` frees its lock but does not reach its steps; going on, they would
    write into a study that another command may be at work on. Steps that a cluster runs elsewhere
    go on: they are the cluster's.
    """
    machine, _, leader = os.environ.get(LEADER, "").rpartition(":")
    if machine == socket.gethostname() and int(leader) != os.getpid():
        threading.Thread(target=_watch, args=(int(leader),), daemon=True).start()


def _watch(leader: int) -> None:
    while is_alive(leader):
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os.kill(os.getpid(), signal.SIGINT)  # as Ctrl-C: temporary files go, kernels are ended
    time.sleep(SECONDS_TO_TIDY_UP)
    os._exit(1)
