"""Folders of files: splits are not mixed, and every file that is not read is named with the reason."""

import gzip
import json
from pathlib import Path

import pytest

from delift_core.cli import main
from delift_core.data.loading import load_file, read_columns
from delift_core.data.loading.file_records import file_hash, split_of
from delift_core.errors import DataError


def rows(*questions: str) -> str:
    return "".join(json.dumps({"question": one, "answer": "a"}) + "\n" for one in questions)


def folder(place: Path, *names: str, **contents: str) -> Path:
    """A folder of files with one row each, which asks for the file's name."""
    for name in names:
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        data = rows(name).encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return place


def asked(place: Path) -> list[str]:
    return [sample.prompt for sample in load_file(place).samples]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train.jsonl", "train"),
        ("Training.csv", "train"),
        ("train_2.jsonl", "train"),
        ("my-data-train.jsonl.gz", "train"),
        ("data/train-00000-of-00002.parquet", "train"),
        ("data/train-00001-of-00002-9f8e7d6c5b4a3210.parquet", "train"),
        ("data/train_sft-00000-of-00001.parquet", "train_sft"),
        ("test/part-1.jsonl", "test"),
        ("en/dev.json", "validation"),
        ("valid.jsonl", "validation"),
        ("set_val.jsonl", "validation"),
        ("eval-1.jsonl", "evaluation"),
        ("split=test/0.parquet", "test"),
        ("split=extra/0.parquet", "extra"),
        ("held/heldout.jsonl", "held-out"),
        ("testset.json", "test"),
        ("data_trainset_v2.json", "train"),
        ("x-train-v1.1.jsonl", "train"),
        ("Test-Set/a.jsonl", "test"),
        ("train_data/a.jsonl", "train"),
        ("tester/a.jsonl", None),
        ("trains.jsonl", None),
        ("contest.jsonl", None),
        ("testimony.jsonl", None),
        ("a-test-of-strength.jsonl", None),
        ("part-00000-of-00002.parquet", None),
        ("questions.jsonl", None),
    ],
)
def test_the_split_that_a_name_says(name: str, split: str | None) -> None:
    assert split_of(Path(name)) == split


@pytest.mark.parametrize(
    ("names", "read"),
    [
        (["train.jsonl", "test.jsonl"], ["train.jsonl"]),
        (["train/a.jsonl", "train/b.jsonl", "test/a.jsonl"], ["train/a.jsonl", "train/b.jsonl"]),
        (["d/train-00000-of-00002.jsonl", "d/train-00001-of-00002.jsonl", "d/validation-00000-of-00001.jsonl"], 2),
        (["x_train.jsonl.gz", "x_dev.jsonl", "notes.jsonl"], ["x_train.jsonl.gz"]),
        (["train.jsonl", "more.jsonl"], ["more.jsonl", "train.jsonl"]),
        (["my_train_rows.jsonl", "my_test_rows.jsonl"], ["my_train_rows.jsonl"]),
        (["a-test-of-strength.jsonl", "b.jsonl"], ["a-test-of-strength.jsonl", "b.jsonl"]),
        (["test/a.jsonl", "test/b.jsonl"], ["test/a.jsonl", "test/b.jsonl"]),
        (["a.jsonl", "b/c.jsonl"], ["a.jsonl", "b/c.jsonl"]),
    ],
)
def test_splits_are_not_mixed(tmp_path: Path, names: list[str], read: list[str] | int) -> None:
    place = folder(tmp_path / "set", *names)
    expected = names[:read] if isinstance(read, int) else read
    data = load_file(place)
    assert asked(place) == expected
    aside = [one for one in names if one not in expected]
    assert sorted(one.source for one in data.files_not_read) == sorted(aside) and data.records_left_out == 0
    assert all("split" in one.message and "path" in one.remedy for one in data.files_not_read)
    # What is left aside is not part of the input that a manifest names.
    before = file_hash(place)
    for name in aside:
        (place / name).unlink()
    assert file_hash(place) == before


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["test.jsonl", "dev.jsonl"], ["test: ", "set/test.jsonl", "validation: ", "set/dev.jsonl"]),
        (["test.jsonl", "rest.jsonl"], ["test: ", "none: ", "set/rest.jsonl"]),
        (["test/a.jsonl", "test/b.jsonl", "dev/a.jsonl"], ["test: ", "set/test", "set/dev/a.jsonl"]),
        (["train_gen-00000-of-00001.jsonl", "train_sft-00000-of-00001.jsonl"], ["train_gen: ", "train_sft: "]),
    ],
)
def test_several_splits_of_which_none_is_train_are_refused(tmp_path: Path, names: list[str], words: list[str]) -> None:
    with pytest.raises(DataError, match="several splits") as raised:
        load_file(folder(tmp_path / "set", *names))
    assert all(word in str(raised.value) for word in words) and "\n" not in str(raised.value)


