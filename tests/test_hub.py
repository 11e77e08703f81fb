"""A Selector by its path or its name on the Hub. No network: a folder here is the Hub's answer."""

from __future__ import annotations

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
import yaml
from huggingface_hub import errors
from markdown_it import MarkdownIt

from l2a.errors import InputError, L2AError
from l2a.networks import build_trunk
from selector.card import SelectorCard
from selector.checkpoint import (
    CARD_NAME,
    README_NAME,
    WEIGHTS_NAME,
    load_selector,
    save_selector,
)
from selector.hub import TrainedSelector, find_selector
from selector.model_card import curves_of, model_card
from selector.network import SelectorConfig, new_selector


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[dict[str, Any]]:
    """What the Hub was asked for; it answers with a folder that holds a Selector's two files."""
    found: list[dict[str, Any]] = []
    cache = tmp_path / "cache"
    cache.mkdir()
    for name in (WEIGHTS_NAME, CARD_NAME):
        (cache / name).touch()

    def answer(name: str, **asked: Any) -> str:
        found.append({"name": name, **asked})
        return str(cache)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", answer)
    return found


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail(name: str, **asked: Any) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)


def test_a_path_wins_over_a_repository_of_the_same_name(
    asked: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "user" / "name").mkdir(parents=True)
    assert find_selector("user/name") == Path("user/name")
    assert not asked


