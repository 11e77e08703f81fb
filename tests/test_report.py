"""`l2a report`: what the page says against the run's own files, and pages of runs with gaps."""

from __future__ import annotations

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from banks import make_source
from tiny_run import train_tiny
from torch import nn

from l2a.cli import main
from l2a.media import read_frames
from l2a.networks import VideoNetwork, build_network
from l2a.pairs import read_pairs
from l2a.trunk import Trunk
from train.report import write_report
from train.report.activation import MODES, _heats, activation_maps, activations
from train.report.charts import arms_chart, curve_charts
from train.tracking import FIGURES, points_of

SECTIONS = (
    "ran", "accuracy", "confusion", "stage-one", "scores", "films", "worst", "maps", "matches",
    "left-out", "settings",
)  # fmt: skip
VOID = {"meta", "link", "br", "img", "path", "use", "rect"}


class Page(HTMLParser):
    """A page: its elements, and the text of each section and table row."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.sections: dict[str, str] = {}
        self.rows: list[list[str]] = []
        self._open: list[str] = []
        self._section = ""
        self.source = path.read_text()
        self.feed(self.source)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "section":
            self._section = str(dict(attrs)["id"])
            self.sections[self._section] = ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self._open.pop() == tag
        if tag == "section":
            self._section = ""

    def handle_data(self, data: str) -> None:
        if self._section:
            self.sections[self._section] += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data.replace("\xa0", " ")

    def row(self, first: str) -> list[str]:
        """The first row whose first cell says so, without it."""
        return next(row[1:] for row in self.rows if row and row[0] == first)

    def attributes(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("report"))


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    """The run, to take things out of."""
    return Path(shutil.copytree(run, tmp_path / "copy"))


@pytest.fixture(scope="module")
def page(run: Path) -> Page:
    return Page(run / "report.html")  # which `l2a train` wrote


def test_every_section_is_there_and_nothing_was_given_up(page: Page) -> None:
    assert tuple(page.sections) == SECTIONS
    for text in page.sections.values():
        assert "cannot be shown" not in text


def test_nothing_is_fetched(page: Page) -> None:
    for tag, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "poster", "action"):
            value = attributes.get(name) or ""
            assert value.startswith(("data:", "#")) or not value, f"{tag} {name}={value[:60]}"
    assert not re.search(r"@import|url\((?!#)|<script", page.source)
    policies = [m["content"] for m in page.attributes("meta")
                if m.get("http-equiv") == "Content-Security-Policy"]  # fmt: skip
    assert policies == [
        "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"
    ]


def test_the_numbers_are_those_of_the_runs_files(run: Path, page: Page) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    for arm, title in (("selector", "selected pairs"), ("none", "no composites"),
                       ("random", "random pairs")):  # fmt: skip
        result = metrics["arms"][arm]
        top1, sd, gain, repeats = page.row(title)
        assert top1 == f"{100 * result['top1_mean']:.1f} %"
        assert sd == f"{100 * result['top1_sd']:.1f}"
        assert repeats.split() == [f"{100 * one['top1']:.1f}" for one in result["repeats"]]
        change = result["top1_mean"] - metrics["arms"]["none"]["top1_mean"]
        assert gain == ("" if arm == "none" else f"{100 * change:+.1f}".replace("-", "−"))
    verdict = json.loads((run / "stage_one" / "verdict.json").read_text())["text"]
    assert verdict[1:] in page.sections["stage-one"]
    assert "18 train, 6 val, 6 test" in page.sections["ran"]
    assert page.row("selector_steps") == ["6"]


def test_classes_and_confusion_by_hand(copy: Path, tmp_path: Path) -> None:
    """Two classes of four clips; two repeats, which are averaged and summed."""

    def result(first: int, second: int) -> dict[str, Any]:
        confusion = [[first, 4 - first], [4 - second, second]]
        per_class = {"run_fast": first / 4, "<sit>": second / 4}
        top1 = (first + second) / 8
        return {"n": 8, "loss": 1, "top1": top1, "top5": 1, "per_class": per_class,
                "confusion": confusion}  # fmt: skip

    repeats = {
        "selector": [result(4, 1), result(3, 2)],
        "none": [result(1, 3), result(2, 3)],
        "selector+videomix": [result(0, 0), result(0, 0)],
    }
    arms = {name: {"repeats": results} for name, results in repeats.items()}
    content = {"classes": ["run_fast", "<sit>"], "test_clips": 8, "arms": arms}
    (copy / "metrics.json").write_text(json.dumps(content))
    page = Page(write_report(copy, tmp_path / "page.html"))
    # Top-1: 5/8 twice; 4/8 and 5/8, with the mean 9/16 and the standard deviation √(1/128).
    assert page.row("selected pairs") == ["62.5 %", "0.0", "+6.2", "62.5 62.5 "]
    assert page.row("no composites") == ["56.2 %", "8.8", "", "50.0 62.5 "]
    assert page.row("selected pairs + videomix")[2] == "−56.2"
    # The mean of 5/8, 9/16 and 0 is 19/48: √(19/48 · 29/48 / 8) = 0.1729.
    assert "±17.3 points" in page.sections["accuracy"]
    assert [row for row in page.rows if row and row[0] in ("run fast", "<sit>")][:4] == [
        ["run fast", "+50.0", "4", "87.5 %", "37.5 %", "0.0 %"],
        ["<sit>", "−37.5", "4", "37.5 %", "75.0 %", "0.0 %"],
        ["run fast", "7", "1"],
        ["<sit>", "5", "3"],
    ]
    assert page.rows[page.rows.index(["<sit>", "5", "3"]) + 2][:3] == ["<sit>", "run fast", "5"]


def test_the_pool_is_sampled_once_each_and_scored_as_the_chosen_are(run: Path, page: Page) -> None:
    chosen, meta = read_pairs(run / "pairs.parquet")
    sample, _ = read_pairs(run / "pool_sample.parquet")
    # A pool this small is sampled whole, so every chosen pair is in it, with its score.
    assert len(sample) == len({(p.foreground, p.background) for p in sample}) == meta["considered"]
    scores = {(p.foreground, p.background): p.logit for p in sample}
    for pair in chosen:
        assert scores[pair.foreground, pair.background] == pytest.approx(pair.logit, abs=1e-4)
    assert all(p.omega == pytest.approx(1 / (1 + np.exp(-p.logit))) for p in sample)
    assert f"ω ≥ {meta['threshold']:.4f}" in page.sections["scores"]
    above = np.mean([p.omega >= meta["threshold"] for p in sample])
    assert f"{100 * above:.1f}" in page.sections["scores"]


def test_films_show_the_best_and_the_worst_pairs(run: Path, page: Page, tmp_path: Path) -> None:
    chosen, _ = read_pairs(run / "pairs.parquet")
    sample, _ = read_pairs(run / "pool_sample.parquet")
    worst = min(sample, key=lambda pair: pair.logit)
    text = page.sections["films"]
    best, rest = text.split("The worst pairs")
    assert f"{chosen[0].foreground} on {chosen[0].background}" in best
    assert f"{worst.foreground} on {worst.background}" in rest
    videos = page.attributes("video")
    assert len(videos) == 20  # four each, and twelve videos that are worth least
    for video in videos:
        assert {"autoplay", "loop", "muted", "playsinline"} <= video.keys()
        assert video["aria-label"]
        path = tmp_path / "film.mp4"
        path.write_bytes(base64.b64decode(str(video["src"]).partition(",")[2]))
        film = read_frames(path)
        assert film.frames.shape == (12, int(video["height"] or 0), int(video["width"] or 0), 3)
        assert film.fps == pytest.approx(12)


def test_what_can_be_seen_can_be_heard(page: Page) -> None:
    assert all(picture["alt"] for picture in page.attributes("img"))
    charts = page.attributes("svg")
    assert len(charts) >= 5
    assert all(chart["role"] == "img" and chart["aria-label"] for chart in charts)
    assert all(cell["scope"] in ("col", "row") for cell in page.attributes("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


GAPS = {
    "nothing trained yet": (
        ["stage_one", "metrics.json", "matches.json", "pairs.parquet", "classifier.safetensors"],
        {
            "stage-one": "Stage one has not finished yet.",
            "accuracy": "Stage two has not finished yet.",
            "scores": "No pairs have been chosen yet.",
            "films": None,
            "maps": None,
            "matches": None,
        },
    ),
    "an older run": (
        ["pool_sample.parquet", "videos.parquet", "stage_one/curves.json", "stages.json"],
        {"scores": "was not sampled", "worst": None, "stage-one": "mislabelled", "ran": "Versions"},
    ),
    "a run that was tidied up": (
        ["layers", "bank"],
        {"films": "no longer exist", "maps": None, "accuracy": "top-1"},
    ),
}


@pytest.mark.parametrize("gap", GAPS)
def test_a_run_with_gaps_has_a_page(gap: str, copy: Path, tmp_path: Path) -> None:
    missing, expected = GAPS[gap]
    for name in missing:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = Page(write_report(copy, tmp_path / "page.html"))
    for section, sentence in expected.items():
        if sentence is None:
            assert section not in page.sections
        else:
            assert sentence in page.sections[section]
    assert {"ran", "settings", "left-out"} <= page.sections.keys()


def test_a_damaged_file_costs_its_section_alone(copy: Path, tmp_path: Path) -> None:
    (copy / "metrics.json").write_text("{")
    page = Page(write_report(copy, tmp_path / "page.html"))
    assert "metrics.json is not valid JSON" in page.sections["accuracy"]
    assert "mislabelled" in page.sections["stage-one"]


def test_without_the_data_set_all_else_is_shown(copy: Path, tmp_path: Path) -> None:
    record = copy / "run.yaml"
    record.write_text(record.read_text().replace("/data\n", "/gone\n"))
    page = Page(write_report(copy, tmp_path / "page.html"))
    for section in ("ran", "films", "maps"):
        assert "does not exist" in page.sections[section]
    assert "top-1" in page.sections["accuracy"]


def test_maps_are_drawn_where_the_runs_own_gpu_is_not(copy: Path, tmp_path: Path) -> None:
    record = copy / "run.yaml"
    record.write_text(record.read_text().replace("  device: auto\n", "  device: cuda:77\n"))
    page = Page(write_report(copy, tmp_path / "page.html"))
    assert page.row("device") == ["cuda:77"]
    assert "VideoMix" in page.sections["maps"]


def test_partners_come_nearest_first_and_only_some_of_them(copy: Path, tmp_path: Path) -> None:
    content = json.loads((copy / "matches.json").read_text())
    content["matches"] = [
        {"foreground": "run", "background": f"class_{n}", "similarity": n / 10} for n in range(10)
    ]
    (copy / "matches.json").write_text(json.dumps(content))
    page = Page(write_report(copy, tmp_path / "page.html"))
    nearest = [f"class {n} 0.{n}0" for n in range(9, 1, -1)]
    assert " ".join(page.row("run")[0].split()) == " ".join([*nearest, "and 2 more"])


def test_skipped_videos_are_listed_and_not_counted(copy: Path, tmp_path: Path) -> None:
    skipped = read_pairs(copy / "pairs.parquet")[0][0].foreground
    rows = [f"{skipped},broken: at 3 s\n", *(f"other{n},broken: at {n} s\n" for n in range(249))]
    (copy / "skipped.csv").write_text("video,reason\n" + "".join(rows))
    page = Page(write_report(copy, tmp_path / "page.html"))
    assert "17 train, 6 val, 6 test" in page.sections["ran"]
    assert [skipped, "broken: at 3 s"] in page.rows
    assert sum(row[-1].startswith("broken") for row in page.rows if row) == 200
    for part in ("250 skipped", "broken: 250", "50 more are in skipped.csv"):
        assert part in page.sections["left-out"]
    assert f"{skipped} on " not in page.sections["films"]


def test_names_from_the_data_are_text(copy: Path, tmp_path: Path) -> None:
    (copy / "skipped.csv").write_text('video,reason\n<script>alert(1)</script>,"is <b>broken"\n')
    page = Page(write_report(copy, tmp_path / "page.html"))
    assert "<script>alert(1)</script>" in page.sections["left-out"]
    assert not page.attributes("script")


def test_a_selection_is_reported_too(run: Path, tmp_path: Path) -> None:
    words = ["select", str(run.parent / "data"), "--config", str(run.parent / "small.yaml")]
    words += ["--selector", str(run / "selector"), "--out", str(tmp_path / "chosen")]
    assert main(words) == 0
    assert main(["report", str(tmp_path / "chosen"), "--out", str(tmp_path / "page.html")]) == 0
    page = Page(tmp_path / "page.html")
    assert {"ran", "scores", "films", "matches"} <= page.sections.keys()
    assert not {"accuracy", "confusion", "maps"} & page.sections.keys()
    assert "was trained before" in page.sections["stage-one"]
    assert len(page.attributes("video")) == 20


def test_random_pairs_and_a_single_repeat(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run.parent / "data", tmp_path / "data")
    out = train_tiny(tmp_path, selection="random", compare=False, repeats=1)
    page = Page(out / "report.html")
    assert "There was one repeat" in page.sections["accuracy"]
    assert "drawn at random" in page.sections["scores"]
    assert "ω" not in page.sections["films"]
    assert "stage-one" not in page.sections


def test_tensorboard_alone_tells_how_the_selector_learned(run: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = run / "stage_one" / "tensorboard"
    events = EventAccumulator(str(folder), {"tensors": 0, "scalars": 0, "histograms": 0}).Reload()
    curves = json.loads((run / "stage_one" / "curves.json").read_text())
    assert len(curves) == 6
    for figure in {name for row in curves for name in row}:
        tag, meaning = FIGURES[figure]
        expected = points_of(curves, figure)
        assert meaning
        assert [(e.step, pytest.approx(e.value)) for e in events.Scalars(tag)] == expected
    assert [e.step for e in events.Histograms("omega/of_512_pairs")] == list(range(6))
    words = {
        name: events.Tensors(f"selector/{name}/text_summary")[-1].tensor_proto.string_val[0]
        for name in ("verdict", "settings", "curves")
    }
    verdict = json.loads((run / "stage_one" / "verdict.json").read_text())["text"]
    assert words["verdict"].decode() == verdict
    assert "| selector_steps | 6 |" in words["settings"].decode()
    assert "| ranking/probe_auroc | " in words["curves"].decode()


def test_a_folder_that_is_no_run_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["report", str(tmp_path)]) == 2
    assert "is not a run folder" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_charts_are_coloured_by_the_page() -> None:
    charts = curve_charts([{"reward_mean": 0.0}, {"reward_mean": 0.5, "validation_loss": 1.0}])
    assert [chart.title for chart in charts] == ["validation loss, δ", "reward, mean and spread"]
    assert "reward mean 0.5" in charts[1].svg
    still = [{"reward_mean": 1e-8, "reward_sd": 1.0}, {"reward_mean": 0.0, "reward_sd": 1.0}]
    assert curve_charts(still) == []
    for chart in (*charts, arms_chart({"a <b>": [0.1, 0.3], "c": [0.2]})):
        assert not re.search(r":\s*#[0-9a-f]{6}\b", chart.svg)
        assert "var(--c1)" in chart.svg
        assert "<b>" not in chart.svg


@pytest.mark.parametrize("name", ["tiny3d", "r3d_18", "swin3d_t"])
def test_the_mean_of_a_map_is_its_logit(name: str) -> None:
    torch.manual_seed(0)
    network = build_network(name, 3).eval()
    clips = torch.randn(2, 3, 4, 32, 32)
    maps = activation_maps(network, clips)
    assert maps is not None
    assert maps.shape[:2] == (2, 3)
    with torch.inference_mode():
        logits = network(clips)
    torch.testing.assert_close(
        maps.mean(dim=(2, 3, 4)) + network.head.bias, logits, atol=1e-4, rtol=1e-3
    )


class Strongest(Trunk):
    """A trunk that pools by the maximum."""

    def pool(self, features: torch.Tensor) -> torch.Tensor:
        return features.amax(dim=(2, 3, 4))

    def _features(self, clips: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.get_submodule("0")(clips)
        return features


def strongest(num_classes: int) -> VideoNetwork:
    return VideoNetwork(
        "strongest", Strongest(nn.Sequential(nn.Conv3d(3, 3, 1)), 3), num_classes
    ).eval()


def test_a_trunk_that_pools_otherwise_has_no_map() -> None:
    assert activation_maps(strongest(2), torch.randn(1, 3, 4, 32, 32)) is None


def test_clips_of_one_class_and_a_network_without_maps_are_told_apart(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank")
    rows = np.arange(len(source.labels))
    network = build_network("tiny3d", source.num_classes).eval()
    found = activations(network, source, rows, seed=0)
    assert found is not None and [one.mode for one in found] == list(MODES)
    assert activations(network, source, rows[source.labels == 0], seed=0) == []
    assert activations(strongest(3), source, rows, seed=0) is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_maps_are_drawn_by_a_network_on_a_gpu(tmp_path: Path) -> None:
    source = make_source(tmp_path / "bank")
    network = build_network("tiny3d", source.num_classes).eval().to("cuda")
    found = activations(network, source, np.arange(len(source.labels)), seed=0)
    assert found is not None and len(found) == len(MODES)


def test_both_maps_of_a_clip_are_on_one_scale() -> None:
    maps = torch.tensor([[2.0, -1.0], [1.0, 4.0]]).reshape(2, 1, 1, 2)
    assert _heats(maps).reshape(2, 2).tolist() == [[0.5, 0.0], [0.25, 1.0]]
    assert not _heats(-maps.abs()).any()
