from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from delift_core.errors import ScoringError
from delift_core.scoring import store as store_module
from delift_core.scoring.block_files import read_packs
from delift_core.scoring.forecast import RunSamples, plan_pairs
from delift_core.scoring.store import PACKED_ROWS, PairStore, ScoringContext, ZeroShot, read_context
from delift_core.system.files import CHECKSUM_BYTES

CONTEXT = ScoringContext("tiny", "r1", "float32", "chat", 1, 512)
RNG = np.random.default_rng(0)


def numbers(rows: list[str], helper: str) -> np.ndarray:
    """Statistics that depend on nothing but the names, like real scoring does."""
    return np.array([[(hash((row, helper)) % 1000) / 1000, -(hash((helper, row)) % 1000) / 100] for row in rows])


def work_off(store: PairStore, samples: RunSamples) -> int:
    """Scores what the plan says is missing, and returns the number of pairs that took."""
    plan = plan_pairs(store, samples)
    if plan.zero_shot:
        rows = list(plan.zero_shot)
        count = np.full(len(rows), 3)
        store.write_zero_shot(rows, ZeroShot(numbers(rows, ""), count, count, np.ones((len(rows), 4))))
    for group in plan.groups:
        for helper in group.helpers:
            store.write_pairs(helper, list(group.rows), numbers(list(group.rows), helper))
    return plan.pairs_missing


def test_key_depends_on_all_but_the_model_name() -> None:
    other_name = ScoringContext("elsewhere/tiny", "r1", "float32", "chat", 1, 512)
    assert CONTEXT.key == other_name.key
    changed = [
        ScoringContext("tiny", "r2", "float32", "chat", 1, 512),
        ScoringContext("tiny", "r1", "bfloat16", "chat", 1, 512),
        ScoringContext("tiny", "r1", "float32", "plain", 1, 512),
        ScoringContext("tiny", "r1", "float32", "chat", 2, 512),
        ScoringContext("tiny", "r1", "float32", "chat", 1, 256),
    ]
    assert len({context.key for context in changed} | {CONTEXT.key}) == len(changed) + 1