@pytest.mark.parametrize(
    ("given", "name", "revision"),
    [
        ("user/name", "user/name", None),
        ("user/my.name_2@v1.0", "user/my.name_2", "v1.0"),
        ("user/name@refs/pr/1", "user/name", "refs/pr/1"),
    ],
)
def test_of_a_repository_only_the_two_files_are_fetched(
    given: str, name: str, revision: str | None, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    assert find_selector(given) == tmp_path / "cache"
    files = [WEIGHTS_NAME, CARD_NAME]
    assert asked == [{"name": name, "revision": revision, "allow_patterns": files}]


@pytest.mark.parametrize(
    "given", ["gone", "/no/such", "a/b/c", "user/name@", "@v1", "user/na me", "../up", "C:\\x/y"]
)
def test_what_is_neither_path_nor_name_is_refused(
    given: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Hub is not asked, but for its own rules for names."""

    def fail(name: str, **asked: Any) -> str:
        huggingface_hub.utils.validate_repo_id(name)
        raise AssertionError(f"The Hub was asked for {name}.")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    with pytest.raises(InputError, match="neither a folder here nor the name") as stop:
        find_selector(given)
    assert f"The Selector {given} is" in str(stop.value)


@pytest.mark.parametrize("missing", [WEIGHTS_NAME, CARD_NAME])
def test_a_repository_without_a_selector_is_refused(
    missing: str, asked: list[dict[str, Any]], tmp_path: Path
) -> None:
    (tmp_path / "cache" / missing).unlink()
    with pytest.raises(InputError, match=f"user/name.* holds no Selector: {missing} is not in it"):
        find_selector("user/name")


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        (errors.RepositoryNotFoundError, "no folder user/name here, .* no repository of that name"),
        (errors.GatedRepoError, "request access"),
        (errors.RevisionNotFoundError, "user/name on the Hugging Face Hub has no revision v9"),
        (errors.LocalEntryNotFoundError, "no folder user/name here, .* cannot be reached"),
        (errors.IncompleteSnapshotError, "cannot be reached"),
    ],
)
def test_what_the_hub_does_not_give_is_said_with_the_remedy(
    kind: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, kind.__new__(kind))  # made without the answer that it would carry
    with pytest.raises(InputError, match=sentence):
        find_selector("user/name@v9")


@pytest.mark.parametrize("kind", [OSError, errors.HfHubHTTPError.__bases__[0]])
def test_a_transfer_that_breaks_off_is_no_mistake_of_the_user(
    kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    failing(monkeypatch, kind("cut off"))
    with pytest.raises(L2AError, match=r"user/name could not be fetched .*\(cut off\)") as stop:
        find_selector("user/name")
    assert not isinstance(stop.value, InputError)


# The whole Selector: from the Hub, to a folder, to the Hub.

CONFIG = SelectorConfig(feature_dim=128, label_dim=3, hidden=(16, 8))
CARD = SelectorCard(
    CONFIG, "tiny3d", "random", False, "static@0123", num_frames=4, height=32, width=40, crop=28,
    classes=("clap", "jump|run", "wave"), reward="credit", steps=500, seed=7,
    verdict="ranking settled at step 50", probe_auroc=0.834, finetuned_from=("golf", "throw"),
    data="my-clips", videos=(12, 30, 0),
    curves={"reward_mean": (0.25, -0.125), "validation_loss": (2.0, 1.5)},
)  # fmt: skip


@pytest.fixture
def trained() -> TrainedSelector:
    trunk = build_trunk("tiny3d")
    return TrainedSelector(new_selector(CONFIG, 3), trunk, CARD)


def scores(trained: TrainedSelector) -> torch.Tensor:
    """Of five pairs, clips and labels drawn with a fixed seed."""
    draw = torch.Generator().manual_seed(0)
    assert trained.trunk is not None
    features = trained.trunk.eval()(torch.rand(10, 3, 4, 28, 28, generator=draw))
    labels = torch.randn(10, 3, generator=draw)
    return trained.selector(features[:5], features[5:], labels[:5], labels[5:])


def test_a_folder_holds_all_of_a_selector_and_gives_the_same_scores(
    trained: TrainedSelector, tmp_path: Path
) -> None:
    trained.save_pretrained(tmp_path / "saved")
    files = {WEIGHTS_NAME, CARD_NAME, README_NAME}
    assert {path.name for path in (tmp_path / "saved").iterdir()} == files
    again = TrainedSelector.from_pretrained(tmp_path / "saved")
    assert again.card == CARD
    assert torch.equal(scores(again), scores(trained))
    assert load_selector(find_selector(str(tmp_path / "saved"))).card == CARD  # as --selector does
    save_selector(tmp_path / "run", trained.selector, trained.trunk, CARD)  # as `l2a train` does
    for name in files:
        ours, runs = tmp_path / "saved" / name, tmp_path / "run" / name
        assert ours.read_bytes() == runs.read_bytes()


def test_what_is_fetched_is_what_was_asked_for(
    asked: list[dict[str, Any]], trained: TrainedSelector, tmp_path: Path
) -> None:
    trained.save_pretrained(tmp_path / "cache")
    found = TrainedSelector.from_pretrained("user/name", revision="v1", local_files_only=True)
    assert found.card == CARD
    assert (asked[0]["name"], asked[0]["revision"]) == ("user/name", "v1")
    assert asked[0]["local_files_only"] is True
    again = TrainedSelector.from_pretrained(tmp_path / "cache", revision="v1")  # a folder wins
    assert again.card == CARD and len(asked) == 1


def test_a_wrong_folder_and_a_wrong_argument_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"no file .*{WEIGHTS_NAME}; give the folder"):
        TrainedSelector.from_pretrained(tmp_path)
    with pytest.raises(InputError, match="neither a folder here nor the name"):
        TrainedSelector.from_pretrained(tmp_path / "gone")
    with pytest.raises(TypeError, match="takes no map_location"):
        TrainedSelector.from_pretrained(tmp_path, map_location="cpu")


def test_a_folder_is_uploaded_whole(
    trained: TrainedSelector, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, Any]] = []

    def create_repo(api: object, repo_id: str, **asked: Any) -> Any:
        calls.append(("create", repo_id))
        return SimpleNamespace(repo_id=repo_id)

    def upload_folder(api: object, repo_id: str, folder_path: Path, **asked: Any) -> str:
        assert TrainedSelector.from_pretrained(folder_path).card == CARD
        calls.append((repo_id, {path.name for path in folder_path.iterdir()}))
        return "the commit"

    monkeypatch.setattr(huggingface_hub.HfApi, "create_repo", create_repo)
    monkeypatch.setattr(huggingface_hub.HfApi, "upload_folder", upload_folder)
    assert trained.push_to_hub("user/name") == "the commit"
    files = {WEIGHTS_NAME, CARD_NAME, README_NAME}
    assert calls == [("create", "user/name"), ("user/name", files)]


def test_the_model_card_tells_what_a_reader_needs(trained: TrainedSelector, tmp_path: Path) -> None:
    trained.save_pretrained(tmp_path)
    page = huggingface_hub.ModelCard.load(tmp_path / README_NAME)
    assert page.data.library_name == "l2a"
    assert "learn2augment" in page.data.tags
    assert page.data.license is None and page.data.pipeline_tag is None
    for part in (
        "ranking settled at step 50",
        "**Probe AUROC:** 0.83",
        "--num-frames 4 --height 32 --width 40 --crop 28 --embedder static",
        'from_pretrained("USER/NAME")',
        "my-clips: 42 training videos of 3 classes",
        "| clap | 12 |\n| jump\\|run | 30 |\n| wave | 0 |",
        "trained on other classes: golf, throw",
        "static@0123",
        "| reward | credit |",
        "| steps, seed | 500, 7 |",
        "| | | |\n| --- | ---: | ---: |\n| mean reward | 0.25 | -0.125 |",
        "| validation loss | 2 | 1.5 |",
    ):
        assert part in page.text


@pytest.mark.parametrize(
    ("identity", "option"),
    [
        ("sent2vec@0123", " --embedder sent2vec:PATH"),
        ("sentence-transformers:all-MiniLM-L6-v2@0123",
         " --embedder sentence-transformers:all-MiniLM-L6-v2"),
        ("sentence-transformers:x;rm@0123", ""),
        ("", ""),  # one-hot
    ],
)  # fmt: skip
def test_the_model_card_names_the_embedder_among_the_options(identity: str, option: str) -> None:
    text = model_card(replace(CARD, embedder=identity)).text
    assert f"--crop 28{option} --budget 2000" in text


def test_names_on_the_model_card_are_text() -> None:
    name = "<img src=x>|a & b"
    odd = replace(
        CARD, classes=(name,), videos=(3,), finetuned_from=(name,), data=name, trunk_weights=name,
        verdict=name, embedder=name,
    )  # fmt: skip
    text = model_card(odd).text
    assert text.count(r"&lt;img src=x&gt;\|a &amp; b") == 6
    assert "<img" not in text


NAMES = (
    "<script>alert(1)</script>", "</td>&nbsp;&#60;b>", "a|b", "*bold* _it_ **x**", "`code`",
    "[a](javascript:alert(1))", "![x](http://x/y.png)", "<http://x.y>", "http://x.y/z", "www.x.y",
    "# heading", "- item", "1. first", "2) second", "> quote", "===", "---", "+ plus", "~~gone~~",
    "two\nlines", "tab\tand\x1b[31m", "    code", "{{ 7 * 7 }}", "{% raw %}", "back\\slash",
    "$x^2$", "[^1]", "key: value\n---\n", "ü 動作 \U0001f600", "half \ud800", "a\u2028b",
    "%s {0}", "'\"",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_shown_as_it_stands(name: str) -> None:
    """Rendered as Markdown with tables: the text is there, and no element but the page's own."""
    odd = replace(
        CARD, classes=(name, "wave"), videos=(3, 4), finetuned_from=(name,), data=name,
        trunk_weights=name, verdict=name, embedder=name, versions={name: name},
        curves={name: (1.0,)},
    )  # fmt: skip
    page = model_card(odd)
    assert yaml.safe_load(str(page).split("---\n")[1]) == {
        "library_name": "l2a",
        "tags": ["learn2augment", "action-recognition", "data-augmentation", "video"],
    }
    render = MarkdownIt("gfm-like", {"linkify": False}).render
    sound, found = (Tags(render(each.text)) for each in (model_card(replace(
        odd, classes=("n", "wave"), finetuned_from=("n",), data="n", trunk_weights="n",
        verdict="n", embedder="n", versions={"n": "n"}, curves={"n": (1.0,)},
    )), page))  # fmt: skip
    assert found.tags == sound.tags
    shown = " ".join(re.sub(r"[\x00-\x1f\u2028]", " ", name).split())
    shown = shown.encode("utf-8", "backslashreplace").decode()
    assert found.words.count(shown) >= 8


class Tags(HTMLParser):
    """The elements of a page in their order, and all of its text with single spaces."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()
        self.words = " ".join(self.words.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.words += data


def test_the_card_of_an_older_selector_says_what_is_not_known() -> None:
    older = replace(
        CARD, data="", videos=(), curves={}, verdict="", probe_auroc=None, finetuned_from=()
    )
    text = model_card(older).text
    assert "A data set whose name was not recorded: 3 classes: clap, jump\\|run, wave." in text
    assert "without a probe" in text and "not recorded" in text
    assert "mean reward" not in text and "Before that" not in text


def test_curves_are_means_of_equal_stretches() -> None:
    steps = [{"reward_mean": float(step), "omega_mean": 0.5} for step in range(20)]
    assert curves_of(steps) == {"reward_mean": tuple(step + 0.5 for step in range(0, 20, 2))}
    skipped = [{"reward_mean": 1.0, "validation_loss": 4.0}, {"omega_mean": 0.5}]
    assert curves_of(skipped) == {"reward_mean": (1.0,), "validation_loss": (4.0,)}
    assert curves_of([]) == {}
