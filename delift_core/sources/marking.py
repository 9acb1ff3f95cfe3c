"""Which fields of a source mark its answers as good or bad, and what becomes of its rows by that.

A field is a mark where its name can be one (see `formats.marks`) and all its values in the source are of one two-valued
vocabulary: true and false, 1 and 0, 1 and -1, or words. A `label` with other values is a topic or a class and marks
nothing, nor does a field that says "good" alone or 0 alone. Knows decoded records; knows nothing of files.
"""

from collections.abc import Iterable, Mapping

from delift_core.formats import RecordError
from delift_core.formats.marks import Verdict, answers_marked, is_sure, marks_answers
from delift_core.formats.preference import Answer, check_mark, has_pair, no_choice

Sign = tuple[str, object, Verdict]
Signs = tuple[Sign, ...]


class Marks:
    """Collects what the records of a source say in the fields that may be marks."""

    def __init__(self) -> None:
        self._said: dict[str, set[Verdict]] = {}
        self._echoes: dict[str, bool] = {}
        self.pairs = 0

    def note(self, record: object) -> Signs:
        """Notes one record, and returns its fields that may be marks."""
        if not isinstance(record, Mapping):
            return ()
        if has_pair(record):
            self.pairs += 1
            return ()
        found = tuple((name, record[name], says) for name, says in answers_marked(record))
        for name, value, says in found:
            self._said.setdefault(name, set()).add(says)
            self._echoes[name] = self._echoes.get(name, True) and _echoes(record, name, value)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The fields that are marks, those that can be nothing else first."""
        found = [name for name, said in self._said.items() if self._is_mark(name, said)]
        return tuple(sorted(found, key=lambda name: not is_sure(name)))

    @property
    def candidates(self) -> tuple[str, ...]:
        """The fields that other records may yet show to be marks."""
        return tuple(name for name, said in self._said.items() if "other" not in said)

    def _is_mark(self, name: str, said: set[Verdict]) -> bool:
        if is_sure(name):
            return bool(said & {"good", "bad"})
        if "other" in said or {"zero", "minus"} <= said or self._echoes[name]:
            return False
        return bool(said & {"bad", "minus"}) or {"good", "zero"} <= said


def marks_of(records: Iterable[object]) -> Marks:
    """What some records say in the fields that may be marks."""
    marks = Marks()
    for record in records:
        marks.note(record)
    return marks


def refusal(signs: Iterable[Sign], marks: tuple[str, ...], answer: Answer | None) -> RecordError | None:
    """Why a record cannot be read for its mark; None where it can, or has none.

    Args:
        marks: the source's, the first that the record has counts.
        answer: which answers are to be learnt.
    """
    by_name = {name: value for name, value, _ in signs}
    mark = next((name for name in marks if name in by_name), None)
    if mark is None:
        return None
    if answer is None:
        return no_choice(mark)
    try:
        check_mark(mark, by_name[mark], answer)
    except RecordError as error:
        return error
    return None


def _echoes(record: Mapping[str, object], name: str, value: object) -> bool:
    """Whether a text in another field of the record says the same, as where an answer is the class itself."""
    word = value.strip().lower() if isinstance(value, str) else ""
    return bool(word) and any(
        isinstance(other, str) and other.strip().lower() == word
        for key, other in record.items()
        if not marks_answers(str(key))
    )
