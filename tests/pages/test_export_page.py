"""The Export page: the check table, and the recipes that come with a written file."""

import json
from pathlib import Path

from delift_core.curation.manifest import read_manifest
from delift_core.export.verify import verify
from delift_core.export.writers import manifest_path
from tests.pages.test_way import assert_calm, open_app, press


def test_the_check_table_and_the_recipes(scored_workspace: Path) -> None:
    app = open_app("export")
    table = next(frame.value for frame in app.dataframe if "Trainer" in frame.value.columns)
    assert list(table["Trainer"]) == ["TRL", "LLaMA-Factory", "Axolotl"]
    assert not app.code or all("dataset_info" not in code.value for code in app.code)
    app.selectbox(key="export_format").set_value("messages").run()
    press(app, "Export")
    assert_calm(app)
    entry = json.loads(next(code.value for code in app.code if '"formatting": "sharegpt"' in code.value))
    (written,) = (scored_workspace / "exports").glob("*.jsonl")
    assert [one["file_name"] for one in entry.values()] == [written.name]
    assert any("pretty_name" in code.value for code in app.code)
    app.number_input(key="export_max_tokens").set_value(64).run()
    assert_calm(app)
    assert any("sequence_len: 64" in code.value for code in app.code)


def test_a_table_is_written_where_the_rows_allow_it(scored_workspace: Path) -> None:
    app = open_app("export")
    app.selectbox(key="export_format").set_value("alpaca").run()
    app.segmented_control(key="file_type").set_value("csv").run()
    app.toggle[0].set_value(True).run()
    press(app, "Export")
    assert_calm(app)
    (written,) = (scored_workspace / "exports").glob("*.csv")
    assert written.read_text("utf-8").startswith('"instruction","input","output"')
    assert all(check.ok for check in verify(manifest_path(written)))
    assert read_manifest(manifest_path(written)).output.formulas == "quote"
    app.selectbox(key="export_format").set_value("messages").run()
    press(app, "Export")
    assert not app.exception
    assert "CSV cell cannot hold" in app.error[0].value
