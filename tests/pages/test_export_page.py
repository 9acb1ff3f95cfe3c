"""The Export page: the check table, and the recipes that come with a written file."""

import json
from pathlib import Path

from tests.pages.test_way import assert_calm, open_app, press


def test_the_check_table_and_the_recipes(scored_workspace: Path) -> None:
    app = open_app("export")
    table = next(frame.value for frame in app.dataframe if "Trainer" in frame.value.columns)
    assert list(table["Trainer"]) == ["TRL", "LLaMA-Factory", "Axolotl"]
    assert not app.code or all("dataset_info" not in code.value for code in app.code)
    app.selectbox(key="export_format").set_value("messages").run()
    press(app, "Write the file")
    assert_calm(app)
    entry = json.loads(next(code.value for code in app.code if '"formatting": "sharegpt"' in code.value))
    (written,) = (scored_workspace / "exports").glob("*.jsonl")
    assert [one["file_name"] for one in entry.values()] == [written.name]
    assert any("pretty_name" in code.value for code in app.code)
    app.number_input(key="export_max_tokens").set_value(64).run()
    assert_calm(app)
    assert any("sequence_len: 64" in code.value for code in app.code)