def everything(place: Path) -> Path:
    """A folder with a file of every kind that is not read."""
    folder(place, "a.jsonl", "b/c.jsonl", ".hidden.jsonl", "_private.jsonl", ".git/config", "d/.cache/e.jsonl")
    for name, data in {
        "notes.md": b"# Notes",
        "part-0": rows("q").encode(),
        "more.txt": b'[{"question": "q", "answer": "a"}]',
        "book.xlsx": b"PK\x03\x04rest",
        "old.zip": b"PK\x03\x04rest",
        "rows.pkl": b"\x80\x04rest",
        "empty.jsonl": b"",
        "out.manifest.json": b"{}",
        "out.dataset_info.json": b"{}",
        "state.json": b"{}",
    }.items():
        (place / name).write_bytes(data)
    for at in range(20):
        (place / "b" / f"{at}.png").write_bytes(b"\x89PNG")
    (place / "gone.jsonl").symlink_to(place / "nowhere.jsonl")
    return place


UNREAD = {
    ".hidden.jsonl": "hidden file",
    "_private.jsonl": "hidden file",
    ".git": "hidden folder",
    "d/.cache": "hidden folder",
    "notes.md": "the suffix .md",
    "part-0": "no suffix, though it looks like JSON",
    "more.txt": "the suffix .txt are not read in a folder, though it looks like JSON",
    "book.xlsx": "a spreadsheet",
    "old.zip": "an archive",
    "rows.pkl": "a pickle",
    "empty.jsonl": "empty",
    "out.manifest.json": "holds no rows",
    "out.dataset_info.json": "holds no rows",
    "state.json": "holds no rows",
    "b/*.png": "(20 files)",
    "gone.jsonl": "broken link",
}


def test_every_file_that_is_not_read_is_named(tmp_path: Path) -> None:
    place = everything(tmp_path / "set")
    found = {one.source: one for one in load_file(place).files_not_read}
    assert {name: words in found[name].message for name, words in UNREAD.items()} == dict.fromkeys(UNREAD, True)
    assert found.keys() == UNREAD.keys() and all(one.line == 0 and one.remedy for one in found.values())
    assert asked(place) == ["a.jsonl", "b/c.jsonl"]
    assert {one.source for one in read_columns(place).not_read} == UNREAD.keys()


def test_commands_name_the_files_and_count_the_rows_of_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = everything(tmp_path / "set")
    (place / "a.jsonl").write_text(rows("q", "r") + "not json\n")
    assert main(["inspect", str(place)]) == 0
    out, told = capsys.readouterr()
    assert "3 rows in columns format" in out and "1 records left out" in out
    assert "file a.jsonl: 2 rows, 1 left out" in out and "file b/c.jsonl: 1 rows" in out
    assert all(f"not read: {name}: " in told for name in UNREAD)
    assert main(["inspect", str(place), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["files"] == [
        {"file": "a.jsonl", "rows": 2, "left_out": 1},
        {"file": "b/c.jsonl", "rows": 1, "left_out": 0},
    ]
    assert {one["file"] for one in document["not_read"]} == UNREAD.keys() and document["left_out"] == 1
    assert [one["kind"] for one in document["problems"]] == ["not-json"]
    assert main(["convert", str(place), "--format", "messages", "--out", str(tmp_path / "o.jsonl")]) == 0
    assert "not read: part-0" in capsys.readouterr().err


def test_a_folder_with_nothing_to_read_names_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("x")
    with pytest.raises(DataError, match=r"has no data file in it; in it are notes\.md; accepted are"):
        load_file(tmp_path)


def test_a_file_without_a_known_suffix_is_read_by_itself(tmp_path: Path) -> None:
    for name in ("part-0", "x.txt", "x.jsonlines", "x.jl", "X.NDJSON"):
        (tmp_path / name).write_text("\ufeff" + rows("q", "r"))
        assert asked(tmp_path / name) == ["q", "r"]


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("x.txt", b"A sentence.", "has the suffix .txt, which is not supported"),
        ("x", b"A sentence.", "has no suffix and is not JSON"),
        ("x.xlsx", b"PK\x03\x04", "a spreadsheet, which is not supported; save the sheet as CSV"),
        ("x.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a spreadsheet"),
        ("x.csv", b"PK\x03\x04", "an archive"),
        ("x.zip", b"PK\x03\x04", "unpack it"),
        ("x.tar.gz", gzip.compress(b"tar", mtime=0), "an archive"),
        ("x.pkl", b"\x80\x04", "never opened"),
        ("x.db", b"SQLite format 3\0", "a database"),
        ("x.parquet", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("x.jsonl", b"<!DOCTYPE html><html>", "a web page"),
        ("x.json", '{"a": 1}'.encode("utf-16-le"), "UTF-16"),
        ("x.json", '{"a": 1}'.encode("utf-32-be"), "UTF-16 or UTF-32"),
    ],
)
def test_a_file_of_another_kind_is_called_what_it_is(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError) as raised:
        load_file(tmp_path / name)
    assert words in str(raised.value) and name in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("owner/a-set", r"write hub:owner/a-set for a data set of the hub"),
        ("owner/a-set.v2", r"write hub:owner/a-set.v2"),
        ("https://example.org/x.jsonl", "is an address"),
        ("hf://datasets/owner/name", "hub:owner/name"),
        ("folder/x.jsonl", "does not exist; check the path"),
        ("part-7", "does not exist; check the path"),
    ],
)
def test_what_is_no_path_here_is_answered_with_what_to_write(name: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        load_file(Path(name))
