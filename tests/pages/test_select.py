"""The Select page: stages on cards, quotas, and a budget that is answered from stored orders."""

import re
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from delift_core.curation import selector as selecting
from delift_core.curation.scoring_runs import open_run
from delift_core.curation.selector import Selector
from delift_core.evaluation.method_orders import kept_order, measured_order
from delift_core.selection.request import SelectionRequest, objective_of
from delift_core.workspace import Workspace
from tests.app import app_on

pytestmark = pytest.mark.slow


def open_select(**query: str | list[str]) -> AppTest:
    app = app_on("select")
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, [e.value for e in app.exception]
    return app


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption).replace("\\", "")


def test_quotas_in_the_address_are_kept_with_the_selection(scored_workspace: Path) -> None:
    app = open_select(budget_unit="rows", budget_rows="5", quota=["Repeats:repeated=2..2"])
    assert not app.error and metrics(app)["Chosen"] == "5"
    assert "Quotas by repeats: repeated 2 (2..2)" in captions(app)
    assert "within the quotas" in captions(app)
    app.button[[button.label for button in app.button].index("Save selection")].click().run()
    assert not app.exception
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        selection = workspace.selections.load("s2").selection
    assert selection.quotas is not None and selection.quotas.column == "Repeats"
    counts = np.bincount(selection.quotas.codes[selection.chosen], minlength=2)
    by_label = {group.label: count for group, count in zip(selection.quotas.groups, counts.tolist(), strict=True)}
    assert by_label == {"once": 3, "repeated": 2}


def test_quotas_that_cannot_be_met_are_one_line_and_the_table_stays(scored_workspace: Path) -> None:
    app = open_select(quota=["Repeats:repeated=3.."])
    assert len(app.error) == 1 and "ask for at most 2" in app.error[0].value.replace("\\", "")
    assert app.selectbox(key="quota_column_r1").value == "Repeats" and not app.metric
    app.selectbox(key="quota_column_r1").set_value("No quotas").run()
    assert not app.error and app.metric


def test_an_address_with_a_column_that_is_not_there_is_said_and_forgotten(scored_workspace: Path) -> None:
    app = open_select(quota=["Topic:maths=1.."])
    assert "no column" in app.error[0].value
    app.button(key="forget_quotas").click().run()
    assert not app.error and app.metric
    assert not open_select(quota=["nonsense"]).error


