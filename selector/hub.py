"""A trained Selector by its folder, or by its name on the Hugging Face Hub."""

from __future__ import annotations

import re
from pathlib import Path

from l2a.errors import InputError, L2AError
from l2a.progress import say
from selector.checkpoint import CARD_NAME, WEIGHTS_NAME


def find_selector(given: str) -> Path:
    """Where a Selector lies on this machine; what lies on the Hub is fetched first.

    Of a repository only the two files of a Selector are fetched, into the cache of
    huggingface_hub, and only what is not there yet. Nothing of it is executed.

    Args:
        given: a path, which wins where it exists, or `USER/NAME[@REVISION]`; the revision is a
            branch, a tag or a commit.

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
        folder = _fetch(name, revision or None)
    except ValueError:  # the Hub's own rules for names
        raise nothing from None
    for needed in (WEIGHTS_NAME, CARD_NAME):
        if not (folder / needed).is_file():
            raise InputError(
                f"The repository {given} on the Hugging Face Hub holds no Selector: {needed} is "
                f"not in it; give one that holds {WEIGHTS_NAME} and {CARD_NAME}."
            )
    return folder


def _fetch(name: str, revision: str | None) -> Path:
    """The repository's folder in the cache.

    Raises:
        ValueError: no repository can have this name.
    """
    import huggingface_hub
    from huggingface_hub import errors

    say(f"looking for the Selector {name} on the Hugging Face Hub")
    here = f"There is no folder {name} here"
    try:
        found = huggingface_hub.snapshot_download(
            name, revision=revision, allow_patterns=[WEIGHTS_NAME, CARD_NAME]
        )
    except errors.GatedRepoError:
        raise InputError(
            f"{here}, and the Hugging Face Hub shows the repository only to those whom its owner "
            "lets in; ask for access on its page, and log in with `hf auth login`."
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
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise L2AError(
            f"The Selector {name} could not be fetched from the Hugging Face Hub ({reason}); give "
            "the same command again to go on."
        ) from None
    return Path(found)
