"""The structure that docs/design.md promises, read from the code's own imports."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from train.command_table import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("l2a", "semantic_match", "compositing", "selector", "train")
MAY_IMPORT = {
    "l2a": {"l2a"},
    "semantic_match": {"l2a", "semantic_match"},
    "compositing": {"l2a", "compositing"},
    "selector": {"l2a", "selector"},
    "train": set(ROOMS),
}
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imported_rooms(path: Path) -> set[str]:
    """The rooms that a module imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names & set(ROOMS)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    if path == ROOT / "l2a" / "cli.py":
        return  # the front door imports every room
    assert imported_rooms(path) <= MAY_IMPORT[room]


def test_every_command_has_its_module() -> None:
    for command in COMMANDS.values():
        text = (ROOT / "train" / "commands" / f"{command.module}.py").read_text(encoding="utf-8")
        names = [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)]
        assert "run" in names, command.module


def test_every_package_is_declared_and_tests_are_not() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    present = {str(p.parent.relative_to(ROOT)).replace("/", ".") for p in MODULES}
    assert set(declared["packages"]) == present


def test_a_users_own_train_py_does_not_break_the_import(tmp_path: Path) -> None:
    (tmp_path / "train.py").write_text("raise SystemExit('the wrong train was imported')\n")
    (tmp_path / "selector.py").write_text("raise SystemExit('the wrong selector was imported')\n")
    script = tmp_path / "script.py"
    script.write_text("import l2a, l2a.videos, l2a.media, l2a.clips, compositing\nprint('fine')\n")
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "fine"), done.stderr


def test_the_command_line_answers_without_torch() -> None:
    code = "import sys, l2a.cli; l2a.cli.main(['train', '--help'])"
    check = f"try:\n    {code}\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--selector-steps" in done.stdout
