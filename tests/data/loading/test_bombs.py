"""Small files that unpack to very much: refused in one line while they are read, before they take the memory."""

import gzip
import io
import tracemalloc
import zlib

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from delift_core.data.loading import load_bytes, load_file, read_columns_of_bytes
from delift_core.data.loading.size_limits import FACTOR, MIN_UNPACKED, VARIABLE, Allowance, unpacked_bytes
from delift_core.errors import DataError

MEGABYTE = 1 << 20
TEXT = "x" * MEGABYTE


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


def parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **options)
    return out.getvalue()


def arrow(table: pa.Table, opener: object = pa.ipc.new_stream, codec: str | None = None) -> bytes:
    out = io.BytesIO()
    with opener(out, table.schema, options=pa.ipc.IpcWriteOptions(compression=codec)) as writer:  # type: ignore[operator]
        writer.write_table(table)
    return out.getvalue()


def repeated(rows: int) -> pa.Table:
    """Rows that all refer to one text of a megabyte."""
    text = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array([TEXT]))
    return pa.table({"instruction": text, "output": pa.array(["a"] * rows)})


def plain(rows: int) -> pa.Table:
    return pa.table({"instruction": pa.array(["x" * 10_000] * rows), "output": pa.array(["a"] * rows)})


def in_a_list(count: int) -> pa.Table:
    """One row that is a list of many references to one text."""
    texts = pa.DictionaryArray.from_arrays(pa.array([0] * count, pa.int32()), pa.array([TEXT]))
    return pa.table({"messages": pa.ListArray.from_arrays(pa.array([0, count], pa.int32()), texts)})


