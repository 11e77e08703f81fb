"""What is released: versions that agree, weights with their hashes, no network, whole packages."""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

import l2a
from compositing.inpainters import lama
from l2a.files import file_sha256
from l2a.image_networks import LITE_SHA256

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("l2a", "semantic_match", "compositing", "selector", "train")


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def shipped() -> set[str]:
    """Every file of the packages, as git would have it: code, and what lies beside it."""
    return {
        path.relative_to(ROOT).as_posix()
        for room in ROOMS
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_version_is_the_same_everywhere(project: dict[str, Any]) -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert l2a.__version__ == project["project"]["version"] == cited["version"]


def test_every_package_is_listed(project: dict[str, Any]) -> None:
    there = {Path(name).parent.as_posix().replace("/", ".") for name in shipped()
             if name.endswith("/__init__.py")}  # fmt: skip
    assert set(project["tool"]["setuptools"]["packages"]) == there


def test_declared_pythons_are_those_that_the_page_calls_tested(project: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "installation.md").read_text()
    tested = re.findall(r"^\| (3\.\d+) \| tested", page, re.MULTILINE)
    declared = [
        line.rsplit(" ", 1)[1] for line in project["project"]["classifiers"]
        if re.search(r":: 3\.\d+$", line)
    ]  # fmt: skip
    assert declared == tested != []


# Weights.


def test_weights_in_the_table_are_those_in_the_code() -> None:
    from torchvision.models import get_model_weights

    from compositing.segmenters.mask_rcnn import WEIGHTS
    from l2a.networks import NETWORKS

    table = (ROOT / "docs" / "weights.md").read_text()
    known = [WEIGHTS]
    for name in NETWORKS:
        kind = "IMAGENET1K_V1" if name.startswith("tsn_") else "KINETICS400_V1"
        try:
            known.append(get_model_weights(name.removeprefix("tsn_"))[kind])
        except (ValueError, KeyError):
            continue  # not of torchvision
    files = {weights.url.rsplit("/", 1)[1] for weights in known}
    assert set(re.findall(r"^\| `([\w-]+-[0-9a-f]{8}\.pth)` \|", table, re.MULTILINE)) == files
    for file, begins in re.findall(r"`[\w-]+-([0-9a-f]{8})\.pth`.*begins with `(\w+)`", table):
        assert file == begins
    assert f"MD5 `{lama.MD5}`" in table
    assert f"SHA-256 `{LITE_SHA256}`" in table
    bundled = ROOT / "semantic_match" / "static_embedding" / "model.safetensors"
    assert f"SHA-256 `{file_sha256(bundled)}`" in table


def test_weights_of_every_teacher_are_in_the_table() -> None:
    from torchvision import models

    table = (ROOT / "docs" / "weights.md").read_text().partition("## Teachers")[2]
    found = dict(re.findall(r"^\| `([\w-]+)` \| `([\w.-]+-[0-9a-f]{8,10}\.pth)` \|", table, re.M))
    assert found == {
        name: models.get_model_weights(name).DEFAULT.url.rsplit("/", 1)[1]
        for name in models.list_models(module=models)
    }


def test_nothing_else_loads_weights_by_itself() -> None:
    """Who calls what fetches or checks a file: where that grows, the table must."""
    fetching = {"torchvision_state", "find_file", "package_state", "download_url_to_file",
                "load_state_dict_from_url", "hf_hub_download", "snapshot_download",
                "urlretrieve", "urlopen"}  # fmt: skip
    callers: dict[str, set[str]] = {}
    for name in sorted(name for name in shipped() if name.endswith(".py")):
        for node in ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                called = getattr(node.func, "attr", getattr(node.func, "id", ""))
                if called in fetching:
                    callers.setdefault(called, set()).add(name)
    assert callers == {
        "torchvision_state": {"compositing/segmenters/mask_rcnn.py", "l2a/image_classifiers.py",
                              "l2a/image_networks.py", "l2a/networks.py"},
        "find_file": {"compositing/inpainters/lama.py"},
        "package_state": {"l2a/image_networks.py"},
        "download_url_to_file": {"l2a/weights.py"},
        "snapshot_download": {"selector/hub.py"},
    }  # fmt: skip


_WATCHED = """
import sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "urllib.Request"):
        print("NETWORK", event, arguments[-1], flush=True)
sys.addaudithook(watch)
import importlib
for name in sys.argv[1:]:
    importlib.import_module(name)
print("imported", len(sys.argv) - 1)
import socket
try:
    socket.getaddrinfo("localhost", 1)
finally:
    print("end")
"""


def test_importing_opens_no_connection() -> None:
    """Every module; the hook is seen to work in the end."""
    names = sorted(
        name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in shipped() if name.endswith(".py")
    )  # fmt: skip
    assert len(names) > 200
    done = subprocess.run(
        [sys.executable, "-c", _WATCHED, *names], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, check=True, timeout=300,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == f"imported {len(names)}"
    assert lines[1].startswith("NETWORK socket.getaddrinfo")
    assert lines[2:] == ["end"]


# Packages.


@pytest.mark.slow
def test_wheel_and_sdist_hold_all_that_is_needed_and_nothing_else(tmp_path: Path) -> None:
    """Built from a copy; the wheel that the sdist makes is the same; it runs from elsewhere."""
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    wheel, sdist = build(source, tmp_path / "first")
    assert files_of(wheel) == shipped()
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    again, _ = build(unpacked, tmp_path / "second")
    assert files_of(again) == shipped()
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(place)
    code = "import l2a, sys; print(l2a.__file__); from l2a.cli import main; sys.exit(main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "ablate", "--help"], cwd=tmp_path, text=True,
        env=os.environ | {"PYTHONPATH": str(place)}, capture_output=True, check=True, timeout=300,
    )  # fmt: skip
    assert done.stdout.startswith(str(place))
    assert "--table" in done.stdout


def build(source: Path, out: Path) -> tuple[Path, Path]:
    """The wheel and the sdist of a source tree, without a network."""
    out.mkdir()
    code = (
        "import setuptools.build_meta as backend, sys; out = sys.argv[1];"
        "backend.build_wheel(out); backend.build_sdist(out)"
    )
    subprocess.run(
        [sys.executable, "-c", code, str(out)], cwd=source, check=True, capture_output=True,
        timeout=300,
    )  # fmt: skip
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


def files_of(wheel: Path) -> set[str]:
    """What it installs, without its own record."""
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def test_the_container_copies_what_the_package_is_made_of() -> None:
    text = (ROOT / "Dockerfile").read_text()
    copied = re.findall(r"^COPY (\w+) \1$", text, re.MULTILINE)
    assert tuple(copied) == ROOMS