def test_another_budget_optimises_nothing_again(scored_workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_select(budget_unit="rows", budget_rows="5")
    calls: list[str] = []
    for name in ("greedy_order", "random_curves", "order_around", "order_within", "represented_kernel"):
        monkeypatch.setattr(selecting, name, lambda *_, name=name, **__: calls.append(name))
    for rows in (4, 9, 12):
        app.slider(key="budget_rows").set_value(rows).run()
        assert not app.exception and metrics(app)["Chosen"] == str(rows)
    assert calls == []


def test_another_unit_keeps_the_share_that_was_asked_for(scored_workspace: Path) -> None:
    app = open_select(budget_percent="50")
    assert metrics(app)["Chosen"] == "6"
    app.segmented_control(key="budget_unit").set_value("rows").run()
    assert app.slider(key="budget_rows").value == 6 and metrics(app)["Chosen"] == "6"
    app.slider(key="budget_rows").set_value(3).run()
    app.segmented_control(key="budget_unit").set_value("tokens").run()
    tokens = app.slider(key="budget_tokens")
    assert not app.exception and tokens.value == round(tokens.max / 4)
    app.segmented_control(key="budget_unit").set_value("percent").run()
    assert app.slider(key="budget_percent").value == 25 and metrics(app)["Chosen"] == "3"


def test_chance_is_told_as_a_share_like_coverage(scored_workspace: Path) -> None:
    shares = metrics(open_select())
    assert re.fullmatch(r"\d+%", shares["Covers"])
    assert re.fullmatch(r"\d+% ± \d+", shares["Random rows"])
    assert "only scored pairs" not in captions(open_select())


def test_with_maxima_alone_another_budget_optimises_nothing_again(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = open_select(budget_unit="rows", budget_rows="5", quota=["Repeats:repeated=..1"])
    monkeypatch.setattr(selecting, "order_within", lambda *_: pytest.fail("ordered again"))
    for rows in (4, 9):
        app.slider(key="budget_rows").set_value(rows).run()
        assert not app.exception and not app.error and metrics(app)["Chosen"] == str(rows)
    app.slider(key="budget_rows").set_value(12).run()
    assert "allow at most 11 rows" in app.error[0].value


@pytest.mark.parametrize("address", [{}, {"budget_unit": "rows", "budget_rows": "6"}])
def test_the_knee_is_a_budget(scored_workspace: Path, address: dict[str, str]) -> None:
    app = open_select(**address)
    assert "Knee: each of the first" in captions(app)
    app.button(key="to_knee").click().run()
    assert not app.exception
    rows = int(metrics(app)["Chosen"])
    assert app.segmented_control(key="budget_unit").value == "rows" and app.slider(key="budget_rows").value == rows
    assert f"Knee: each of the first {rows} rows" in captions(app) and app.button(key="to_knee").disabled


def test_a_stage_without_its_set_cannot_be_chosen_and_says_why(scored_workspace: Path) -> None:
    assert open_select().segmented_control(key="stage").options == [
        "Instruction tuning",
        "Target task",
        "Continual fine-tuning",
    ]
    st.cache_resource.clear()
    with duckdb.connect(str(scored_workspace / "delift.duckdb")) as connection:
        connection.execute("UPDATE runs SET target_id = NULL")
    app = open_select(stage="task")
    assert app.segmented_control(key="stage").options == ["Instruction tuning", "Continual fine-tuning"]
    assert metrics(app)["Chosen"] and "This run has no target rows." in captions(app)
    assert "Add the target set on Score" in [link.proto.label for link in app.get("page_link")]
    for words in ("Needs only the pool.", "Needs target rows", "Needs existing rows"):
        assert words in captions(app)


def test_a_weight_stands_beside_the_stage_that_it_belongs_to_and_says_what_it_trades(scored_workspace: Path) -> None:
    app = open_select()
    assert not {"eta", "nu"} & {slider.key for slider in app.slider}
    app.segmented_control(key="stage").set_value("task").run()
    shares = {}
    for eta in (0.1, 5.0):
        app.slider(key="eta").set_value(eta).run()
        assert not app.exception
        shares[eta] = re.findall(r"the pool (\d+)% and the target (\d+)% of the help", captions(app))[0]
    assert int(shares[0.1][1]) <= int(shares[5.0][1]) and int(shares[0.1][0]) >= int(shares[5.0][0])
    app.segmented_control(key="stage").set_value("continual").run()
    app.slider(key="nu").set_value(2.0).run()
    assert "With ν = 2, " in captions(app)
    app.segmented_control(key="stage").set_value("task").run()
    assert app.slider(key="eta").value == 5.0


@pytest.mark.usefixtures("quick_map")
def test_another_method_chooses_and_is_kept_by_its_name(scored_workspace: Path) -> None:
    app = open_select(budget_unit="rows", budget_rows="5")
    assert app.selectbox(key="method").value == "delift" and "Chosen by" not in captions(app)
    ours = metrics(app)
    app.selectbox(key="method").set_value("rds").run()
    assert not app.exception and not app.error and metrics(app)["Random rows"] == ours["Random rows"]
    assert "RDS+: Rows nearest to each target row in turn (without a target, to each row). (Ivison" in captions(app)
    app.slider(key="budget_rows").set_value(6).run()
    assert metrics(app)["Chosen"] == "6" and "Knee" not in captions(app)
    app.button[[button.label for button in app.button].index("Save selection")].click().run()
    assert not app.exception and "Chosen by RDS+ (Ivison" in captions(app)  # on Curate
    app.switch_page("pages/compare.py").run()
    assert not app.exception and set(app.table[0].value.loc["Method"]) == {"DELIFT", "RDS+"}
    app.switch_page("pages/home.py").run()
    assert "RDS+" in list(app.dataframe[0].value["Method"])
    app.switch_page("pages/export.py").run()
    assert "Chosen by RDS+ (Ivison" in captions(app)
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        kept = workspace.selections.load("s2")
        problem = Selector(open_run(workspace, "r1")).problem("euclidean", kept.selection.config)
        assert kept.selection.method == "rds" and kept.name == "instruction 6 rows by RDS+"
        assert kept.selection.chosen.tolist() == problem.order_of("rds")[:6].tolist()


def test_a_draw_has_a_seed_and_what_asks_the_model_says_where_to_ask(scored_workspace: Path) -> None:
    app = open_select(method="Random")
    first = list(app.dataframe[-1].value["Row"])
    app.number_input(key="method_seed").set_value(3).run()
    assert not app.exception and list(app.dataframe[-1].value["Row"]) != first
    app.button[[button.label for button in app.button].index("Save selection")].click().run()
    app.switch_page("pages/select.py").run()
    app.selectbox(key="method").set_value("ifd").run()
    assert not app.exception and not app.error and not app.metric
    assert "asks the model about every row" in app.info[0].value
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        kept = workspace.selections.load("s2")
        assert kept.seed == 3
        order = np.random.default_rng(3).permutation(kept.selection.greedy.order.size)
        assert kept.selection.greedy.order.tolist() == order.tolist()
        problem = Selector(open_run(workspace, "r1")).problem("euclidean", kept.selection.config)
        measured = measured_order(workspace, problem, "ifd")
    app = open_select(method="IFD", budget_unit="rows", budget_rows="4")
    assert metrics(app)["Chosen"] == "4" and not app.info
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        assert kept_order(workspace, problem, "ifd").tolist() == measured.tolist()


def test_the_published_settings_are_one_choice(scored_workspace: Path) -> None:
    app = open_select(preset="As in the paper", budget_unit="rows", budget_rows="4")
    assert not app.error and "scaled between its lowest and highest value" in captions(app)
    assert not {"metric", "self_coverage"} & {widget.key for widget in (*app.selectbox, *app.slider)}
    app.button[[button.label for button in app.button].index("Save selection")].click().run()
    assert not app.exception
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        kept = workspace.selections.load("s2")
        problem = Selector(open_run(workspace, "r1")).problem("euclidean", objective_of("published", "instruction"))
        assert kept.selection.config == problem.config
        assert kept.selection.chosen.tolist() == problem.greedy.order[:4].tolist()


@pytest.mark.usefixtures("submodlib")
def test_an_engine_in_the_address_chooses_and_is_kept(scored_workspace: Path) -> None:
    app = open_select(budget_unit="rows", budget_rows="5", engine="submodlib")
    assert not app.error and metrics(app)["Chosen"] == "5"
    assert "Engine submodlib: at least 63.2% of the best selection" in captions(app)
    app.button[[button.label for button in app.button].index("Save selection")].click().run()
    assert not app.exception
    st.cache_resource.clear()
    with Workspace.open(scored_workspace) as workspace:
        kept = workspace.selections.load("s2")
        request = SelectionRequest(kept.selection.config, kept.selection.budget, engine="submodlib")
        expected = Selector(open_run(workspace, "r1")).select(request)
    assert (kept.selection.engine, kept.seed) == ("submodlib", 0)
    assert kept.selection.chosen.tolist() == expected.chosen.tolist()


@pytest.mark.usefixtures("submodlib")
def test_an_engine_without_quotas_says_so_in_one_line(scored_workspace: Path) -> None:
    app = open_select(engine="submodlib", quota=["Repeats:repeated=2..2"])
    assert len(app.error) == 1 and "does not support quotas" in app.error[0].value.replace("\\", "") and not app.metric


def test_where_submodlib_is_not_installed_there_is_no_choice(
    scored_workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "submodlib", None)
    app = open_select(budget_unit="rows", budget_rows="5", engine="submodlib")
    assert not app.error and metrics(app)["Chosen"] == "5" and "Engine " not in captions(app)
    assert "engine" not in [box.key for box in app.selectbox]


def test_a_link_that_names_a_removed_engine_opens_with_exact_greedy(scored_workspace: Path) -> None:
    app = open_select(budget_unit="rows", budget_rows="5", engine="Greedy by random samples", engine_seed="3")
    assert not app.error and metrics(app)["Chosen"] == "5"
    assert app.selectbox(key="engine").value == "auto" and "Engine " not in captions(app)
