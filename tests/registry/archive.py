"""What ComfyUI's registry gets of the pack.

    python tests/registry/archive.py build FILE.zip    the archive, as `comfy node publish` packs it
    python tests/registry/archive.py publish           the same, uploaded; refused while addresses stand for others

Publishing needs comfy-cli and a token of the publisher in REGISTRY_ACCESS_TOKEN.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

from comfy_cli.file_utils import zip_files

PACK = Path(__file__).parents[2]


def build(target: Path) -> None:
    """Write the archive of the tracked files that .comfyignore leaves."""
    target = target.absolute()
    with contextlib.chdir(PACK):
        zip_files(str(target))


def unready(project: str, changelog: str) -> list[str]:
    """What keeps a pyproject.toml and a changelog from being published, in sentences."""
    version = re.search(r'^version = "(.+)"', project, re.MULTILINE)[1]
    wrong = [f'{line.strip()} stands for what is not known yet: put the real one into pyproject.toml.'
             for line in project.splitlines() if re.search(r'= "(https://example\.com|example-)', line)]
    if not re.search(rf"^## \[{re.escape(version)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE):
        wrong.append(f"CHANGELOG.md has no date for {version}: write it as ## [{version}] - 2026-01-31.")
    return wrong


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["build"] and len(arguments) == 2:
        build(Path(arguments[1]))
        return 0
    if arguments != ["publish"]:
        sys.stderr.write(__doc__)
        return 2
    wrong = unready((PACK / "pyproject.toml").read_text(encoding="utf-8"),
                    (PACK / "CHANGELOG.md").read_text(encoding="utf-8"))
    if not os.environ.get("REGISTRY_ACCESS_TOKEN"):
        wrong.append("There is no token of the publisher: set REGISTRY_ACCESS_TOKEN in the environment.")
    if wrong:
        sys.stderr.write("\n".join(["Nothing is published:", *wrong, ""]))
        return 1
    command = [Path(sys.executable).with_name("comfy"), "node", "publish"]
    return subprocess.run(command, cwd=PACK, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
