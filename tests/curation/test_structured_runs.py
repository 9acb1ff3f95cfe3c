"""Rows with thoughts and with tools from file to export: what is scored, counted, said and written."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from delift_core import api
from delift_core.curation.curate import open_selection
from delift_core.curation.model_text import ModelReader
from delift_core.export.preflight import ExportDraft
from delift_core.export.verify import verify
from delift_core.models.prompts import Rendering
from delift_core.samples import ScoredPart
from delift_core.workspace import Workspace
from tests.tiny_models import byte_tokenizer, random_model

pytestmark = pytest.mark.slow

FIXTURES = Path(__file__).parents[1] / "fixtures"
HOLDS_ALL = (
    "{% if tools %}<s>tools {{ tools | tojson }}</s>{% endif %}{% for m in messages %}<s>{{ m.role }}\n"
    "{% if m.reasoning_content and loop.last %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}[{{ c.function.name }} {{ c.function.arguments | tojson }}]{% endfor %}</s>\n"
    "{% endfor %}{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


@pytest.fixture(scope="module", params=["holds all", "plain chat"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    folder = tmp_path_factory.mktemp("model")
    made = random_model()
    made.config.max_position_embeddings = 4096  # rotary positions have no table
    made.save_pretrained(folder)
    tokenizer = byte_tokenizer()
    if request.param == "holds all":
        tokenizer.chat_template = HOLDS_ALL
    tokenizer.save_pretrained(folder)
    return request.param, folder


def scored(model: Path, name: str, part: ScoredPart = "turn", workspace: Path | None = None) -> api.ScoredPool:
    return api.score(api.load(FIXTURES / name, scored=part), model=str(model), workspace=workspace)


def test_thoughts_are_scored_where_the_template_writes_them(model: tuple[str, Path]) -> None:
    kind, folder = model
    pool = scored(folder, "reasoning.jsonl")
    rendering = pool.run.record.rendering
    fields = sum(bool(sample.messages[-1].thoughts) for sample in pool.run.pool)
    assert len(pool.run.pool) == 10 and 0 < fields <= 10
    assert (rendering.template, rendering.sharing) == ("chat", "prefix")
    dropped = {} if kind == "holds all" else {"thoughts-dropped": fields}
    assert {note: count for note, count in rendering.notes.items() if note == "thoughts-dropped"} == dropped
    summary = ModelReader(str(folder)).summarise(pool.run.pool)
    assert pool.run.token_counts().sum() == summary.prompt_tokens + summary.response_tokens
    assert (summary.thought_tokens > 0) == (kind == "holds all" or fields < 10)


def test_the_part_that_is_scored_is_a_choice(model: tuple[str, Path]) -> None:
    kind, folder = model
    pools = [scored(folder, "reasoning.jsonl", part) for part in ("turn", "answer")]
    turn, answer = (pool.run for pool in pools)
    rows = [sample for sample in turn.pool if sample.messages[-1].thoughts]
    others = {sample.line: sample for sample in answer.pool}
    whole = turn.store.zero_shot([sample.content_hash for sample in rows]).tokens
    alone = answer.store.zero_shot([others[sample.line].content_hash for sample in rows]).tokens
    assert alone.tolist() == [len(sample.response.encode()) for sample in rows]
    assert all((a > b) == (kind == "holds all") for a, b in zip(whole, alone, strict=True))


def test_tools_and_calls_are_read_in_the_templates_own_words_or_it_is_said(
    model: tuple[str, Path], tmp_path: Path
) -> None:
    kind, folder = model
    pool = scored(folder, "tools.jsonl", workspace=tmp_path / "work")
    rendering = pool.run.record.rendering
    assert rendering.template == "chat" and len(pool.run.pool) == 10
    if kind == "holds all":
        assert rendering == Rendering("chat", "prefix", rendering.notes, "object")
        assert not {"tools-dropped", "calls-as-text", "results-as-user"} & set(rendering.notes)
    else:
        assert {"tools-dropped", "calls-as-text"} <= set(rendering.notes) and rendering.arguments == "either"
    subset = api.select(pool, budget="50%")
    selection = subset.save("half")
    with Workspace.open(tmp_path / "work") as workspace:
        draft = ExportDraft(open_selection(workspace, selection), "same")
        cautions = " ".join(draft.curated.problem.cautions)
        checks = {check.label: check for check in draft.checks()}
        texts = sum('"arguments": "' in sample.raw or '"arguments":"' in sample.raw for sample in draft.samples)
    assert ("no place for tool definitions" in cautions) == (kind != "holds all")
    assert checks["Chat template"].ok == (not rendering.cautions)
    if kind == "holds all":
        assert checks["Arguments of tool calls"].ok == (not texts)
        assert texts == 0 or checks["Arguments of tool calls"].detail.startswith(f"{texts} row")
    out = tmp_path / "subset.jsonl"
    subset.export(out)
    manifest = json.loads(out.with_suffix(".manifest.json").read_text())
    assert manifest["model"]["rendering"]["template"] == "chat"
    assert manifest["model"]["rendering"]["sharing"] == "prefix"
    assert all(check.ok for check in verify(out.with_suffix(".manifest.json")))


def test_arguments_of_the_chat_template_are_part_of_the_context(model: tuple[str, Path], tmp_path: Path) -> None:
    _, folder = model
    rows = [{"prompt": "2 + 2?", "completion": "4"}, {"prompt": "A colour?", "completion": "Blue."}]
    work = tmp_path / "work"
    options = api.ScoringOptions(template_arguments={"enable_thinking": False})
    plain = api.score(rows, model=str(folder), workspace=work)
    quiet = api.score(rows, model=str(folder), workspace=work, options=options)
    assert plain.run.record.context_key != quiet.run.record.context_key
    assert quiet.run.record.spec == replace(
        plain.run.record.spec, template_arguments='{"enable_thinking": false}', pool_id=quiet.run.record.spec.pool_id
    )