NOTHING = pa.table({"messages": pa.array([[None] * 5_000_000], pa.list_(pa.string()))})
BOMBS = {
    "zeros.jsonl.gz": gzip.compress(b"\0" * MEGABYTE) * 64,
    "rows.jsonl.zst": zstd(b'{"instruction": "q", "output": "a"}\n' * 1_000_000),
    "a text for every row.parquet": parquet(repeated(64)),
    "a text many times in a row.parquet": parquet(in_a_list(64)),
    "pages of one letter.parquet": parquet(plain(4_000), compression="zstd", use_dictionary=False),
    "texts that begin alike.parquet": parquet(
        pa.table({"instruction": [TEXT] * 64, "output": ["a"] * 64}),
        use_dictionary=False,
        column_encoding={"instruction": "DELTA_BYTE_ARRAY", "output": "PLAIN"},
    ),
    "a row of nothing.parquet": parquet(NOTHING, compression="zstd"),
    "a text for every row.arrow": arrow(repeated(64)),
    "a text many times in a row.arrow": arrow(in_a_list(64)),
    "buffers of one letter.arrow": arrow(plain(4_000), codec="zstd"),
    "buffers of one letter.feather": arrow(plain(4_000), pa.ipc.new_file, "lz4"),
}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound of 16 MiB."""
    monkeypatch.setenv(VARIABLE, "16")


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_in_a_line_and_takes_little_memory(name: str) -> None:
    data = BOMBS[name]
    assert len(data) < 3 * MEGABYTE
    arrow_before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=f"unpacks to more than 16 MiB.*set {VARIABLE} to the MiB") as refusal:
            load_bytes(data, name)
        taken = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert "\n" not in str(refusal.value) and str(refusal.value).startswith(name)
    assert taken < 80 * MEGABYTE
    assert pa.default_memory_pool().max_memory() - arrow_before < 80 * MEGABYTE


def test_a_gigabyte_in_a_megabyte_is_refused_by_default(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    path = tmp_path / "bomb.json.gz"
    path.write_bytes(gzip.compress(b" " * MEGABYTE) * 1024)
    assert path.stat().st_size < 1.2 * MEGABYTE
    with pytest.raises(DataError, match=f"bomb.json.gz unpacks to more than {MIN_UNPACKED >> 20} MiB"):
        load_file(path)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("name", [name for name in BOMBS if "row" in name and "nothing" not in name])
def test_the_form_that_previews_refuses_too(name: str) -> None:
    with pytest.raises(DataError, match="unpacks to more than"):
        list(read_columns_of_bytes(BOMBS[name], name, limit=10_000).records)


def test_the_bound_can_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "a text for every row.parquet"
    monkeypatch.setenv(VARIABLE, "1000")
    assert len(load_bytes(BOMBS[name], name)) == 64
    monkeypatch.setenv(VARIABLE, "a lot")
    with pytest.raises(DataError, match=f"{VARIABLE} is 'a lot'; set it to a whole number of MiB"):
        load_bytes(BOMBS[name], name)


def test_the_bound_grows_with_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    assert Allowance("x", 10).most == MIN_UNPACKED
    assert Allowance("x", MIN_UNPACKED).most == min(8 << 30, FACTOR * MIN_UNPACKED)
    allowance = Allowance("x", 10)
    allowance.take(MIN_UNPACKED)
    with pytest.raises(DataError):
        allowance.take(1)


@pytest.mark.slow
def test_what_ordinary_files_hold_is_read_as_before() -> None:
    rows = [
        {"instruction": f"q{row % 3}", "output": "é" * row, "meta": {"tags": ["a", None, f"t{row % 2}"], "n": row}}
        for row in range(3_000)
    ]
    table = pa.Table.from_pylist(rows)
    text = pa.array([row["instruction"] for row in rows]).dictionary_encode()
    coded = table.set_column(0, "instruction", text)
    for name, data in (
        ("x.parquet", parquet(table, row_group_size=700)),
        ("fallback.parquet", parquet(table, dictionary_pagesize_limit=2_000, data_page_size=1_000)),
        ("delta.parquet", parquet(table, use_dictionary=False, column_encoding={"instruction": "DELTA_BYTE_ARRAY"})),
        ("x.arrow", arrow(table, codec="zstd")),
        ("x.feather", arrow(table, pa.ipc.new_file, "lz4")),
        ("coded.arrow", arrow(coded, pa.ipc.new_file)),
        ("coded.arrow", arrow(coded)),
    ):
        loaded = load_bytes(data, name)
        assert [zlib.crc32(one.raw.encode()) for one in loaded.samples] == [
            zlib.crc32(one.raw.encode())
            for one in load_bytes(parquet(table, use_dictionary=False), "x.parquet").samples
        ]


@pytest.mark.slow
def test_values_that_lie_in_the_same_bytes_are_refused_before_they_are_written_out() -> None:
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([1_000_000], pa.int32()), pa.array([TEXT]))
    one = pa.array([TEXT], pa.string_view())
    views = pa.DictionaryArray.from_arrays(pa.array([0] * 1_000, pa.int32()), one)
    for same in (runs, views):
        tracemalloc.start()
        with pytest.raises(DataError, match="unpacks to more than"):
            load_bytes(arrow(pa.table({"instruction": same})), "x.arrow")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2 * MIN_UNPACKED


@pytest.mark.parametrize(
    ("array", "least"),
    [
        (pa.array(["ab"] * 10), 20),
        (pa.array(["ab"] * 10).dictionary_encode(), 20),
        (pa.array([["ab", "cd"]] * 10), 40),
        (pa.array([{"a": "ab", "b": None}] * 10), 20),
        (pa.array([[("k", "ab")]] * 10, pa.map_(pa.string(), pa.string())), 30),
        (pa.array([[("k", "ab")]] * 10, pa.map_(pa.string(), pa.string())).slice(5, 2), 6),
        (pa.array([["ab"] * 3] * 10).slice(8), 12),
    ],
)
def test_what_an_array_takes_written_out(array: pa.Array, least: int) -> None:
    assert least <= unpacked_bytes(array) <= least + 40 * (len(array) * 4 + 4)
    assert unpacked_bytes(array.slice(0, 0)) <= 64
