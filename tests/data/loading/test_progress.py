"""Loading tells how far it is, and ends when whoever watches says so; nothing is kept then."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from delift_core.data.loading import load_bytes, load_file
from delift_core.system.callbacks import Progress
from delift_core.workspace import Workspace

ROWS = [{"instruction": f"Say {at}", "output": f"It is {at}, and that is what it is."} for at in range(5000)]
LINES = "".join(f"{json.dumps(row)}\n" for row in ROWS).encode()


class Stopped(BaseException):
    """As the one by which a page is run anew."""


def shares(found: list[Progress]) -> list[float]:
    return [one.share for one in found if one.total]


@pytest.mark.parametrize("name", ["x.jsonl", "x.json", "x.jsonl.gz", "x.parquet", "x.csv", "folder"])
def test_every_kind_of_source_tells_its_rows_and_its_share(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name == "folder":
        path.mkdir()
        for part in range(2):
            (path / f"{part}.jsonl").write_bytes(LINES)
    elif name == "x.parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=500)
    elif name == "x.csv":
        path.write_text("instruction,output\n" + "".join(f'{row["instruction"]},"{row["output"]}"\n' for row in ROWS))
    else:
        path.write_bytes({"x.jsonl.gz": gzip.compress(LINES), "x.json": json.dumps(ROWS).encode()}.get(name, LINES))
    told: list[Progress] = []
    rows = len(load_file(path, watch=told.append))
    said = [one.message for one in told]
    assert said[:5] == [f"{one},000 rows" for one in range(1, 6)] and said[-1] == f"{rows:,} rows"
    assert {one.phase for one in told} == {"reading"}
    assert shares(told) == sorted(shares(told)) and len(shares(told)) == len(told)
    assert 0 < told[0].share < told[3].share <= told[-1].share == 1.0
    assert "rows" in str(told[0])


def test_whoever_watches_can_end_it_and_nothing_is_kept(tmp_path: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.message == "2,000 rows":
            raise Stopped

    told: list[Progress] = []

    def stop_late(progress: Progress) -> None:
        told.append(progress)
        raise Stopped

    with pytest.raises(Stopped):
        load_bytes(LINES, "x.jsonl", watch=stop)
    dataset = load_bytes(LINES, "x.jsonl")
    with Workspace.open(tmp_path) as workspace:
        with pytest.raises(Stopped):
            workspace.datasets.add(dataset, role="pool", watch=stop_late)
        assert (told[0].phase, told[0].done, told[0].share) == ("saving", 5000, 1.0)
        assert workspace.datasets.records() == ()
        record = workspace.datasets.add(dataset, role="pool")
        assert workspace.datasets.load(record.id) == dataset
