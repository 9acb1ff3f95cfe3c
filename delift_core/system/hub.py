"""Whether a repository of the Hugging Face hub can be reached, found out by one request with a short time-out.

The hub's own clients repeat a failed request many times before they give up, so `probe` is called before they are used.
"""

from dataclasses import dataclass
from typing import Literal

RepoKind = Literal["model", "dataset"]
Outcome = Literal["found", "bad-id", "no-revision", "no-repo", "refused", "unreachable"]

PROBE_SECONDS = 5.0
HUB_PREFIX = "hub:"
HUB_FORM = "hub:owner/name[:split][,config=C][,revision=R][,limit=N]"
"""How a data set on the hub is named."""


@dataclass(frozen=True, slots=True)
class Probe:
    """The hub's answer about a repository.

    Attributes:
        outcome: "no-repo" includes repositories that may not be read; "refused" is any other HTTP error; "unreachable"
            is no answer, offline mode included.
        error: the exception; None when the repository was found.
        commit: the commit of the revision; "" if it is not known.
    """

    outcome: Outcome
    error: Exception | None = None
    commit: str = ""

    @property
    def found(self) -> bool:
        """Whether the repository exists and can be read."""
        return self.outcome == "found"

    @property
    def reason(self) -> str:
        """The error in one line, at most 200 characters."""
        return "" if self.error is None else first_line(self.error)


FOUND = Probe("found")


def probe(kind: RepoKind, repo_id: str, revision: str | None = None) -> Probe:
    """Asks the hub once whether it has a repository; an invalid id is refused without a request.

    Args:
        repo_id: owner/name.
        revision: branch, tag or commit; None is the default branch.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
    from huggingface_hub.utils import httpx  # type: ignore[attr-defined]  # the hub's name for it in every version

    ask = HfApi().model_info if kind == "model" else HfApi().dataset_info
    try:
        found = ask(repo_id, revision=revision, timeout=PROBE_SECONDS)
    except HFValidationError as error:
        return Probe("bad-id", error)
    except RevisionNotFoundError as error:
        return Probe("no-revision", error)
    except RepositoryNotFoundError as error:
        return Probe("no-repo", error)
    except HfHubHTTPError as error:
        return Probe("refused", error)
    except (httpx.HTTPError, OSError) as error:  # offline mode is an OSError
        return Probe("unreachable", error)
    return Probe("found", commit=getattr(found, "sha", None) or "")


def first_line(error: Exception) -> str:
    """The first line of an error's text, at most 200 characters; the name of its type when the text is empty."""
    text = str(error).strip()
    return text.splitlines()[0].strip()[:200] if text else type(error).__name__
