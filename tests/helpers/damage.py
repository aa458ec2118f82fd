"""Try a damaged input in a fork: how it ended, how long it took, and what it touched."""

import os
import pickle
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import HealthCheck, Phase, settings

from h2a_lib.errors import UserError

# Of processor time, and of memory beyond what the tests hold already; a hang that takes no time of
# a processor ends after a minute.
SECONDS, GIGABYTES = 10, 2.0
SECONDS_BY_THE_CLOCK = 60
# What Python tells an audit hook before it does it: a file changed, a program started.
CHANGES = ("open", "os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.link")
STARTS = ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.spawn")


class Outcome(NamedTuple):
    """The result of an input, or the text of the UserError that refused it."""

    result: Any = None
    error: str | None = None


def examples(n: int) -> settings:
    """Return Hypothesis's settings for n inputs, the same ones each time; half as many in CI."""
    return settings(
        max_examples=n if "H2A_CAMPAIGN" in os.environ else n // 2,
        deadline=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],  # a hang takes 10 s: no shrinking
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


def attempt(act: Callable[[], Any], target: Path) -> Outcome:
    """Run `act` in a fork; anything but a result or a UserError within the limits is a failure.

    Parameters
    ----------
    act : callable
        Returns what can be pickled.
    target : Path
        The only folder in which anything may be changed.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(SECONDS_BY_THE_CLOCK)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS + 1))
        begun = _peak_memory_anew()
        offences = _watch(target)
        try:
            message: Any = Outcome(result=act())
        except UserError as error:
            message = Outcome(error=str(error))
        except BaseException as error:
            message = f"{type(error).__name__}: {error}"[:500]
        memory = _peak_memory() - begun
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump((message, memory, offences), pipe)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        reply = pipe.read()
    _, status = os.waitpid(child, 0)
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    assert number not in (signal.SIGALRM, signal.SIGXCPU), f"it took more than {SECONDS} s"
    assert reply, f"the process ended by signal {number}"
    message, memory, offences = pickle.loads(reply)
    assert isinstance(message, Outcome), f"neither a result nor a UserError: {message}"
    assert memory < GIGABYTES, f"it took {memory:.1f} GB"
    assert not offences, f"it touched what it should not: {offences}"
    if message.error is not None:
        assert message.error.strip() and "Traceback" not in message.error
    return Outcome(*message)


def _peak_memory_anew() -> float:
    """Forget the most memory this process had, as a child has its parent's; return what it has."""
    Path("/proc/self/clear_refs").write_text("5")
    return _peak_memory()


def _peak_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def _watch(target: Path) -> list[str]:
    """Note what is changed outside of a folder, and each program started."""
    offences: list[str] = []
    inside = str(target.resolve())

    def hook(event: str, arguments: tuple) -> None:
        if event in STARTS:
            offences.append(f"{event} {arguments[0]!r}")
        elif event in CHANGES and (event != "open" or _writes(arguments)):
            # The new name counts, where there is one; it may be relative to an open folder.
            path = arguments[1] if event in ("os.rename", "os.symlink", "os.link") else arguments[0]
            if not isinstance(path, str | Path):  # a file that is open already
                return
            opened = event != "open" and arguments[-1] >= 0
            where = os.path.realpath(
                Path(f"/proc/self/fd/{arguments[-1]}", path) if opened else path
            )
            if not where.startswith((inside, "/dev/null")):
                offences.append(f"{event} {where}")

    sys.addaudithook(hook)
    return offences


def _writes(arguments: tuple) -> bool:
    _, mode, flags = arguments
    return bool(set(mode or "") & set("wax+")) or bool(flags & (os.O_WRONLY | os.O_RDWR))
