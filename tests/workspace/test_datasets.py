"""Data sets come back as they went in; search and paging say the truth."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import get_args

import duckdb
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.data.loading import IN_MEMORY, Dataset, HubSplit, Origin, ReadOptions, load_file
from delift_core.data.loading.record_reader import edit_texts, reader_of, record_texts
from delift_core.errors import WorkspaceError
from delift_core.samples import (
    ColumnMapping,
    Conversation,
    Message,
    ParsedRecord,
    Problem,
    Sample,
    ScoredPart,
    ToolCall,
    with_ids,
)
from delift_core.workspace import RunSpec, Workspace

Make = Callable[..., Dataset]

# Anything but lone surrogates, with the awkward characters made likely.
TEXT = st.text(
    st.one_of(st.sampled_from("\0\u2028\u0085\ufeff😀'\"\\%_\n\r"), st.characters(exclude_categories=["Cs"]))
)
ROLES = st.sampled_from(["system", "user", "assistant", "tool"])
CALLS = st.lists(st.builds(ToolCall, TEXT, TEXT, TEXT), max_size=2).map(tuple)
MESSAGES = st.builds(Message, ROLES, TEXT) | st.builds(
    Message, ROLES, TEXT, thoughts=TEXT, calls=CALLS, call_id=TEXT, name=TEXT
)
TURNS = st.lists(MESSAGES, max_size=4)
CONVERSATIONS = st.builds(lambda turns, last: (*turns, replace(last, role="assistant")), TURNS, MESSAGES)
RECORDS = st.builds(ParsedRecord, CONVERSATIONS, TEXT, TEXT, st.integers(1, 2**40)) | st.builds(
    ParsedRecord, CONVERSATIONS, TEXT, TEXT, st.integers(1, 2**40), TEXT, st.sampled_from(get_args(ScoredPart))
)
PROBLEMS = st.builds(
    Problem, st.sampled_from(["not-json", "empty-response"]), TEXT, st.integers(1, 2**40), TEXT, TEXT, TEXT, TEXT
)
SPLITS = st.builds(
    HubSplit,
    st.sampled_from(["owner/name", "squad"]),
    st.none() | TEXT.filter(bool),
    st.sampled_from(["train", "test[:10%]"]),
    st.none() | TEXT.filter(bool),
    st.none() | st.integers(1, 10**9),
    st.sampled_from(["", "ab" * 20]),
)
OPTIONS = st.none() | st.builds(
    ReadOptions,
    st.none() | st.builds(ColumnMapping, TEXT, TEXT, st.none() | TEXT, st.lists(TEXT, max_size=2).map(tuple)),
    st.sampled_from([None, "chosen", "rejected", "all"]),
    st.sampled_from(["last", "every"]),
    st.sampled_from(get_args(ScoredPart)),
    st.booleans(),
)
ORIGINS = (
    st.builds(Origin, st.just("file"), TEXT.map(lambda name: f"/data/{name}"), OPTIONS)
    | st.builds(Origin, st.just("upload"), TEXT, OPTIONS, sha256=st.sampled_from(["", "ab"]))
    | st.builds(lambda split, options: Origin("hub", split.repo_id, options, split), SPLITS, OPTIONS)
    | st.builds(Origin, st.just("memory"), st.just(IN_MEMORY), OPTIONS)
)
DATASETS = st.builds(
    Dataset,
    name=TEXT,
    format=st.sampled_from(["alpaca", "sharegpt", "messages", "prompt-completion", "columns"]),
    mapping=st.none() | st.builds(ColumnMapping, TEXT, TEXT, st.none() | TEXT),
    samples=st.lists(RECORDS, max_size=5).map(with_ids),
    problems=st.lists(PROBLEMS, max_size=3).map(tuple),
)


@settings(deadline=None, max_examples=30)
@given(dataset=DATASETS, role=st.sampled_from(["pool", "target", "existing", "heldout"]), origin=ORIGINS)
def test_any_data_set_comes_back_as_it_went_in(lasting: Workspace, dataset: Dataset, role: str, origin: Origin) -> None:
    record = lasting.datasets.add(replace(dataset, origin=origin), role=role)
    try:
        assert lasting.datasets.load(record.id) == dataset
        assert lasting.datasets.load(record.id).origin == origin
        assert lasting.datasets.record(record.id) == record
        assert (record.role, record.name, record.origin) == (role, dataset.name, origin)
        assert (record.format, record.mapping, record.content_hash) == (
            dataset.format,
            dataset.mapping,
            dataset.content_hash,
        )
        assert (record.n_samples, record.n_problems) == (len(dataset.samples), len(dataset.problems))
    finally:
        lasting.datasets.delete(record.id)
    assert lasting.datasets.records() == ()


def test_a_data_set_survives_closing(workspace: Workspace, make_dataset: Make) -> None:
    record = workspace.datasets.add(make_dataset(), role="pool")
    workspace.close()
    with Workspace.open(workspace.folder) as again:
        assert again.datasets.records() == (record,)
        assert again.datasets.load(record.id) == make_dataset()


def test_same_contents_and_role_are_one_record(workspace: Workspace, make_dataset: Make) -> None:
    first = workspace.datasets.add(make_dataset(), role="pool")
    assert workspace.datasets.add(make_dataset(), role="pool") == first
    target = workspace.datasets.add(make_dataset(), role="target")
    assert target.id != first.id
    assert len(workspace.datasets.records()) == 2
    assert len(workspace.datasets.load(target.id)) == 2


def test_added_again_from_elsewhere_a_data_set_is_found_where_it_is_now(
    workspace: Workspace, make_dataset: Make
) -> None:
    old, new = (Origin("file", f"{folder}/pool.jsonl", ReadOptions()) for folder in ("old", "new"))
    first = workspace.datasets.add(replace(make_dataset(), origin=old), role="pool")
    target = workspace.datasets.add(replace(make_dataset(), origin=old), role="target")
    newer = workspace.datasets.add(make_dataset([("p", "r")]), role="pool")
    renamed = replace(make_dataset(), name="another name", origin=new)
    moved = workspace.datasets.add(renamed, role="pool")
    assert moved == replace(first, name="another name", origin=new)
    assert workspace.datasets.records() == (newer, target, moved)
    assert workspace.datasets.load(first.id) == renamed


def test_rows_in_memory_leave_the_file_known_that_holds_the_same(
    workspace: Workspace, make_dataset: Callable[..., Dataset]
) -> None:
    record = workspace.datasets.add(replace(make_dataset(), origin=Origin("file", "/data/pool.jsonl")), role="pool")
    assert workspace.datasets.add(replace(make_dataset(), name="rows"), role="pool") == record


def test_a_data_set_in_use_can_be_added_again(workspace: Workspace, fill: Callable[..., str]) -> None:
    fill(workspace)
    (record,) = workspace.datasets.records("pool")
    elsewhere = Origin("upload", "elsewhere.jsonl", sha256="ab")
    again = workspace.datasets.add(replace(workspace.datasets.load(record.id), origin=elsewhere), role="pool")
    assert again == replace(record, origin=elsewhere)
    assert len(workspace.datasets.load(record.id)) == record.n_samples


def test_what_differs_in_the_raw_record_the_order_or_the_problems_is_another_data_set(
    workspace: Workspace, make_dataset: Make
) -> None:
    dataset = make_dataset()
    problem = Problem("not-json", "tiny.jsonl", 3, "", "message", "remedy", "excerpt")
    variants = [
        dataset,
        replace(dataset, samples=tuple(replace(sample, raw=sample.raw + " ") for sample in dataset.samples)),
        replace(dataset, samples=dataset.samples[::-1]),
        replace(dataset, samples=dataset.samples[:1]),
        replace(dataset, problems=(problem,)),
        replace(dataset, format="alpaca"),
        replace(dataset, mapping=ColumnMapping("a", "b")),
    ]
    ids = [workspace.datasets.add(variant, role="pool").id for variant in variants]
    assert len(set(ids)) == len(variants)
    assert [workspace.datasets.load(dataset_id) for dataset_id in ids] == variants


def test_records_are_newest_first_and_by_role(workspace: Workspace, make_dataset: Make) -> None:
    ids = []
    for number, role in enumerate(("pool", "target", "pool")):
        ids.append(workspace.datasets.add(make_dataset([(f"p{number}", "r")]), role=role).id)
    records = workspace.datasets.records()
    assert [record.id for record in records] == ids[::-1]
    assert [record.created_at for record in records] == sorted((r.created_at for r in records), reverse=True)
    assert records[0].created_at.tzinfo is not None
    assert [record.id for record in workspace.datasets.records("pool")] == [ids[2], ids[0]]


def test_rename(workspace: Workspace, make_dataset: Make) -> None:
    record = workspace.datasets.add(make_dataset(), role="pool")
    assert workspace.datasets.rename(record.id, "  new name ") == replace(record, name="new name")
    assert workspace.datasets.load(record.id).name == "new name"
    with pytest.raises(WorkspaceError, match="needs a name"):
        workspace.datasets.rename(record.id, " \n")


def test_unknown_ids_are_clear_errors(workspace: Workspace) -> None:
    for call in (
        lambda: workspace.datasets.load("pool-none"),
        lambda: workspace.datasets.record("pool-none"),
        lambda: workspace.datasets.rename("pool-none", "x"),
        lambda: workspace.datasets.delete("pool-none"),
        lambda: workspace.datasets.page("pool-none", limit=1),
        lambda: workspace.datasets.find("pool-none", "x"),
    ):
        with pytest.raises(WorkspaceError, match="no data set 'pool-none'"):
            call()


def test_delete_takes_the_children_and_no_others(workspace: Workspace, make_dataset: Make) -> None:
    dataset = replace(make_dataset(), problems=(Problem("not-json", "s", 1, "f", "m", "r", "e"),))
    kept = workspace.datasets.add(dataset, role="target")
    gone = workspace.datasets.add(dataset, role="pool")
    workspace.datasets.delete(gone.id)
    with workspace._database.read() as cursor:
        for table in ("samples", "problems"):
            assert cursor.execute(f"SELECT DISTINCT dataset_id FROM {table}").fetchall() == [(kept.id,)]
    assert workspace.datasets.add(dataset, role="pool").id == gone.id
    assert workspace.datasets.load(gone.id) == dataset


@pytest.mark.parametrize("used_as", ["pool", "target", "existing"])
def test_delete_is_refused_while_a_run_refers_to_it(workspace: Workspace, make_dataset: Make, used_as: str) -> None:
    ids = {role: workspace.datasets.add(make_dataset(), role=role).id for role in ("pool", "target", "existing")}
    run = workspace.runs.add(RunSpec(ids["pool"], ids["target"], ids["existing"], "m", "auto", "cpu", "float32"))
    with pytest.raises(WorkspaceError, match=f"used by run {run.id}: delete that first"):
        workspace.datasets.delete(ids[used_as])
    assert len(workspace.datasets.load(ids[used_as])) == 2
    workspace.runs.delete(run.id)
    workspace.datasets.delete(ids[used_as])


def test_a_lone_surrogate_is_a_clear_error_and_leaves_nothing(workspace: Workspace, make_dataset: Make) -> None:
    dataset = make_dataset()
    broken = replace(dataset, samples=(dataset.samples[0], replace(dataset.samples[1], raw="\ud800")))
    with pytest.raises(WorkspaceError, match="not valid Unicode"):
        workspace.datasets.add(broken, role="pool")
    with pytest.raises(WorkspaceError, match="not valid Unicode"):
        workspace.datasets.add(replace(dataset, origin=Origin("file", "caf\udce9.json")), role="pool")
    assert workspace.datasets.records() == ()


PAIRS = [
    ("What is 50% of 8?", "4"),
    ("snake_case or CamelCase?", "snake_case"),
    ("snakeXcase", "no underscore"),
    ("Ärger?", "GRÖSSE"),
    ("nul", "a\0b"),
    ("50 percent", "half"),
]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("%", [0]),
        ("50%", [0]),
        ("_", [1]),
        ("SNAKE_CASE", [1]),
        ("snake", [1, 2]),
        ("ärger", [3]),
        ("größe", []),
        ("grösse", [3]),
        ("\0", [4]),
        ("'", []),
        ("\\", []),
        ("row", []),  # the raw record is not searched
        ("", [0, 1, 2, 3, 4, 5]),
    ],
)
def test_search_is_literal_and_blind_to_case(
    workspace: Workspace, make_dataset: Make, search: str, expected: list[int]
) -> None:
    record = workspace.datasets.add(make_dataset(PAIRS), role="pool")
    assert workspace.datasets.find(record.id, search).tolist() == expected
    page = workspace.datasets.page(record.id, search=search, limit=100)
    assert page.total == len(expected)
    assert [row.position for row in page.rows] == expected


def said(sample: Sample) -> str:
    return sample.messages[-1].thoughts + sample.response


@settings(deadline=None, max_examples=30)
@given(dataset=DATASETS, data=st.data())
def test_search_looks_at_prompt_response_and_thoughts_as_sample_shows_them(
    lasting: Workspace, dataset: Dataset, data: st.DataObject
) -> None:
    texts = [text for sample in dataset.samples for turn in sample.messages for text in turn.content]
    search = data.draw(st.sampled_from(texts) if texts else st.just("x"))
    record = lasting.datasets.add(dataset, role="pool")
    try:
        found = set(lasting.datasets.find(record.id, search).tolist())
    finally:
        lasting.datasets.delete(record.id)
    exact = {row for row, sample in enumerate(dataset.samples) if search in f"{sample.prompt}\n\n{said(sample)}"}
    if search != "\n":
        assert exact <= found
    if search.upper() == search.lower():  # no case to be blind to
        assert found == {
            row for row, sample in enumerate(dataset.samples) if search in sample.prompt or search in said(sample)
        }


def test_paging_walks_through_everything_once(workspace: Workspace, make_dataset: Make) -> None:
    dataset = make_dataset([(f"p{row}", f"r{row}") for row in range(23)])
    record = workspace.datasets.add(dataset, role="pool")
    pages = [workspace.datasets.page(record.id, limit=5, offset=offset) for offset in range(0, 30, 5)]
    assert {page.total for page in pages} == {23}
    rows = [row for page in pages for row in page.rows]
    assert [row.position for row in rows] == list(range(23))
    assert tuple(row.sample for row in rows) == dataset.samples


def test_positions_give_the_order_and_the_limit_of_a_search(workspace: Workspace, make_dataset: Make) -> None:
    record = workspace.datasets.add(make_dataset([(f"p{row}", "r") for row in range(20)]), role="pool")
    positions = np.array([19, 3, 1, 12, 0])
    page = workspace.datasets.page(record.id, positions=positions, limit=3, offset=1)
    assert (page.total, [row.position for row in page.rows]) == (5, [3, 1, 12])
    page = workspace.datasets.page(record.id, search="P1", positions=positions, limit=10)
    assert (page.total, [row.position for row in page.rows]) == (3, [19, 1, 12])
    assert workspace.datasets.page(record.id, positions=[], limit=10).total == 0
    with pytest.raises(WorkspaceError, match="has samples 0 to 19"):
        workspace.datasets.page(record.id, positions=[20], limit=10)


def test_pages_of_two_data_sets_do_not_mix(workspace: Workspace, make_dataset: Make) -> None:
    one = workspace.datasets.add(make_dataset([("same", "one")]), role="pool")
    two = workspace.datasets.add(make_dataset([("same", "two")]), role="pool")
    for record, response in ((one, "one"), (two, "two")):
        page = workspace.datasets.page(record.id, search="same", limit=9)
        assert [row.sample.response for row in page.rows] == [response]


@pytest.mark.slow
def test_ten_thousand_rows_take_seconds(tmp_path: Path, make_dataset: Make) -> None:
    """Over the size of one insert, so that chunks meet."""
    dataset = make_dataset([(f"question {row} " + "x" * 200, f"answer {row} " + "y" * 400) for row in range(25_000)])
    with Workspace.open(tmp_path) as workspace:
        started = time.perf_counter()
        record = workspace.datasets.add(dataset, role="pool")
        assert time.perf_counter() - started < 20
        assert workspace.datasets.load(record.id).samples == dataset.samples
        started = time.perf_counter()
        page = workspace.datasets.page(record.id, search="ANSWER 2499", limit=5)
        assert time.perf_counter() - started < 5
        assert page.total == 11  # 2499 and 24990 to 24999


STRUCTURED = [Path(__file__).parents[1] / "fixtures" / name for name in ("reasoning.jsonl", "tools.jsonl")]


@pytest.mark.parametrize("path", STRUCTURED, ids=lambda path: path.stem)
def test_thoughts_calls_and_tools_come_back_and_are_found(workspace: Workspace, path: Path) -> None:
    dataset = load_file(path)
    record = workspace.datasets.add(dataset, role="pool")
    assert not dataset.problems and workspace.datasets.load(record.id) == dataset
    page = workspace.datasets.page(record.id, limit=10)
    assert tuple(row.sample for row in page.rows) == dataset.samples
    responses = [sum(map(len, (one.messages[-1].thoughts, one.response))) for one in dataset.samples]
    assert workspace.datasets.characters(record.id)[:, 1].tolist() == responses
    with_thoughts = [at for at, one in enumerate(dataset.samples) if "MADE 12:15" in one.messages[-1].thoughts.upper()]
    assert workspace.datasets.find(record.id, "made 12:15").tolist() == with_thoughts


@pytest.mark.parametrize("path", STRUCTURED, ids=lambda path: path.stem)
def test_a_data_set_of_an_earlier_version_stays_text_and_can_be_edited(workspace: Workspace, path: Path) -> None:
    """Its rows were stored without structure, and its options without how structure is read."""
    before = load_file(path, ReadOptions(text_only=True))
    assert all(one.conversation == Conversation(one.messages) for one in before.samples)
    record = workspace.datasets.add(before, role="pool")
    workspace.close()
    with duckdb.connect(str(workspace.folder / "delift.duckdb")) as connection:
        connection.execute("ALTER TABLE samples DROP COLUMN structure")
        stored = '{"mapping":null,"answer":null,"turns":"last"}'
        connection.execute("UPDATE datasets SET options = ? WHERE id = ?", [stored, record.id])
        connection.execute("DELETE FROM migrations WHERE version > 17")
    with Workspace.open(workspace.folder) as again:
        dataset = again.datasets.load(record.id)
        assert dataset == before and dataset.origin.options == ReadOptions(text_only=True)
        assert dataset.origin.load().content_hash == before.content_hash == record.content_hash
        structured = load_file(path)
        assert again.datasets.add(structured, role="pool").id != record.id
    reader = reader_of(dataset)
    for sample in dataset.samples:
        text = record_texts(sample)[0]
        after = edit_texts(sample, {text.path: f"{text.text} Now."}, reader)
        assert "Now." in after.messages[0].content and not after.tools
        assert edit_texts(after, {text.path: text.text}, reader) == sample
