"""Tables of the commands: whole where a program reads them, folded where a terminal is narrow."""

import os
import pty
import re
import subprocess
import sys

import pytest
from in_process import h2a

LONG = "a-hospital-with-a-long-name/" * 5
CODE = f"""
import pandas as pd
from h2a_lib.commands.shared import print_frame
print_frame(pd.DataFrame({{"file": ["{LONG}1.png"], "problem": ["cut off " * 20]}}), "problems")
"""


def environment(**more: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("COLUMNS", "TERM")}
    return kept | {"TERM": "xterm"} | more


@pytest.mark.parametrize("more", [{}, {"COLUMNS": "60"}, {"FORCE_COLOR": "1"}])
def test_in_a_pipe_no_cell_is_wrapped_and_none_cut(more):
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(
        command, env=environment(**more), capture_output=True, text=True, check=True
    )
    (row,) = [line for line in done.stdout.splitlines() if "hospital" in line]
    assert f"{LONG}1.png" in row and ("cut off " * 20).strip() in row
    assert max(map(len, done.stdout.splitlines())) < 400


def test_on_a_terminal_a_table_has_its_width_and_loses_nothing():
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", CODE], env=environment(COLUMNS="60"), stdout=theirs
    ) as process:
        os.close(theirs)
        output = b""
        try:
            while part := os.read(ours, 4096):
                output += part
        except OSError:  # how Linux says that the other end is closed
            pass
    os.close(ours)
    assert process.returncode == 0
    lines = re.sub(r"\x1b\[[\d;]*m", "", output.decode()).splitlines()
    assert max(map(len, lines)) == 60
    column = "".join(line.split("│")[1].strip() for line in lines if line.startswith("│"))
    assert column == f"{LONG}1.png"


@pytest.mark.parametrize("words", [("doctor",), ("status", "--profile", "smoke")])
def test_every_command_prints_its_table_whole(words):
    done = h2a(*words, columns=20)
    assert done.returncode in (0, 1) and "…" not in done.stdout.replace("--source …", "")
    expected = "Python" if words == ("doctor",) else "self_supervised"
    assert expected in done.stdout
