"""Compressed files, Arrow files and folders of files."""

import bz2
import gzip
import io
import json
import lzma

import pyarrow as pa
import pytest

from delift_core.data.loading import load_bytes, load_file
from delift_core.errors import DataError

ROWS = [{"instruction": f"q{row}", "input": "", "output": f"a é\u2028 {row}"} for row in range(3)]
LINES = "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS).encode()
CSV = b"question,answer\nq,a\nNA,None\n"


def zstd(data):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(data)
    return sink.getvalue().to_pybytes()


PACKINGS = [(gzip.compress, ".gz"), (zstd, ".zst"), (bz2.compress, ".bz2"), (lzma.compress, ".xz")]


@pytest.mark.parametrize(("pack", "suffix"), PACKINGS)
def test_compressed_files_read_as_what_is_in_them(tmp_path, pack, suffix):
    for name, content in (("x.jsonl", LINES), ("x.json", b"[" + LINES.replace(b"\n", b",") + b"]"), ("x.csv", CSV)):
        (tmp_path / f"{name}{suffix}").write_bytes(pack(content))
        (tmp_path / name).write_bytes(content)
        packed, plain = load_file(tmp_path / f"{name}{suffix}"), load_file(tmp_path / name)
        assert packed.content_hash == plain.content_hash and packed.name == "x"
        assert [one.raw for one in packed.samples] == [one.raw for one in plain.samples]
        assert packed.samples[0].source == f"{name}{suffix}"
    assert load_bytes(pack(LINES), f"UP.JSONL{suffix.upper()}").name == "UP"
    assert len(load_bytes(pack(LINES + b"\n") + pack(LINES), f"x.jsonl{suffix}")) == 6  # streams one behind another
    assert len(load_bytes(pack(LINES), "x.jsonl")) == 3  # a name that does not say that it is packed


@pytest.mark.parametrize(("pack", "suffix"), PACKINGS)
@pytest.mark.parametrize("damage", [lambda data: data[:-6], lambda data: b"junk" + data, lambda data: b"plain text"])
def test_damaged_compressed_files_are_refused(pack, suffix, damage):
    with pytest.raises(DataError, match=f"x.jsonl{suffix} cannot be unpacked"):
        load_bytes(damage(pack(LINES * 50)), f"x.jsonl{suffix}")


def test_an_empty_compressed_file_is_empty():
    with pytest.raises(DataError, match="empty"):
        load_bytes(gzip.compress(b""), "x.jsonl.gz")
    with pytest.raises(DataError, match="not JSON"):
        load_bytes(gzip.compress(b"x"), "x.gz")
    assert len(load_bytes(gzip.compress(LINES), "x.gz")) == 3


@pytest.mark.parametrize("opener", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_files_and_streams(tmp_path, opener):
    table = pa.Table.from_pylist(ROWS)
    path = tmp_path / "x.arrow"
    with pa.OSFile(str(path), "wb") as sink, opener(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    data = load_file(path)
    assert (data.format, [one.line for one in data.samples]) == ("alpaca", [1, 2, 3])
    assert [json.loads(one.raw) for one in data.samples] == ROWS
    with pytest.raises(DataError, match="Arrow"):
        load_bytes(path.read_bytes()[: len(path.read_bytes()) // 2], "cut.arrow")
    with pytest.raises(DataError, match="Arrow"):
        load_bytes(b"ARROW1 nonsense", "x.feather")


def test_a_folder_is_read_file_by_file(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.jsonl").write_bytes(LINES)
    (tmp_path / "a.csv").write_bytes(CSV)
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(LINES))
    for name in (".hidden.jsonl", "readme.md", "out.manifest.json", "dataset_info.json"):
        (tmp_path / name).write_bytes(b"not rows")
    data = load_file(tmp_path)
    assert data.name == tmp_path.name and data.format == "alpaca"
    assert [(one.source, one.line) for one in data.samples] == [
        *(("a.csv", line) for line in (1, 2)),
        *(("b/two.jsonl", line) for line in (1, 2, 3)),
        *(("c.jsonl.gz", line) for line in (1, 2, 3)),
    ]


def test_a_problem_in_a_folder_names_its_file(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINES)
    (tmp_path / "b.jsonl").write_bytes(b"not json\n" + LINES)
    assert [(one.source, one.line) for one in load_file(tmp_path).problems] == [("b.jsonl", 1)]


def test_what_datasets_saves_is_read_and_its_splits_are_not_mixed(tmp_path):
    import datasets

    rows = datasets.Dataset.from_list(ROWS)
    rows.save_to_disk(tmp_path / "one")
    assert len(load_file(tmp_path / "one")) == 3
    datasets.DatasetDict({"train": rows, "test": rows}).save_to_disk(tmp_path / "two")
    whole = load_file(tmp_path / "two")
    assert {one.source for one in whole.samples} == {"train/data-00000-of-00001.arrow"}
    assert "test/data-00000-of-00001.arrow" in [one.source for one in whole.files_not_read]
    datasets.DatasetDict({"dev": rows, "test": rows}).save_to_disk(tmp_path / "three")
    with pytest.raises(DataError, match=r"three holds several splits.*validation: .*three/dev.*test: .*three/test"):
        load_file(tmp_path / "three")
    assert len(load_file(tmp_path / "three" / "dev")) == 3


def test_a_folder_without_data_is_refused(tmp_path):
    (tmp_path / "readme.md").touch()
    with pytest.raises(DataError, match="no data file"):
        load_file(tmp_path)


def test_an_arrow_stream_that_was_cut_between_batches_is_reported() -> None:
    table = pa.table({"instruction": [f"q{row}" for row in range(6)], "output": ["a"] * 6})
    out, ends = io.BytesIO(), []
    with pa.ipc.new_stream(out, table.schema) as writer:
        for batch in table.to_batches(max_chunksize=3):
            writer.write_batch(batch)
            ends.append(out.tell())
    data = out.getvalue()
    assert not load_bytes(data, "x.arrow").problems
    for end, rows in zip(ends, (3, 6), strict=True):
        cut = load_bytes(data[:end], "x.arrow")
        assert len(cut) == rows and [(one.kind, one.line) for one in cut.problems] == [("cut-short", rows + 1)]
