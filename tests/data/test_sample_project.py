"""The sample project's rows: counts, keys, size, plants, no repeats, and facts that a program can check."""

import ast
import json
import re
from collections import Counter
from pathlib import Path

import pytest

from delift_core.data import sample_project_files

FILES = sample_project_files()
NAMES = ("pool", "target", "existing", "heldout")
COUNTS = {"pool": 50, "target": 10, "existing": 10, "heldout": 16}
TOPICS = {
    "arithmetic",
    "unit conversion",
    "polite rewriting",
    "Python one-liners",
    "definitions",
    "geography",
    "one-line summaries",
}
Row = dict[str, str]


def read_rows(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ROWS: dict[str, list[Row]] = {name: read_rows(getattr(FILES, name)) for name in NAMES}
EVERY_ROW = [row for name in NAMES for row in ROWS[name]]


def is_near_duplicate(row: Row) -> bool:
    return row.get("planted", "").startswith("near-duplicate of line ")


def is_off_topic(row: Row) -> bool:
    return row.get("planted", "").startswith("off-topic: ")


def prompt(row: Row) -> str:
    return f"{row['instruction']}\n\n{row['input']}" if row["input"] else row["instruction"]


def words(row: Row) -> list[str]:
    return f"{prompt(row)} {row['output']}".split()


def folded(text: str) -> str:
    """Letters, digits and operators in lower case, so that spacing, case and punctuation hide no repeat."""
    return " ".join(re.findall(r"[\w+*/%-]+", text.lower()))


def sound_rows(topic: str) -> list[Row]:
    return [row for row in EVERY_ROW if row["topic"] == topic and not is_off_topic(row)]


@pytest.mark.parametrize("name", NAMES)
def test_each_file_has_its_rows_with_text_in_the_required_keys(name: str) -> None:
    assert len(ROWS[name]) == COUNTS[name]
    for row in ROWS[name]:
        assert list(row)[:4] == ["instruction", "input", "output", "topic"]
        assert set(row) <= {"instruction", "input", "output", "topic", "planted"}
        assert all(isinstance(value, str) and value == value.strip() for value in row.values())
        assert row["instruction"] and row["output"] and row["topic"]


def test_no_prompt_is_repeated_within_or_between_files() -> None:
    repeats = [text for text, n in Counter(folded(prompt(row)) for row in EVERY_ROW).items() if n > 1]
    assert repeats == []


def test_only_planted_rows_share_an_answer() -> None:
    answers = Counter(folded(row["output"]) for row in EVERY_ROW if not is_near_duplicate(row))
    assert [text for text, n in answers.items() if n > 1] == []


def test_rows_stay_short_because_every_pair_is_scored() -> None:
    lengths = [len(words(row)) for row in EVERY_ROW]
    assert max(lengths) <= 40
    assert sum(lengths) / len(lengths) <= 17


def test_topics_of_each_file() -> None:
    assert {row["topic"] for row in ROWS["pool"]} == TOPICS | {"other"}
    assert {row["topic"] for row in ROWS["heldout"]} == TOPICS
    assert {row["topic"] for row in ROWS["target"]} == {"arithmetic"}
    assert {row["topic"] for row in ROWS["existing"]} == {"geography", "definitions"}
    assert min(Counter(row["topic"] for row in ROWS["pool"] if "planted" not in row).values()) >= 5


def test_only_the_pool_is_planted_with_eight_near_duplicates_and_five_off_topic_rows() -> None:
    assert [row for name in NAMES[1:] for row in ROWS[name] if "planted" in row] == []
    planted = [row for row in ROWS["pool"] if "planted" in row]
    assert len([row for row in planted if is_near_duplicate(row)]) == 8
    assert len([row for row in planted if is_off_topic(row)]) == 5
    assert len(planted) == 13
    assert all(is_off_topic(row) for row in ROWS["pool"] if row["topic"] == "other")


def overlap(first: Row, second: Row) -> float:
    """Jaccard overlap of the words of two rows, in [0, 1]."""
    ours, theirs = (set(folded(" ".join(words(row))).split()) for row in (first, second))
    return len(ours & theirs) / len(ours | theirs)


def test_a_near_duplicate_names_the_line_of_the_ordinary_row_nearest_to_it() -> None:
    ordinary = {line: row for line, row in enumerate(ROWS["pool"], start=1) if "planted" not in row}
    groups: Counter[int] = Counter()
    for row in filter(is_near_duplicate, ROWS["pool"]):
        overlaps = {line: overlap(row, original) for line, original in ordinary.items()}
        nearest = max(overlaps, key=overlaps.__getitem__)
        assert row["planted"] == f"near-duplicate of line {nearest}"
        assert row["topic"] == ordinary[nearest]["topic"]
        groups[nearest] += 1
    assert sorted(groups.values()) == [1, 1, 2, 2, 2]


def test_sums_are_right_and_use_the_numbers_of_the_question() -> None:
    compute = {"+": int.__add__, "-": int.__sub__, "x": int.__mul__, "/": int.__floordiv__}
    rows = sound_rows("arithmetic")
    assert len(rows) == 22
    for row in rows:
        match = re.fullmatch(r"(\d+) ([-+x/]) (\d+) = (\d+) \w+\.", row["output"])
        assert match, row["output"]
        left, operator, right, result = int(match[1]), match[2], int(match[3]), int(match[4])
        assert compute[operator](left, right) == result
        assert operator != "/" or left % right == 0
        assert sorted([left, right]) == sorted(int(number) for number in re.findall(r"\d+", row["instruction"]))


def test_conversions_are_right() -> None:
    size = {"km": 1000, "m": 1, "cm": 0.01, "h": 60, "min": 1, "t": 1000, "kg": 1, "g": 0.001, "L": 1000, "mL": 1}
    rows = sound_rows("unit conversion")
    assert len(rows) == 9
    for row in rows:
        match = re.fullmatch(r"([\d.]+) (\w+) = ([\d.]+) (\w+)", row["output"])
        assert match, row["output"]
        assert float(match[1]) * size[match[2]] == pytest.approx(float(match[3]) * size[match[4]])
        assert match[1] in row["instruction"]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        ("reverse the string", "eno owt"),
        ("largest", 4),
        ("even", [4, 2]),
        ("commas", "pear,fig"),
        ("square", [9, 16, 4]),
        ("add up", 9),
        ("Z to A", ["Mei", "Ada"]),
    ],
)
def test_one_liners_compute_what_is_asked(task: str, expected: object) -> None:
    [row] = [row for row in sound_rows("Python one-liners") if task in row["instruction"]]
    [statement] = ast.parse(row["output"]).body
    assert isinstance(statement, ast.Assign)
    scope: dict[str, object] = {"text": "two one", "numbers": [3, 4, 2], "words": ["pear", "fig"]}
    scope["names"] = ["Ada", "Mei"]
    exec(compile(row["output"], "row", "exec"), scope)
    assert scope["result"] == expected


@pytest.mark.parametrize(
    ("topic", "form"),
    [
        ("polite rewriting", r"Could you please [\w ]+\?"),
        ("Python one-liners", r"result = .+"),
        ("definitions", r"[A-Z][a-z]+: [a-z ]+\."),
        ("geography", r"The [A-Za-z ]+\."),
        ("one-line summaries", r"[A-Z][\w' ]+\."),
    ],
)
def test_answers_of_a_topic_share_one_form(topic: str, form: str) -> None:
    assert [row["output"] for row in sound_rows(topic) if not re.fullmatch(form, row["output"])] == []


def test_rewriting_and_summarising_rows_carry_their_text_as_input() -> None:
    with_input = {row["topic"] for row in EVERY_ROW if row["input"]}
    assert with_input == {"polite rewriting", "one-line summaries"}
    assert all(row["input"] for topic in with_input for row in sound_rows(topic))
