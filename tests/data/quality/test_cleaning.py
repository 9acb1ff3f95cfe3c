"""Remedies: each mends its class and nothing else, loses no record, and gives the same again on the same source."""

import json
from pathlib import Path

import pytest

from delift_core.data.loading import Dataset, ReadOptions, load_bytes
from delift_core.data.quality.checks import ISSUE_CLASSES, IssueKind, find_issues
from delift_core.data.quality.cleaning import (
    FIX_TITLES,
    apply_choices,
    fix_records,
    fixable_kind,
    leave_out,
    leave_out_class,
)
from delift_core.samples import ColumnMapping, FixableKind, ProblemKind
from delift_core.workspace import Workspace

FINE = '{"instruction": "Name a colour.",  "output": "Blue", "n": 1.50}'


def load(*lines: str, turns: str = "last") -> Dataset:
    return load_bytes("\n".join(lines).encode("utf-8", "surrogateescape"), "x.jsonl", ReadOptions(turns=turns))  # type: ignore[arg-type]


def answer(text: str) -> str:
    return json.dumps({"instruction": f"Tell {len(text)}", "output": text})


def chat(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns], "n": 1})


def told(before: str, after: str) -> tuple[str, str]:
    return answer(before), json.dumps({"instruction": f"Tell {len(before)}", "output": after})


CASES: tuple[tuple[FixableKind, str, str], ...] = (
    ("personal-data", *told("Mail jo@example.com or 4111 1111 1111 1111.", "Mail [EMAIL] or [CARD].")),
    ("template-residue", *told("<|im_start|>Yes<|im_end|>", "Yes")),
    ("encoding-damage", *told("It\u00e2\u20ac\u2122s caf\u00c3\u00a9\x00", "It\u2019s caf\u00e9")),
    (
        "odd-turns",
        chat(("user", "a"), ("user", "b"), ("system", "s"), ("assistant", "c")),
        chat(("system", "s"), ("user", "a\n\nb"), ("assistant", "c")),
    ),
    (
        "trailing-turns",
        chat(("user", "a"), ("assistant", "b"), ("user", "c")),
        chat(("user", "a"), ("assistant", "b")),
    ),
)


@pytest.mark.parametrize(("kind", "before", "after"), CASES, ids=[case[0] for case in CASES])
def test_a_class_is_mended_and_other_records_stay_as_they_are(kind: FixableKind, before: str, after: str) -> None:
    data = load(FINE, before)
    assert kind in {one.kind for one in find_issues(data.samples).findings}
    done = fix_records(data, kind)
    assert done.changed == 1
    assert done.dataset.samples[0] == data.samples[0] and done.dataset.samples[0].raw == FINE
    assert json.loads(done.dataset.samples[1].raw) == json.loads(after)
    assert kind not in {one.kind for one in find_issues(done.dataset.samples).findings}
    assert load(done.dataset.samples[1].raw).samples[0].messages == done.dataset.samples[1].messages
    assert fix_records(done.dataset, kind).changed == 0
    assert apply_choices(data, done.dataset.choices) == done.dataset


def test_every_class_of_health_can_be_left_out_and_says_what_mends_it() -> None:
    for kind in ISSUE_CLASSES:
        assert (fixable_kind(kind) is not None) == (kind in FIX_TITLES)
    data = load(FINE, answer("I'm sorry, but I can't do that."))
    done = leave_out_class(data, "refusal")
    assert (done.changed, len(done.dataset)) == (1, 1)
    assert [(one.kind, one.line, one.raw) for one in done.dataset.problems] == [
        ("left-out-by-choice", 2, data.samples[1].raw)
    ]
    assert apply_choices(data, done.dataset.choices) == done.dataset
    assert leave_out_class(data, "echo").changed == 0