def test_a_grown_pool_scores_only_new_rows_and_columns(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    assert work_off(store, RunSamples(pool=("a", "b", "c"))) == 9
    assert work_off(store, RunSamples(pool=("a", "b", "c"))) == 0
    assert work_off(store, RunSamples(pool=("a", "b", "c", "d"))) == 3 + 4
    assert work_off(store, RunSamples(pool=("a", "b", "c", "d"), target=("t",))) == 4
    assert work_off(store, RunSamples(pool=("d", "a"), existing=("e", "b"))) == 2  # b has helped a and d already


def test_matrix_is_helped_by_helper_and_survives_a_new_process(tmp_path: Path) -> None:
    work_off(PairStore.open(tmp_path, CONTEXT), RunSamples(pool=("a", "b"), target=("t",)))
    reopened = PairStore.open(tmp_path, CONTEXT)
    matrix = reopened.utility_matrix(("t", "a"), ("b", "a"), "pmi")
    alone = numbers(["t", "a"], "")[:, 1]
    for column, helper in enumerate(("b", "a")):
        assert matrix[:, column] == pytest.approx(numbers(["t", "a"], helper)[:, 1] - alone, abs=1e-5)


def test_unscored_pairs_are_nan_and_unscored_samples_have_no_tokens(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    work_off(store, RunSamples(pool=("a", "b")))
    matrix = store.utility_matrix(("a", "x"), ("b", "y"), "euclidean")
    assert np.isnan(matrix).tolist() == [[False, True], [True, True]]
    assert store.zero_shot(("a", "x")).scored.tolist() == [True, False]


def test_repeated_samples_share_their_numbers(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    assert work_off(store, RunSamples(pool=("a", "b", "a"))) == 4
    matrix = store.utility_matrix(("a", "b", "a"), ("a", "b", "a"), "pmi")
    assert np.array_equal(matrix[0], matrix[2]) and np.array_equal(matrix[:, 0], matrix[:, 2])


def test_a_damaged_block_is_scored_again(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    work_off(store, RunSamples(pool=("a", "b", "c")))
    block = next((store.folder / "pairs").glob("b.*.npy"))
    block.write_bytes(block.read_bytes()[:-4])
    reopened = PairStore.open(tmp_path, CONTEXT)
    assert work_off(reopened, RunSamples(pool=("a", "b", "c"))) == 3
    assert not np.isnan(PairStore.open(tmp_path, CONTEXT).utility_matrix(("a",), ("b",), "pmi")).any()


def test_leftovers_of_a_killed_writer_are_not_blocks(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    (store.folder / "pairs" / ".tmpabc").write_bytes(b"half")
    assert plan_pairs(PairStore.open(tmp_path, CONTEXT), RunSamples(pool=("a",))).pairs_missing == 1


names = st.lists(st.sampled_from("abcdefgh"), max_size=8)


@given(st.lists(st.tuples(names, names, names, st.booleans()), max_size=4))
@settings(max_examples=40, deadline=None)
def test_whatever_was_scored_before_a_run_ends_complete(
    tmp_path_factory: pytest.TempPathFactory, runs: list[tuple[list[str], list[str], list[str], bool]]
) -> None:
    store = PairStore.open(tmp_path_factory.mktemp("store"), CONTEXT)
    for pool, target, existing, packed in runs:
        samples = RunSamples(tuple(pool), tuple(target), tuple(existing))
        work_off(store, samples)
        if packed:
            store.compact()
        assert not np.isnan(store.utility_matrix(samples.pool + samples.target, samples.pool, "pmi")).any()
        assert not np.isnan(store.utility_matrix(samples.pool, samples.existing, "pmi")).any()
        assert plan_pairs(store, samples).pairs_missing == 0


SAMPLES = RunSamples(pool=("a", "b", "c"))


def flip(path: Path, place: int = -20) -> None:
    """Changes one byte of a file and keeps its size, as a failing disk does."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x40
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(("block", "again"), [("pairs/b.*.npy", 3), ("alone/*.npy", 0), ("rows/*.json", 9)])
@pytest.mark.parametrize("place", [-10, 3, -1])
def test_one_wrong_byte_is_noticed_and_its_block_scored_again(
    tmp_path: Path, block: str, again: int, place: int
) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    work_off(store, SAMPLES)
    whole = store.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")
    flip(next(store.folder.glob(block)), place)
    reopened = PairStore.open(tmp_path, CONTEXT)
    if not block.startswith("rows"):  # without their names, blocks are not looked at
        with pytest.raises(ScoringError, match="damaged on disk"):
            reopened.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")
    assert reopened.remove_damaged() >= 1
    assert work_off(reopened, SAMPLES) == again
    assert np.array_equal(PairStore.open(tmp_path, CONTEXT).utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi"), whole)
    assert PairStore.open(tmp_path, CONTEXT).remove_damaged() == 0


def test_blocks_of_earlier_versions_have_no_checksum_and_are_read(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    work_off(store, SAMPLES)
    whole = store.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")
    for path in store.folder.glob("*/*.npy"):
        path.write_bytes(path.read_bytes()[:-CHECKSUM_BYTES])
    older = PairStore.open(tmp_path, CONTEXT)
    assert older.remove_damaged() == 0 and work_off(older, SAMPLES) == 0
    assert np.array_equal(older.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi"), whole)


@pytest.mark.parametrize("left", [b"", b"{", b"{}", b"null", b'{"model": 1}'])
def test_a_damaged_description_is_written_again(tmp_path: Path, left: bytes) -> None:
    description = PairStore.open(tmp_path, CONTEXT).folder / "context.json"
    description.write_bytes(left)
    assert read_context(PairStore.open(tmp_path, CONTEXT).folder) == CONTEXT


def test_one_pair_is_what_the_whole_listing_says_of_it(tmp_path: Path) -> None:
    names = tuple("abcd")
    work_off(PairStore.open(tmp_path, CONTEXT), RunSamples(pool=names[:3]))
    work_off(PairStore.open(tmp_path, CONTEXT), RunSamples(pool=names))
    listed = PairStore.open(tmp_path, CONTEXT)
    for row in (*names, "stranger"):
        for helper in (*names, "stranger"):
            expected = listed.pair_statistics([row], helper)
            for store in (PairStore.open(tmp_path, CONTEXT), listed):
                np.testing.assert_array_equal(store.pair(row, helper), expected)


def test_packed_blocks_are_one_file_with_the_same_numbers(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    work_off(store, SAMPLES)
    loose = store.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")
    assert store.compact() == 3 and store.compact() == 0
    assert not list((store.folder / "pairs").iterdir()) and len(list((store.folder / "packs").iterdir())) == 1
    for reader in (store, PairStore.open(tmp_path, CONTEXT)):
        assert np.array_equal(reader.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi"), loose)
        assert np.isnan(reader.pair_statistics(["a", "stranger"], "b")).tolist() == [[False] * 2, [True] * 2]
        assert np.isnan(reader.pair("a", "stranger")).all()
        assert work_off(reader, SAMPLES) == 0
    assert work_off(store, RunSamples(pool=("a", "b", "c", "d"))) == 3 + 4
    assert store.compact() == 4 and PairStore.open(tmp_path, CONTEXT).remove_damaged() == 0
    assert work_off(PairStore.open(tmp_path, CONTEXT), RunSamples(pool=("a", "b", "c", "d"))) == 0


def test_large_blocks_stay_files_of_their_own(tmp_path: Path) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    rows = [f"row {number}" for number in range(PACKED_ROWS + 1)]
    store.write_pairs("a", rows, numbers(rows, "a"))
    assert store.compact() == 0
    assert len(list((store.folder / "pairs").iterdir())) == 1


def test_readers_with_an_older_listing_find_what_was_packed_since(tmp_path: Path) -> None:
    writer = PairStore.open(tmp_path, CONTEXT)
    work_off(writer, SAMPLES)
    reader = PairStore.open(tmp_path, CONTEXT)
    before = reader.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")
    writer.compact()
    assert np.array_equal(reader.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi"), before)
    assert np.array_equal(reader.pair("a", "b"), writer.pair("a", "b"))
    # The reader writes rows that it remembers, and whose list of names went with the blocks.
    reader.write_pairs("z", list(SAMPLES.pool), numbers(list(SAMPLES.pool), "z"))
    assert PairStore.open(tmp_path, CONTEXT).missing(SAMPLES.pool, "z") == ()


def test_a_kill_between_a_pack_and_the_end_of_its_blocks_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    work_off(store, SAMPLES)
    before = store.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "unlink", killed)
    with pytest.raises(KeyboardInterrupt):
        store.compact()
    monkeypatch.undo()
    after = PairStore.open(tmp_path, CONTEXT)
    assert work_off(after, SAMPLES) == 0 and after.compact() == 3
    assert len(list((store.folder / "packs").iterdir())) == 1  # its name is the hash of what it holds
    assert np.array_equal(after.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi"), before)


@pytest.mark.parametrize("place", [0, 40, -30, -1])
def test_one_wrong_byte_of_a_pack_is_noticed_and_its_pairs_scored_again(tmp_path: Path, place: int) -> None:
    store = PairStore.open(tmp_path, CONTEXT)
    work_off(store, SAMPLES)
    before = store.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")
    store.compact()
    flip(next((store.folder / "packs").iterdir()), place)
    reopened = PairStore.open(tmp_path, CONTEXT)
    with pytest.raises(ScoringError, match="damaged on disk .packs"):
        reopened.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi")
    assert reopened.remove_damaged() == 1
    assert work_off(reopened, SAMPLES) == 9
    assert np.array_equal(reopened.utility_matrix(SAMPLES.pool, SAMPLES.pool, "pmi"), before)


def test_collected_blocks_are_read_at_once_and_on_disk_when_there_are_many_or_time_has_passed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_disk() -> int:
        return len(read_packs(store.folder / "packs").rows)

    now = iter(range(0, 1000))
    monkeypatch.setattr(store_module.time, "monotonic", lambda: next(now))
    monkeypatch.setattr(store_module, "BLOCKS_PER_PACK", 3)
    store = PairStore.open(tmp_path, CONTEXT)
    rows = ["a", "b"]
    store.buffer_pairs("a", rows, numbers(rows, "a"))
    assert on_disk() == 0 and np.allclose(store.pair_statistics(rows, "a"), numbers(rows, "a")) and on_disk() == 2
    for helper in "bcd":
        store.buffer_pairs(helper, rows, numbers(rows, helper))
    assert on_disk() == 2 + 6
    store.buffer_pairs("e", rows, numbers(rows, "e"))
    now = iter(range(2000, 3000))
    store.buffer_pairs("f", rows, numbers(rows, "f"))
    assert on_disk() == 2 + 6 + 4 and len(list((store.folder / "packs").iterdir())) == 3
    assert store.compact() == 0 and len(list((store.folder / "packs").iterdir())) == 1
    for helper in "abcdef":
        assert PairStore.open(tmp_path, CONTEXT).missing(rows, helper) == ()
        assert np.allclose(store.pair_statistics(rows, helper), numbers(rows, helper))


def test_packs_that_hold_the_same_pairs_become_one_with_each_once(tmp_path: Path) -> None:
    one, other = PairStore.open(tmp_path, CONTEXT), PairStore.open(tmp_path, CONTEXT)
    one.buffer_pairs("a", ["a", "b"], numbers(["a", "b"], "a"))
    other.buffer_pairs("a", ["b", "c"], numbers(["b", "c"], "a"))
    one.flush()
    other.compact()
    assert len(read_packs(one.folder / "packs").rows) == 3
    assert np.allclose(other.pair_statistics(["c", "a"], "a"), numbers(["c", "a"], "a"))
