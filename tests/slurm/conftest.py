"""A real Slurm on one node: munge, slurmctld and slurmd, started for the tests and ended after."""

import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

CONFIGURATION = Path("/etc/slurm")  # the usual place: jobs must find it
OURS = "# written by tests/slurm"
# One node with the cores and the memory that cluster/slurm/ asks for whether they are there or not,
# and a "GPU" that is /dev/null: enough to see that a job waits until the GPU is free. What asks for
# more than the node has is refused, where it would wait for ever. No accounting database, no
# control groups (a container has none to give): memory is polled.
SLURM_CONF = """{ours}
ClusterName=h2a
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=1,bf_interval=1
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=1
JobAcctGatherParams=OverMemoryKill
MinJobAge=86400
KillWait=5
JobRequeue=1
GresTypes=gpu
SlurmdParameters=config_overrides
EnforcePartLimits=ALL
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 RealMemory=64000 Gres=gpu:2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


@pytest.fixture(scope="session")
def slurm(tmp_path_factory) -> Path:
    """Start Slurm and return the folder with its logs."""
    if shutil.which("slurmctld") is None or shutil.which("munged") is None:
        pytest.skip("Slurm is not installed: apt-get install slurm-wlm munge")
    if shlex.quote(sys.executable) != sys.executable:
        pytest.skip(f"no job can name {sys.executable}, see `Cluster.named`")
    if os.geteuid() != 0:
        pytest.skip("only root can start Slurm's daemons")
    folder = tmp_path_factory.mktemp("slurm")
    conf = CONFIGURATION / "slurm.conf"
    if conf.exists() and not conf.read_text().startswith(OURS):
        pytest.skip(f"{conf} is another's: this machine has a Slurm of its own")
    CONFIGURATION.mkdir(parents=True, exist_ok=True)
    (folder / "state").mkdir()
    (folder / "spool").mkdir()
    host = socket.gethostname().split(".")[0]
    conf.write_text(SLURM_CONF.format(ours=OURS, host=host, folder=folder))
    (CONFIGURATION / "gres.conf").write_text(f"{OURS}\nName=gpu File=/dev/null,/dev/zero\n")
    started = [*munge(folder)]
    try:
        for daemon in ("slurmctld", "slurmd"):
            started.append(subprocess.Popen([daemon, "-D"], stderr=subprocess.DEVNULL))
        wait_until_idle(folder)
        yield folder
    finally:
        # What a failed test has left in the queue would go on without its Slurm.
        subprocess.run(["scancel", "--user=root"], check=False)
        for process in reversed(started):
            end(process)
        conf.unlink()
        (CONFIGURATION / "gres.conf").unlink()


def munge(folder: Path) -> list[subprocess.Popen]:
    """Start munge, if it does not run already, in its usual place."""
    if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
        return []
    key = Path("/etc/munge/munge.key")
    if not key.exists():
        key.parent.mkdir(exist_ok=True)
        key.write_bytes(os.urandom(1024))
        key.chmod(0o400)
    runtime = Path("/run/munge")
    runtime.mkdir(exist_ok=True)
    for path in (key, key.parent, runtime):
        shutil.chown(path, "root", "root")
    runtime.chmod(0o755)
    daemon = subprocess.Popen(
        ["munged", "--foreground", "--force", f"--log-file={folder}/munged.log"],
        stderr=subprocess.DEVNULL,
    )
    for _ in range(100):
        if subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode == 0:
            return [daemon]
        time.sleep(0.1)
    raise AssertionError("munge did not start")


def end(daemon: subprocess.Popen) -> None:
    """End a daemon, by force if it does not end in time."""
    daemon.terminate()
    try:
        daemon.wait(timeout=30)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def wait_until_idle(folder: Path) -> None:
    """Wait until the node takes jobs."""
    for _ in range(300):
        done = subprocess.run(
            ["sinfo", "--noheader", "--format=%T"], capture_output=True, text=True, check=False
        )
        if done.stdout.strip() == "idle":
            return
        time.sleep(0.1)
    logs = "\n".join(log.read_text()[-3000:] for log in folder.glob("*.log"))
    raise AssertionError(f"the node did not become idle: {done.stdout}{done.stderr}\n{logs}")
