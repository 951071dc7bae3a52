"""A ComfyUI that ends with the process that has started it, however that one ends.

Run by ComfyUI's own Python, with the standard library alone: `python launcher.py MAIN.PY ARGUMENTS...`. Its standard
input is a pipe that only the parent holds. The system closes the pipe of a parent that was killed too, and at the
pipe's end this process leaves at once.
"""

from __future__ import annotations

import os
import runpy
import sys
import threading


def _leave_with_parent() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    main = sys.argv[1]
    sys.argv[:] = sys.argv[1:]
    sys.path[0] = os.path.dirname(main)  # as if it had been run itself
    runpy.run_path(main, run_name="__main__")
