"""The structure that docs/design.md promises, read from the code's own imports."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Mapping
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


def imports_of(path: Path, modules: Mapping[str, Path]) -> set[str]:
    """The modules of ours that a module imports anywhere, inside functions too; what only a type
    checker imports is left out."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(path.read_text(encoding="utf-8"))]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting += node.orelse
            continue
        waiting += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                # It is a module of the package, or stands in the package itself.
                name = f"{node.module}.{alias.name}"
                found.add(name if name in modules else node.module)
    return found & modules.keys()


def test_no_modules_import_each_other() -> None:
    """Nor do they in a longer circle. What a package imports itself is its own: that Python runs a
    package before a module of it makes no circle."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in MODULES
    }
    left = {name: imports_of(path, modules) - {name} for name, path in modules.items()}
    # What imports nothing that is left is in no circle; nor is what nothing that is left imports.
    while lone := [name for name, own in left.items() if not own] or [
        name for name in left if not any(name in own for own in left.values())
    ]:
        left = {name: own - {*lone} for name, own in left.items() if name not in lone}
    assert left == {}


def test_imports_are_found_in_functions_and_not_those_of_type_checkers(tmp_path: Path) -> None:
    path = tmp_path / "module.py"
    path.write_text(
        "from typing import TYPE_CHECKING\nimport a.b\nfrom a import c, D\n"
        "if TYPE_CHECKING:\n    import a.e\nelse:\n    import a.f\n"
        "def g():\n    from a.h import I\n"
    )
    modules = dict.fromkeys(("a", "a.b", "a.c", "a.e", "a.f", "a.h"), path)
    assert imports_of(path, modules) == {"a", "a.b", "a.c", "a.f", "a.h"}


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
