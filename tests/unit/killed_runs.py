"""Runs of `scail2` in forks of one process, in which everything is imported and nothing was computed, each killed at
another moment. Used by test_generate_resume.py; prints how each ended.

    python killed_runs.py files ARGUMENTS    killed right before the 2nd, 3rd, ... file gets its name, until one ends
    python killed_runs.py step ARGUMENTS     killed at the first step
"""

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402

from scail_model.files import atomic  # noqa: E402
from scail_model.headless import generate, terminal  # noqa: E402, F401
from scail_model.headless.cli import main  # noqa: E402
from tests.demo.faster import take_onednn  # noqa: E402

MOST = 40


def die(*_) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_at_file(count: int) -> None:
    rename, named = os.replace, []

    def replace(*paths):
        named.append(paths)
        if len(named) > count:
            die()
        rename(*paths)

    atomic.os.replace = replace


def ended(prepare, argv: list[str]) -> int:
    child = os.fork()
    if not child:
        torch.set_num_threads(1)
        take_onednn()
        prepare()
        os._exit(main(argv))
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    moment, argv = sys.argv[1], sys.argv[2:]
    ends = []
    if moment == "step":
        ends.append(ended(lambda: setattr(terminal.Terminal, "step", die), argv))
    else:
        # the job's own note is written again by each run, so another file has its name after each
        while len(ends) < MOST and (not ends or ends[-1] == -signal.SIGKILL):
            ends.append(ended(lambda: die_at_file(len(ends) + 1), argv))
    sys.stdout.write("ends " + " ".join(map(str, ends)) + "\n")
