"""README and docs keep to the code: commands parse, Python compiles, messages and links exist."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from compositing.masks import from_json
from l2a import cli

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md")), ROOT / "selector" / "model_card.md"]
ROOMS = ("l2a", "semantic_match", "compositing", "selector", "train")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    """Where each fenced block of these languages stands, and its text."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8").replace("{{ options }}", "--crop 56")
        for number, (language, block) in enumerate(FENCE.findall(text), 1):
            if language in languages:
                yield f"{page.relative_to(ROOT)}, block {number}", block


def commands() -> list[tuple[str, str]]:
    """Every `l2a ...` line of the blocks of shell commands, continued lines joined."""
    return [
        (place, line.strip())
        for place, block in blocks("", "sh", "console")
        for line in block.replace("\\\n", " ").splitlines()
        if re.match(r"\s*(\$ )?l2a\s+\w", line)
    ]


@pytest.fixture
def options(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Each command's help."""
    found = {}
    monkeypatch.setenv("COLUMNS", "200")
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        found[name] = capsys.readouterr().out
    return found


@pytest.mark.parametrize(("place", "line"), commands())
def test_commands_parse(
    place: str, line: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the real command line, up to the work itself."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("train.as_trained.read_pairs", lambda path: ([], {}))
    line = line.replace("ADVICE/advice.yaml", "configs/jhmdb-small.yaml")
    words = shlex.split(line.removeprefix("$ "), comments=True)[1:]
    if "COMMAND" in words:
        return
    done: list[Any] = []
    known = cli.COMMANDS.get(words[0])
    monkeypatch.setattr(cli.Command, "run", lambda command, arguments: done.append(arguments))
    assert cli.main(words) == 0, f"{place}: {capsys.readouterr().err}"
    assert len(done) == (known is not None)


def test_every_table_has_its_head() -> None:
    """A blank line within one cuts off rows, which are then shown as they are written."""
    for page in PAGES[:-1]:  # the last is a template
        text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
        for rows in re.findall(r"(?:^\|.*\n)+", text, flags=re.MULTILINE):
            assert re.search(r"^\|[ :|-]+\|$", rows, flags=re.MULTILINE), (
                f"{page.name}: {rows[:60]}"
            )


def test_commands_are_found() -> None:
    assert len(commands()) > 40
    assert {line.split()[1] for _, line in commands()} >= {"train", "select", "export", "preview"}


def test_options_named_in_the_text_exist(options: dict[str, str]) -> None:
    """`l2a COMMAND ... --option` in running text, and `--option` by itself."""
    known = {name: set(re.findall(r"--[a-z][\w-]*", text)) for name, text in options.items()}
    own = set().union(*known.values())
    others = set(re.findall(r"\"(--[a-z][\w-]*)\"", "".join(
        path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.py")
    )))  # fmt: skip
    for page in PAGES:
        for code in INLINE.findall(FENCE.sub("", page.read_text(encoding="utf-8"))):
            named = set(re.findall(r"(?<![\w-])--[a-z][\w-]*", code)) - {"--no-name", "--name"}
            called = re.match(r"l2a ([a-z-]+)\b", code)
            if called and called[1] in known:
                assert named <= known[called[1]], f"{page.name}: {code}"
            elif code.startswith(("--", "l2a")):
                assert named <= own | others | {"--version"}, f"{page.name}: {code}"


@pytest.mark.parametrize(("place", "block"), [*blocks("python")])
def test_python_compiles_and_its_imports_exist(place: str, block: str) -> None:
    for node in ast.walk(ast.parse(block, place)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] in ROOMS:
                    importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] in ROOMS:
            module = importlib.import_module(str(node.module))
            for alias in node.names:
                assert hasattr(module, alias.name), f"{place}: {node.module} has no {alias.name}"


def test_the_masks_of_the_cookbook_are_read() -> None:
    found = [json.loads(block) for _, block in blocks("json")]
    assert [[*from_json(document)] for document in found] == [["juggling/a.mp4"]]


def texts_of_the_code() -> list[str]:
    """Every string of the code; what an f-string fills in is a "\\0"."""
    found = []
    for room in ROOMS:
        for path in (ROOT / room).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    parts = [p.value if isinstance(p, ast.Constant) else "\0" for p in node.values]
                    found.append("".join(map(str, parts)))
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    found.append(node.value)
    return found


def test_messages_that_are_explained_are_said_by_the_code() -> None:
    rows = re.findall(
        r"^\| ((?!message|---).*?) \|", (DOCS / "troubleshooting.md").read_text("utf-8"), re.M
    )
    assert len(rows) > 20
    texts = texts_of_the_code()
    for row in rows:
        message = row.replace("&lt;", "<").replace("&gt;", ">")
        parts = [re.escape(part.strip()) for part in message.split("…") if part.strip()]
        pattern = re.compile(".*".join(parts), re.DOTALL)
        assert any(map(pattern.search, texts)), f"No message of the code says: {message}"


def test_files_that_the_readme_links_exist() -> None:
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_the_page_of_commands_names_every_option(options: dict[str, str]) -> None:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None and spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    page = reference.on_page_markdown((DOCS / "cli.md").read_text(encoding="utf-8"))
    for name, text in options.items():
        assert f"## `l2a {name}`" in page
        for option in re.findall(r"^  (--[a-z][\w-]*)", text, re.MULTILINE):
            assert option == "--config" or f"| `{option}` |" in page, f"l2a {name} {option}"


def test_every_module_has_its_place_in_the_reference() -> None:
    """A page of a whole room takes all its modules; those of l2a are listed one by one."""
    named = {
        name
        for page in (DOCS / "api").glob("*.md")
        for name in re.findall(r"^::: ([\w.]+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    }
    ground = {path.stem for path in (ROOT / "l2a").iterdir() if path.suffix in {"", ".py"}}
    ground -= {"__init__", "__main__", "__pycache__"}
    assert named == {*ROOMS[1:], *(f"l2a.{module}" for module in ground)}
