"""Tables 3 and 4 made on tiny data, by the commands themselves: minutes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_few_shot_commands import CLASSES
from test_few_shot_commands import SMALL as SMALL_FEW_SHOT
from tiny_data import CLASSES as THREE
from tiny_data import write_tiny
from tiny_run import SMALL

from l2a.cli import main

pytestmark = pytest.mark.slow


def started(folder: Path, table: str, capsys: pytest.CaptureFixture[str]) -> tuple[Any, str]:
    """Start a table with the presets in folder/presets; gives its JSON and what was said."""
    words = ["paper", table, "--data-root", str(folder), "--out", str(folder / "out")]
    assert main([*words, "--seeds", "0", "--presets", str(folder / "presets"), "--start"]) == 0
    text = capsys.readouterr()
    made = json.loads((folder / f"out/table-{table}/table.json").read_text())
    return made, text.out + text.err


def test_table_three_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(tmp_path / "ucf101", train_groups=3)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists/ucf101_train_50_percent_labeled_split_1_rawframes.txt").write_text("".join(
        f"{name}/v_{name}_g{group:02}_c{clip:02} 12 {label}\n"
        for label, name in enumerate(THREE) for group in (1, 2) for clip in (1, 2)
    ))  # fmt: skip
    (tmp_path / "presets").mkdir()
    settings = SMALL | {"compare": False, "repeats": 1, "setting": "semi-supervised",
                        "pseudo_threshold": 0.3, "num_frames": 2, "probe": 0,
                        "selector_steps": 2}  # fmt: skip
    (tmp_path / "presets/semi-ucf101.yaml").write_text(yaml.safe_dump(settings))
    made, said = started(tmp_path, "3", capsys)
    assert "command 1 of 1" in said
    cells = {(cell["row"], cell["column"]): cell for cell in made["groups"][0]["cells"]}
    for (row, column), cell in cells.items():
        there = column == "50 %" and row != "L2A + pre-training"
        assert (cell["mean"] is not None) == there, (row, column)
    metrics = json.loads(
        (tmp_path / "out/table-3/ucf101/50-percent/seed-0/metrics.json").read_text()
    )
    assert cells["L2A", "50 %"]["values"] == [100 * metrics["arms"]["selector"]["top1_mean"]]
    before = (tmp_path / "out/table-3/table.md").read_bytes()
    made, said = started(tmp_path, "3", capsys)
    assert "command 1 of" not in said
    assert (tmp_path / "out/table-3/table.md").read_bytes() == before


def test_table_four_is_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tiny(tmp_path / "hmdb51", CLASSES, train_groups=2)
    (tmp_path / "lists").mkdir()
    split = {"base": CLASSES[:2], "validation": CLASSES[2:4], "novel": CLASSES[4:]}
    (tmp_path / "lists/hmdb51-T.yaml").write_text(
        yaml.safe_dump({side: list(names) for side, names in split.items()})
    )
    (tmp_path / "presets").mkdir()
    drawn = ("validation_classes", "novel_classes")  # which the list says here
    settings = {name: value for name, value in SMALL_FEW_SHOT.items() if name not in drawn}
    settings |= {"compare": True, "train_episodes": 4, "train_queries": 1, "episodes_per_step": 1,
                 "validate_every": 2, "trx_dim": 8, "episodes": 10}  # fmt: skip
    for name, own in (
        ("c3d-pn", {"method": "prototype"}), ("arn", {"method": "arn", "num_frames": 16}),
        ("trx", {"method": "trx", "network": "tsn_resnet18", "trx_cardinalities": 2}),
    ):  # fmt: skip
        path = tmp_path / f"presets/few-shot-{name}.yaml"
        path.write_text(yaml.safe_dump(settings | own))
    made, said = started(tmp_path, "4", capsys)
    assert "command 6 of 6" in said
    group = next(one for one in made["groups"] if one["title"].startswith("HMDB51, few shots, spl"))
    assert group["title"].endswith("split S (the split of ARN)")
    truze = made["groups"][3]
    assert {cell["column"] for cell in truze["cells"]} == {"1 shot", "2 shots"}
    assert len([cell for cell in truze["cells"] if cell["mean"] is not None]) == 12
    run = tmp_path / "out/table-4/hmdb51-T/trx/seed-0/evaluation"
    said_there = json.loads((run / "metrics.json").read_text())["accuracy"]["selector"]["2"]["mean"]
    cell = next(c for c in truze["cells"] if (c["row"], c["column"]) == ("TRX + L2A", "2 shots"))
    assert cell["values"] == [pytest.approx(100 * said_there, abs=1e-4)]
    _, said = started(tmp_path, "4", capsys)
    assert "command 1 of" not in said
