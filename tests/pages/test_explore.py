"""The Explore page: the picked pair, the windows of the matrix, and picking rows on the map."""

import getpass
import json
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from hypothesis import given
from hypothesis import strategies as strategy
from scipy.sparse import coo_array
from streamlit.testing.v1 import AppTest

from delift_core.curation.curate import keep_selection
from delift_core.curation.pair_reading import ResponsePiece
from delift_core.curation.scoring_runs import ScoredRun, open_run
from delift_core.curation.selector import Selector
from delift_core.data.quality.facets import cluster_codes
from delift_core.errors import DeliftError
from delift_core.samples import Message, Sample
from delift_core.selection.request import SelectionRequest
from delift_core.selection.types import Budget, ObjectiveConfig
from delift_core.workspace import Edit, Workspace
from pages.figures.matrix_parts import blocks
from pages.ui.explore import map_view
from pages.ui.explore.matrix_view import Picture, box_window, picture_of
from pages.ui.explore.pair_tokens import marked
from pages.ui.explore.picked_view import positions_of_lines, records_of
from tests.app import app_on

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def quick_map(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coordinates without UMAP, which has tests of its own and takes seconds to start."""
    monkeypatch.setattr(map_view, "kept_layout", lambda run: run.embeddings()[:, :2])


def explore(view: str = "Matrix") -> AppTest:
    at = app_on("explore").run()
    if view != "Matrix":
        at.segmented_control(key="view").set_value(view).run()
    assert not at.exception
    return at


def stored_run(folder: Path) -> ScoredRun:
    st.cache_resource.clear()
    with Workspace.open(folder) as workspace:
        return open_run(workspace, "r1")


def stored_edits(folder: Path) -> tuple[Edit, ...]:
    st.cache_resource.clear()
    with Workspace.open(folder) as workspace:
        return workspace.edits.history("s1")


def pair_numbers(at: AppTest) -> list[float]:
    return [float(value) for value in at.table[0].value.iloc[:, -1]]


def test_starts_with_the_pair_that_helps_most(scored_workspace: Path) -> None:
    at = explore()
    utility, without, with_example = pair_numbers(at)
    picked = at.number_input(key="row_line").value, at.number_input(key="column_line").value
    run = stored_run(scored_workspace)
    matrix = run.utilities("euclidean").pool
    row, column = np.unravel_index(np.nanargmax(matrix), matrix.shape)
    assert picked == (run.pool[row].line, run.pool[column].line)
    assert utility == pytest.approx(matrix[row, column], abs=5e-4)
    assert without - with_example == pytest.approx(utility, abs=2e-3)


def test_lines_typed_pick_the_pair_and_show_both_texts(scored_workspace: Path) -> None:
    at = explore()
    at.number_input(key="row_line").set_value(9)
    at.number_input(key="column_line").set_value(12).run()
    texts = [text.value for text in at.text]
    assert texts[:2] == ["Is water wet?", "Yes, *very* wet: **100 %** <b>wet</b>."]
    assert texts[2:] == ["What is the capital of Peru?", "Lima."]
    shown = pair_numbers(at)[0]
    run = stored_run(scored_workspace)
    at_line = {sample.line: position for position, sample in enumerate(run.pool)}
    assert shown == pytest.approx(run.utilities("euclidean").pool[at_line[9], at_line[12]], abs=5e-4)


def test_a_line_that_was_left_out_is_said_to_be(scored_workspace: Path) -> None:
    at = explore()
    at.number_input(key="row_line").set_value(4).run()
    assert [info.value for info in at.info] == ["Row 4 is not among the scored rows of the pool."]
    assert not at.table


def test_a_row_as_its_own_example_is_no_gain(scored_workspace: Path) -> None:
    at = explore()
    at.number_input(key="row_line").set_value(5)
    at.number_input(key="column_line").set_value(5).run()
    assert any("gives away the answer" in caption.value for caption in at.caption)


def test_lines_pick_rows_of_the_map_which_are_dropped_and_brought_back(scored_workspace: Path) -> None:
    at = explore("Map")
    at.text_input(key="picked_lines").set_value("2-5, 13").run()
    assert [text.value for text in at.text] == ["Rows 2, 3, 5, 13"]
    assert at.text_input(key="picked_lines").value == ""
    at.text_input(key="picked_lines").set_value("1").run()
    assert [text.value for text in at.text] == ["Rows 1, 2, 3, 5, 13"]
    at.button(key="map_drop").click().run()
    at.button(key="map_undo").click().run()
    assert not at.exception
    (edit,) = stored_edits(scored_workspace)
    run = stored_run(scored_workspace)
    assert [sample.line for sample in run.pool if sample.id in edit.sample_ids] == [1, 2, 3, 5, 13]
    assert (edit.action, edit.author, edit.state) == ("drop", getpass.getuser(), "undone")


def area(indices: list[int]) -> dict[str, object]:
    return {"selection": {"selected": [{"series_index": 0, "data_indices": indices}]}}


@pytest.mark.parametrize(
    ("held", "tool", "expected"),
    [
        ("only", "only", [0, 11]),
        ("add", "only", [3, 4, 0, 11]),
        ("only", "add", [3, 4, 0, 11]),
        ("remove", "add", [3, 4]),
    ],
)
def test_an_area_of_the_map_picks_only_rows_of_the_pool_in_the_way_that_is_said(
    scored_workspace: Path, held: str, tool: str, expected: list[int]
) -> None:
    run = stored_run(scored_workspace)
    ids = [sample.id for sample in run.pool]
    assert len(ids) == 12  # points 12 to 15 are target and existing rows
    at = AppTest.from_function(_draw_an_area)
    at.session_state["run"], at.session_state["event"] = run, area([0, 11, 12, 15, 99])
    at.session_state["picks"] = {"r1": (ids[3], ids[4])}
    at.session_state["picking_keys"], at.session_state["picking_way"] = {"way": held}, tool
    at.run()
    assert not at.exception
    assert at.session_state["picks"] == {"r1": tuple(ids[position] for position in expected)}


def _draw_an_area() -> None:
    import streamlit as st

    from pages.ui.explore.map_view import take_area

    take_area(st.session_state["run"], st.session_state["event"])


def test_picked_rows_are_kept_tagged_and_listed_with_what_they_say(scored_workspace: Path) -> None:
    at = explore("Map")
    at.text_input(key="picked_lines").set_value("1, 9").run()
    (table,) = [frame.value for frame in at.dataframe if "Prompt" in frame.value]
    assert table["Row"].tolist() == [1, 9] and table["Prompt"].tolist() == ["Add 2 and 3.", "Is water wet?"]
    at.text_input(key="picked_tag").set_value("to check").run()
    at.button(key="map_tag").click().run()
    at.button(key="map_keep").click().run()
    at.button(key="map_clear").click().run()
    assert not at.exception and at.button(key="map_keep").disabled
    tag, keep = stored_edits(scored_workspace)
    run = stored_run(scored_workspace)
    picked = tuple(sample.id for sample in run.pool if sample.line in (1, 9))
    assert (tag.action, tag.detail, tag.sample_ids) == ("tag", "to check", picked)
    assert (keep.action, keep.sample_ids) == ("keep", picked)


def test_the_file_of_picked_rows_holds_their_records_as_found(scored_workspace: Path) -> None:
    run = stored_run(scored_workspace)
    assert records_of(run, None, [0, 2]) == f"{run.pool[0].raw}\n{run.pool[2].raw}\n".encode()


def test_the_matrix_is_ordered_by_clusters_of_the_embeddings(scored_workspace: Path) -> None:
    at = explore()
    at.radio(key="row_order").set_value("Cluster").run()
    assert not at.exception and not at.error
    assert any("By cluster" in caption.value for caption in at.caption)
    run = stored_run(scored_workspace)
    order = np.argsort(cluster_codes(run.embeddings()[: len(run.pool)]), kind="stable")
    figure = json.loads(at.get("plotly_chart")[0].proto.spec)
    ticks = figure["layout"]["yaxis"]["labelalias"]
    assert [ticks[str(place)] for place in range(len(order))] == [f"row {run.pool[row].line}" for row in order]


@pytest.mark.parametrize("colours", ["Response length", "Cluster", "Gain", "Coverage"])
def test_the_map_takes_its_colours_from_labels_and_numbers(scored_workspace: Path, colours: str) -> None:
    at = explore("Map")
    at.selectbox(key="map_colours").set_value(colours).run()
    assert not at.exception and not at.error
    spec = json.loads(at.get("echarts_chart")[0].proto.spec)
    assert len(spec["series"]) > 1 and all("(" in series["name"] for series in spec["series"])


def test_another_selection_is_shown_beside_the_current_one(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        selector = Selector(open_run(workspace, "r1"))
        keep_selection(
            workspace, selector, SelectionRequest(ObjectiveConfig("instruction"), Budget("rows", 7)), name="larger"
        )
    at = explore("Map")
    at.selectbox(key="map_colours").set_value("Compared with: first (s1)").run()
    assert not at.exception and not at.error
    spec = json.loads(at.get("echarts_chart")[0].proto.spec)
    assert [series["name"] for series in spec["series"]] == ["in neither (5)", "in both (4)", "only in A (3)"]


def test_a_closer_view_is_around_the_picked_rows_and_stays_until_the_whole_map_is_asked_for(
    scored_workspace: Path,
) -> None:
    at = explore("Map")
    whole = json.loads(at.get("echarts_chart")[0].proto.spec)["xAxis"]
    at.text_input(key="picked_lines").set_value("1, 9").run()
    at.button(key="map_closer").click().run()
    at.button(key="map_drop").click().run()
    closer = json.loads(at.get("echarts_chart")[0].proto.spec)["xAxis"]
    run = stored_run(scored_workspace)
    across = run.embeddings()[[position for position in range(12) if run.pool[position].line in (1, 9)], 0]
    assert closer["min"] < across.min() and closer["max"] > across.max() and closer != whole
    at.button(key="map_whole").click().run()
    assert json.loads(at.get("echarts_chart")[0].proto.spec)["xAxis"] == whole


def test_an_unreadable_list_of_lines_is_refused_in_one_line(scored_workspace: Path) -> None:
    at = explore("Map")
    at.text_input(key="picked_lines").set_value("two").run()
    assert "write it like 3, 8" in at.error[0].value and at.button(key="map_keep").disabled


def test_without_a_selection_there_is_a_map_but_nothing_to_edit(scored_workspace: Path) -> None:
    with Workspace.open(scored_workspace) as workspace:
        workspace.selections.delete("s1")
    at = explore("Map")
    assert "select" in [link.proto.page for link in at.get("page_link")]
    assert not {"map_keep", "map_drop", "map_tag"} & {button.key for button in at.button}
    assert any("No selection yet" in caption.value for caption in at.caption)
    assert pair_numbers(explore())


def test_an_unscored_workspace_links_to_score(workspace_dir: Path) -> None:
    st.cache_resource.clear()
    at = explore()
    assert [link.proto.page for link in at.get("page_link")][-1] == "score"
    st.cache_resource.clear()


@given(strategy.integers(1, 40), strategy.integers(1, 40), strategy.integers(1, 12), strategy.data())
def test_a_box_covers_the_pairs_of_its_blocks(rows: int, columns: int, size: int, data: strategy.DataObject) -> None:
    cut = blocks(np.zeros((rows, columns)), np.arange(rows), np.arange(columns), size)
    picture = Picture(cut.mean, cut.row_edges + 7, cut.col_edges + 3, np.zeros(cut.mean.shape, dtype=bool))
    top, first = (data.draw(strategy.integers(0, len(edges) - 2)) for edges in (cut.row_edges, cut.col_edges))
    height, width = data.draw(strategy.integers(1, 60)), data.draw(strategy.integers(1, 60))
    window = box_window(picture, (top, top + height, first, first + width))
    row_blocks = np.searchsorted(cut.row_edges, np.arange(rows), side="right") - 1
    column_blocks = np.searchsorted(cut.col_edges, np.arange(columns), side="right") - 1
    wanted_rows = np.flatnonzero((row_blocks >= top) & (row_blocks < top + height)) + 7
    wanted_columns = np.flatnonzero((column_blocks >= first) & (column_blocks < first + width)) + 3
    assert window is not None
    assert list(range(*window[:2])) == wanted_rows.tolist() and list(range(*window[2:])) == wanted_columns.tolist()
    assert picture.is_blocks == (rows > size or columns > size)
    assert box_window(picture, (len(picture.row_edges), len(picture.row_edges) + 1, 0, 1)) is None


@given(strategy.integers(1, 12), strategy.sampled_from(["mean", "max"]), strategy.integers(0, 1000))
def test_estimates_fill_what_was_not_scored_and_are_counted(most: int, shown: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    full = rng.normal(size=(9, 9)).astype(np.float32)
    kind = rng.integers(0, 3, (9, 9))  # scored, estimated, neither
    scored, guessed = (coo_array((full[kind == k], np.nonzero(kind == k)), shape=(9, 9)).tocsr() for k in (0, 1))
    order, view = rng.permutation(9), (1, 9, 0, 7)
    picture = picture_of(scored, guessed, order, view, shown, most)
    known = np.where(kind < 2, full, np.nan)
    expected = blocks(known, order[1:9], order[0:7], most)
    np.testing.assert_allclose(picture.values, getattr(expected, shown), atol=1e-5)
    window_kinds = kind[np.ix_(order[1:9], order[0:7])]
    assert picture.guesses == (int((window_kinds == 1).sum()), int((window_kinds < 2).sum()))
    if most >= 8:
        np.testing.assert_array_equal(picture.estimated, window_kinds == 1)


@given(strategy.lists(strategy.tuples(strategy.integers(1, 30), strategy.integers(0, 6)), min_size=1, max_size=5))
def test_lists_of_lines_name_the_rows_on_them(spans: list[tuple[int, int]]) -> None:
    pool = tuple(
        Sample(str(line), (Message("assistant", ""),), "", "pool", line, "") for line in range(1, 31) if line % 4
    )
    text = ", ".join(f"{low}" if not extra else f"{low} - {low + extra}" for low, extra in spans)
    wanted = {line for low, extra in spans for line in range(low, low + extra + 1)}
    assert [pool[position].line for position in positions_of_lines(text, pool)] == sorted(
        wanted & {sample.line for sample in pool}
    )


@pytest.mark.parametrize("text", ["a", "1;2", "-3", "1-", "1--2", "1 2"])
def test_other_lists_are_refused(text: str) -> None:
    with pytest.raises(DeliftError, match="write it like"):
        positions_of_lines(text, ())


def test_the_pair_can_be_read_token_by_token(scored_workspace: Path) -> None:
    at = explore()
    at.toggle(key="pair_tokens").set_value(True).run()
    assert not at.exception and not at.error
    (numbers,) = (frame.value for frame in at.dataframe if "p alone" in frame.value)
    helped = at.number_input(key="row_line").value
    sample = next(sample for sample in stored_run(scored_workspace).pool if sample.line == helped)
    assert "".join(numbers["Token"]) == sample.response


def test_marked_text_from_data_is_escaped() -> None:
    html = marked((ResponsePiece("<img src=x onerror=alert(1)>", 0.1, 0.9), ResponsePiece('"a" & b\n', 0.5, 0.1)))
    assert "<img" not in html and "&lt;img" in html
    assert "solid" in html and "dotted" in html
