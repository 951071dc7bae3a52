"""What ComfyUI's registry gets: the nodes and all they need, and nothing that runs programs, opens connections or holds
keys. Its scanner hides versions in which it finds such."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from tests.registry.archive import PACK, build, unready

FORBIDDEN = {"subprocess", "requests", "urllib.request", "urllib3", "http", "http.client", "httpx", "httpx2",
             "websocket", "websockets", "socket", "ssl", "smtplib", "ftplib", "telnetlib", "xmlrpc", "paramiko",
             "openai", "google", "google.genai", "anthropic", "ray", "multiprocessing", "pty", "pip", "ensurepip",
             "ctypes"}
NAMES = {"eval", "exec", "compile", "__import__"}  # called by themselves: a module's eval() is another thing
OF_OS = {"system", "popen", "fork", "forkpty", "startfile", "execv", "execve", "execvp", "spawnv", "spawnve",
         "posix_spawn"}
METHODS = {"ClientSession", "urlopen", "urlretrieve", "create_subprocess_exec", "create_subprocess_shell",
           "download_url_to_file", "load_state_dict_from_url"}
TEXTS = {
    "a program": r"\bsubprocess\b|\bos\.(system|popen|exec\w*|spawn\w*)\b|\bshell\s*=\s*True\b",
    "a connection": r"\b(requests|httpx|urllib\.request|urllib3|http\.client)\b|\bClientSession\b",
    "a key": r"\bsk-\w{16,}|\bAIza[\w-]{30,}|\bhf_\w{20,}|\bgh[pousr]_\w{20,}|\bAKIA\w{16}\b"
             r"|-----BEGIN [A-Z ]*PRIVATE KEY"
             r"|(api[_-]?key|secret|password|access[_-]?token)[\"']?\s*[:=]\s*[\"'][^\"'\s]{8,}",
    "something packed": r"[\"'][A-Za-z0-9+/]{400,}={0,2}[\"']|\bb64decode\b|\bmarshal\.loads\b",
}
LARGEST = 8 * 2**20  # bytes


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """Path in the archive -> content."""
    path = tmp_path_factory.mktemp("archive") / "node.zip"
    build(path)
    assert path.stat().st_size < LARGEST
    with zipfile.ZipFile(path) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


@pytest.fixture(scope="module")
def trees(archive):
    return {name: ast.parse(content) for name, content in archive.items() if name.endswith(".py")}


def test_what_users_need_is_in_it_and_nothing_else(archive):
    tops = {name.split("/")[0] for name in archive}
    assert tops == {"__init__.py", "nodes", "scail_model", "js", "workflows", "docs", "pyproject.toml",
                    "requirements.txt", "README.md", "LICENSE", "CHANGELOG.md"}
    assert not any(name.startswith(("scail_model/headless/", "scail_model/batch/")) for name in archive)
    tracked = subprocess.run(["git", "ls-files", "js", "workflows", "nodes", "docs"], cwd=PACK, capture_output=True,
                             text=True, check=True).stdout.split("\n")[:-1]
    assert [name for name in tracked if name not in archive] == []
    assert {"scail_model/prompting/examples_animation.txt", "js/docs/SCAIL2WritePrompt.jpg"} <= archive.keys()


def test_nothing_is_imported_that_runs_programs_or_connects(trees):
    found = [(name, module) for name, tree in trees.items() for node in ast.walk(tree) for module in imported(node)
             if module in FORBIDDEN]
    assert found == []


def test_nothing_is_called_that_runs_text_or_programs(trees):
    assert [(name, node.lineno, node.func) for name, tree in trees.items() for node in ast.walk(tree)
            if isinstance(node, ast.Call) and runs_or_connects(node.func)] == []


@pytest.mark.parametrize("kind", TEXTS)
def test_no_text_looks_like(kind, archive):
    texts = {name: content.decode() for name, content in archive.items()
             if name.endswith((".py", ".js", ".mjs", ".json", ".toml"))}
    assert [(name, found[0][:60]) for name, text in texts.items()
            for found in re.finditer(TEXTS[kind], text, re.IGNORECASE)] == []


def test_the_page_asks_its_own_server_alone(archive):
    scripts = {name: content.decode() for name, content in archive.items() if name.endswith((".js", ".mjs"))}
    asked = r"\b(?:fetch|WebSocket|EventSource|XMLHttpRequest|importScripts|sendBeacon)\s*\(\s*[\"'`]?(?:https?|wss?):"
    assert [(name, found[0]) for name, text in scripts.items() for found in re.finditer(asked, text)] == []


def test_what_is_imported_of_the_pack_is_in_it(archive, trees):
    missing = []
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = Path(name).parents[node.level - 1]
                target = base / (node.module or "").replace(".", "/")
                if not {f"{target}.py", f"{target}/__init__.py"} & archive.keys() and node.module:
                    missing.append((name, node.module))
                missing += [(name, alias.name) for alias in node.names if not node.module and not (
                    {f"{target}/{alias.name}.py", f"{target}/{alias.name}/__init__.py"} & archive.keys())]
    assert missing == []


def test_the_tests_see_what_is_forbidden():
    tree = ast.parse("import os, urllib.request\nfrom google import genai\nos.system('x')\nre.compile('x')\n")
    nodes = list(ast.walk(tree))
    assert {module for node in nodes for module in imported(node)} & FORBIDDEN == {"urllib.request", "google",
                                                                                   "google.genai"}
    assert [runs_or_connects(node.func) for node in nodes if isinstance(node, ast.Call)] == [True, False]
    assert re.search(TEXTS["a key"], 'api_key = "abcdefgh1234"')


def test_pictures_have_the_registrys_sizes():
    with Image.open(PACK / "docs/pictures/icon.png") as icon, Image.open(PACK / "docs/pictures/banner.jpg") as banner:
        assert icon.width == icon.height <= 400
        assert banner.width * 9 == banner.height * 21
    assert all((PACK / f"docs/pictures/{name}").stat().st_size < 100_000 for name in ("icon.png", "banner.jpg"))


PROJECT = 'version = "1.0.0"\nRepository = "https://code.org/me/scail2"\nPublisherId = "me"\n'


@pytest.mark.parametrize(("project", "changelog", "wrong"), [
    (PROJECT, "## [1.0.0] - 2026-12-01\n", []),
    (PROJECT, "## [1.0.0] - unreleased\n", ["CHANGELOG.md has no date for 1.0.0"]),
    (PROJECT.replace("code.org/me", "example.com"), "## [1.0.0] - 2026-12-01\n", ['Repository = "https://example.com']),
    (PROJECT.replace('"me"', '"example-publisher"'), "## [1.0.0] - 2026-12-01\n", ['PublisherId = "example-']),
])
def test_nothing_is_published_under_names_that_stand_for_others(project, changelog, wrong):
    found = unready(project, changelog)
    assert len(found) == len(wrong)
    assert all(sentence.startswith(beginning) for sentence, beginning in zip(found, wrong, strict=True))


def test_this_pack_is_built_but_not_published_as_it_is():
    answer = subprocess.run([sys.executable, "tests/registry/archive.py", "publish"], cwd=PACK, capture_output=True,
                            text=True, check=False)
    assert answer.returncode == 1
    assert answer.stderr.startswith("Nothing is published:\n")
    assert "stands for what is not known yet: put the real one into pyproject.toml." in answer.stderr


def imported(node: ast.AST) -> list[str]:
    """The modules of an import, and the names in them that may be modules."""
    if isinstance(node, ast.Import):
        return [part for alias in node.names for part in (alias.name, alias.name.split(".")[0])]
    if isinstance(node, ast.ImportFrom) and not node.level and node.module:
        return [node.module, node.module.split(".")[0], *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def runs_or_connects(function: ast.expr) -> bool:
    if isinstance(function, ast.Name):
        return function.id in NAMES | METHODS
    if not isinstance(function, ast.Attribute):
        return False
    of_os = isinstance(function.value, ast.Name) and function.value.id == "os"
    return function.attr in METHODS or of_os and function.attr in OF_OS
