"""A Selector by its path or its name on the Hub. No network: a folder here is the Hub's answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors

from l2a.errors import InputError, L2AError
from selector.checkpoint import CARD_NAME, WEIGHTS_NAME
from selector.hub import find_selector


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
        (errors.GatedRepoError, "ask for access"),
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