@pytest.mark.parametrize(
    ("record", "kind", "mended"),
    [
        ('{"instruction": "q", "input": 2.50, "output": {"a" : [1]}}', "not-text",
         '{"instruction": "q", "input": "2.50", "output": "{\\"a\\" : [1]}"}'),
        ('{"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "a"}]}', "not-text",
         '{"messages": [{"role": "user", "content": "5"}, {"role": "assistant", "content": "a"}]}'),
        ('[{"from": "human", "value": true}, {"from": "gpt", "value": "a"}]', "not-text",
         '[{"from": "human", "value": "true"}, {"from": "gpt", "value": "a"}]'),
        ('{"instruction": "q", "output": "x \\ud83d \\ud83d\\ude00 \\\\ud83d"}', "bad-encoding",
         '{"instruction": "q", "output": "x \\ufffd \\ud83d\\ude00 \\\\ud83d"}'),
        ('{"instruction": "q", "output": "\udce9\udcff!"}', "bad-encoding",
         '{"instruction": "q", "output": "\ufffd!"}'),
    ],
)  # fmt: skip
def test_records_that_were_left_out_come_back_at_their_place(record: str, kind: FixableKind, mended: str) -> None:
    data = load(FINE, record, FINE.replace("Blue", "Red"), '{"instruction": "q", "output": null}')
    assert data.problems[0].kind == kind and len(data) == 2
    done = fix_records(data, kind).dataset
    assert [sample.line for sample in done.samples] == [1, 2, 3]
    assert done.samples[1].raw == mended
    assert [problem.line for problem in done.problems] == [4]  # a null is nothing to be written as text
    assert len({sample.id for sample in done.samples}) == 3
    assert apply_choices(data, done.choices) == done


def test_ids_used_twice_and_prompts_answered_twice() -> None:
    rows = [{"id": name, "instruction": f"q{at}", "output": "a"} for at, name in enumerate(["x", "x", 7, 7, "x-2", 9])]
    done = fix_records(load(*map(json.dumps, rows)), "repeated-id")
    assert [json.loads(sample.raw)["id"] for sample in done.dataset.samples] == ["x", "x-2-2", 7, 10, "x-2", 9]
    asked = [json.dumps({"instruction": "q", "output": text}) for text in ("a", "longest", "longer!", "b")]
    kept = fix_records(load(FINE, *asked), "repeated-prompt")
    assert [sample.response for sample in kept.dataset.samples] == ["Blue", "longest"]
    assert (kept.changed, len(kept.dataset.problems)) == (3, 3)
    assert apply_choices(load(FINE, *asked), kept.dataset.choices) == kept.dataset


def test_where_every_turn_is_a_row_records_are_mended_whole() -> None:
    talk = chat(("user", "a"), ("assistant", "jo@example.com"), ("user", "b"), ("assistant", "c"))
    done = fix_records(load(FINE, talk, turns="every"), "personal-data")
    assert [sample.response for sample in done.dataset.samples] == ["Blue", "[EMAIL]", "c"]
    assert done.dataset.samples[1].raw == done.dataset.samples[2].raw


def test_columns_mapped_by_hand_are_read_by_hand_again() -> None:
    mapping = ColumnMapping("output", "instruction")  # turned round on purpose
    data = load_bytes(answer("jo@example.com").encode(), "x.jsonl", ReadOptions(mapping=mapping))
    assert fix_records(data, "personal-data").dataset.samples[0].prompt == "[EMAIL]"


def test_choices_are_kept_in_the_workspace_and_lost_nowhere(tmp_path: Path) -> None:
    source = (FINE, answer("jo@example.com"), answer("As an AI, no."), answer("I cannot help with that."))
    data = load(*source)
    tidy = leave_out(fix_records(data, "personal-data").dataset, [3], "mine")
    with Workspace.open(tmp_path) as workspace:
        record = workspace.datasets.add(tidy, role="pool")
        assert (record.choices, record.origin) == (tidy.choices, data.origin) and len(record.origin.sha256) == 64
        assert workspace.datasets.load(record.id) == tidy
    assert apply_choices(load(*source), tidy.choices) == tidy
    assert len(tidy) + len(tidy.problems) == 4


def test_kinds_of_problems_that_can_be_mended_are_kinds_of_problems() -> None:
    kinds: tuple[IssueKind | ProblemKind, ...] = ("not-json", "refusal", "too-long", "empty-response")
    assert [fixable_kind(kind) for kind in kinds] == [None] * 4
