"""A trained Selector by its folder, or by its name on the Hugging Face Hub."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import huggingface_hub
from huggingface_hub import ModelCard, ModelHubMixin, errors

from l2a.disks import is_full
from l2a.errors import InputError, L2AError
from l2a.logs import say
from selector.checkpoint import (
    CARD_NAME,
    WEIGHTS_NAME,
    LoadedSelector,
    load_selector,
    save_selector,
)
from selector.model_card import model_card


class TrainedSelector(LoadedSelector, ModelHubMixin):
    """A whole Selector, as it is taken from the Hugging Face Hub and given to it.

    `save_pretrained(folder)` writes, and `push_to_hub("USER/NAME")` uploads, what a run's
    `selector/` folder holds and `l2a ... --selector` reads: one format, with a model card.

    Attributes:
        selector: the network that scores a pair.
        trunk: the network that makes its features; None where it was stored without.
        card: what both were made with.
    """

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        # The mixin's own would keep these arguments for a config.json; selector.json says it all.
        return object.__new__(cls)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | Path,
        *,
        force_download: bool = False,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        local_files_only: bool = False,
        revision: str | None = None,
        **model_kwargs: Any,
    ) -> Self:
        """Load a Selector, on the CPU and in evaluation mode.

        Args:
            pretrained_model_name_or_path: its folder, which wins where it exists, or
                `USER/NAME[@REVISION]` on the Hub.
            force_download, token, cache_dir, local_files_only: as for
                `huggingface_hub.snapshot_download`.
            revision: a branch, a tag or a commit; another way to say what stands after @.
            model_kwargs: there are none.

        Raises:
            InputError: there is no such Selector, or it is damaged.
            L2AError: fetching it broke off.
            TypeError: an argument has no meaning.
        """
        if model_kwargs:
            raise TypeError(f"A stored Selector takes no {', '.join(model_kwargs)}.")
        # The mixin's own would look for a config.json first, with other errors.
        given = str(pretrained_model_name_or_path)
        if revision is not None and not Path(given).exists():
            given += f"@{revision}"
        folder = find_selector(
            given,
            force_download=force_download,
            token=token,
            cache_dir=cache_dir,
            local_files_only=local_files_only,
        )
        loaded = load_selector(folder)
        return cls(loaded.selector, loaded.trunk, loaded.card)

    def _save_pretrained(self, save_directory: Path) -> None:
        save_selector(save_directory, self.selector, self.trunk, self.card)

    def generate_model_card(self, *args: Any, **kwargs: Any) -> ModelCard:
        """The card that `save_pretrained` writes; it has nothing to be customised by arguments."""
        return model_card(self.card)


def find_selector(given: str, **download: Any) -> Path:
    """Where a Selector lies on this machine; what lies on the Hub is fetched first.

    Of a repository only the two files of a Selector are fetched, into the cache of
    huggingface_hub, and only what is not there yet. Nothing of it is executed.

    Args:
        given: a path, which wins where it exists, or `USER/NAME[@REVISION]`; the revision is a
            branch, a tag or a commit.
        download: further arguments of `huggingface_hub.snapshot_download`.

    Returns:
        The path as given, or the repository's folder in the cache.

    Raises:
        InputError: it is neither, the repository or the revision is not there, is not open to
            this user or holds no Selector, or the Hub cannot be reached.
        L2AError: fetching broke off.
    """
    path = Path(given)
    if path.exists():
        return path
    name, at, revision = given.partition("@")
    nothing = InputError(
        f"The Selector {given} is neither a folder here nor the name of a repository on the "
        "Hugging Face Hub; give the folder that `l2a train` wrote (RUN/selector), or "
        "USER/NAME[@REVISION]."
    )
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name) or (at and not revision):
        raise nothing
    try:
        folder = _fetch(name, revision or None, download)
    except ValueError:  # the Hub's own rules for names
        raise nothing from None
    for needed in (WEIGHTS_NAME, CARD_NAME):
        if not (folder / needed).is_file():
            raise InputError(
                f"The repository {given} on the Hugging Face Hub holds no Selector: {needed} is "
                f"not in it; give one that holds {WEIGHTS_NAME} and {CARD_NAME}."
            )
    return folder


def _fetch(name: str, revision: str | None, download: Mapping[str, Any]) -> Path:
    """The repository's folder in the cache.

    Raises:
        ValueError: no repository can have this name.
    """
    say(f"looking for the Selector {name} on the Hugging Face Hub")
    here = f"There is no folder {name} here"
    try:
        found = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=[WEIGHTS_NAME, CARD_NAME], **download
        )
    except errors.GatedRepoError:
        raise InputError(
            f"{here}, and the Hugging Face Hub shows the repository only to users "
            "with access; request access on its page, and log in with `hf auth login`."
        ) from None
    except errors.RepositoryNotFoundError:
        raise InputError(
            f"{here}, and on the Hugging Face Hub no repository of that name that you may read; "
            "check the name, or log in with `hf auth login` if it is private."
        ) from None
    except errors.RevisionNotFoundError:
        raise InputError(
            f"The repository {name} on the Hugging Face Hub has no revision "
            f"{revision or 'main'}; give one of its branches, tags or commits after @."
        ) from None
    except errors.LocalEntryNotFoundError:
        raise InputError(
            f"{here}, and the Hugging Face Hub, where a repository may have that name, cannot be "
            "reached; check the path or the network, or copy the Selector's folder here."
        ) from None
    # The library's HTTP errors come from httpx or httpx2, by its version.
    except (OSError, errors.HTTPError) as error:  # type: ignore[attr-defined]
        if is_full(error):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise L2AError(
            f"The Selector {name} could not be fetched from the Hugging Face Hub ({reason}); give "
            "the same command again to resume."
        ) from None
    return Path(found)
