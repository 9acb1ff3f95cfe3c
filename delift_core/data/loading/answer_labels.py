"""The fields that label answers as good or bad in a source, found by the values of all its records."""

from collections.abc import Iterable, Mapping

from delift_core.data.formats import RecordError
from delift_core.data.formats.preference import Answer, check_label, has_pair, no_choice_error
from delift_core.data.formats.training_labels import LabelValue, answer_labels, is_definite_label, is_label_name

Label = tuple[str, object, LabelValue]
"""A field of a record that may label its answer: name, value, and what the value says."""


class AnswerLabels:
    """The values of all possible labels in a source, and how many records have two answers (`pairs`)."""

    def __init__(self) -> None:
        self._values: dict[str, set[LabelValue]] = {}
        self._always_repeated: dict[str, bool] = {}
        self.pairs = 0

    def add(self, record: object) -> tuple[Label, ...]:
        """Counts one record, and returns its possible labels."""
        if not isinstance(record, Mapping):
            return ()
        if has_pair(record):
            self.pairs += 1
            return ()
        found = tuple((name, record[name], says) for name, says in answer_labels(record))
        for name, value, says in found:
            self._values.setdefault(name, set()).add(says)
            self._always_repeated[name] = self._always_repeated.get(name, True) and _is_repeated(record, value)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are labels, definite ones first."""
        found = [name for name, values in self._values.items() if self._is_label(name, values)]
        return tuple(sorted(found, key=lambda name: not is_definite_label(name)))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The fields that further records may show to be labels."""
        return tuple(name for name, values in self._values.items() if "other" not in values)

    def _is_label(self, name: str, values: set[LabelValue]) -> bool:
        if is_definite_label(name):
            return bool(values & {"good", "bad"})
        if "other" in values or {"zero", "minus"} <= values or self._always_repeated[name]:
            return False
        return bool(values & {"bad", "minus"}) or {"good", "zero"} <= values


def collect_labels(records: Iterable[object]) -> AnswerLabels:
    """The labels of some decoded records."""
    labels = AnswerLabels()
    for record in records:
        labels.add(record)
    return labels


def label_error(labels: Iterable[Label], names: tuple[str, ...], answer: Answer | None) -> RecordError | None:
    """Why a record is not read because of its label; None if it is read.

    Args:
        labels: of the record.
        names: the source's labels; the first that the record has decides.
        answer: the answers to learn.
    """
    values = {name: value for name, value, _ in labels}
    name = next((name for name in names if name in values), None)
    if name is None:
        return None
    if answer is None:
        return no_choice_error(name)
    try:
        check_label(name, values[name], answer)
    except RecordError as error:
        return error
    return None


def _is_repeated(record: Mapping[str, object], value: object) -> bool:
    """Whether a text is also the value of a field that cannot be a label, as when the answer is a class name."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return bool(word) and any(
        isinstance(other, str) and other.strip().lower() == word
        for key, other in record.items()
        if not is_label_name(str(key))
    )
