"""Simple signals of each row as facets to filter by: its language, its length, and what the health report looks for.

The language is that of the response where it is long enough to tell, else of prompt and response together; py3langid
reads it from the text alone, with a model that comes with it. Signals are hints, and no row is changed because of one.
"""

from collections.abc import Sequence

import numpy as np

from delift_core.composition import Facet, by_label
from delift_core.health import health
from delift_core.samples import Sample
from delift_core.sources.progress import EVERY, Progress, Watch

UNCLEAR = "unclear"
SECONDS_PER_ROW = 0.0005  # measured on one core of an AMD EPYC, rows of 1,000 characters
_LANGUAGE_SHARE = 0.7  # of the time
_LEAST_LETTERS = 40  # shorter texts are often given the wrong language
_READ_CHARACTERS = 600
_CHARACTER_STEPS = (100, 400, 1_600, 6_400)


def signal_facets(samples: Sequence[Sample], watch: Watch | None = None) -> tuple[Facet, ...]:
    """Language, length in characters, and one facet ("yes" or "no") for each class that the health report found.

    A facet that gives every row the same label is left out.

    Args:
        watch: is told how far it is; an exception that it raises ends the work.
    """
    told = languages(samples, watch and _part(watch, 0.0, _LANGUAGE_SHARE))
    found = [by_label("Language", told), _characters(samples)]
    for finding in health(samples, watch=watch and _part(watch, _LANGUAGE_SHARE, 1.0)).findings:
        codes = np.zeros(len(samples), dtype=np.int64)
        codes[list(finding.positions)] = 1
        found.append(Facet(finding.words.title, ("no", "yes"), codes))
    return tuple(facet for facet in found if len(np.unique(facet.codes)) > 1)


def languages(samples: Sequence[Sample], watch: Watch | None = None) -> list[str]:
    """The language of each row as an ISO 639-1 code, or "unclear" where there is too little text to tell."""
    from py3langid import classify

    found = []
    for at, sample in enumerate(samples):
        text = _telling(sample)
        found.append(str(classify(text)[0]) if text else UNCLEAR)
        if watch and at % EVERY == 0:
            watch(Progress("looking", at, at / len(samples)))
    return found


def _part(watch: Watch, start: float, end: float) -> Watch:
    """Reports of one part of the work as reports of all of it."""
    return lambda told: watch(Progress("looking", told.rows, start + (end - start) * (told.share or 0.0)))


def _telling(sample: Sample) -> str:
    response = sample.response[:_READ_CHARACTERS]
    for text in (response, f"{response}\n{sample.prompt[:_READ_CHARACTERS]}"):
        if sum(map(str.isalpha, text)) >= _LEAST_LETTERS:
            return text
    return ""


def _characters(samples: Sequence[Sample]) -> Facet:
    sizes = np.array([sum(len(turn.content) for turn in sample.messages) for sample in samples], dtype=np.int64)
    starts = (0, *_CHARACTER_STEPS)
    ends = (*(f"–{step - 1:,}" for step in _CHARACTER_STEPS), " and more")
    labels = tuple(f"{start:,}{end}" for start, end in zip(starts, ends, strict=True))
    return Facet("Characters", labels, np.searchsorted(_CHARACTER_STEPS, sizes, side="right").astype(np.int64))
