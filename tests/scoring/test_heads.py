"""Rows with system texts and tools of their own: each pair is the plain forward pass over the whole rendering."""

from pathlib import Path

import numpy as np
import pytest
import torch

from delift_core.models.prompts import WholePairs, make_template
from delift_core.samples import Conversation, Message, ToolCall, calls_text
from delift_core.scoring import scorer as scorer_module
from delift_core.scoring.forecast import RunSamples, plan_pairs, work_tokens
from delift_core.scoring.scorer import Scorer
from delift_core.scoring.scoring_run import LocalBackend, ScoringRun
from delift_core.scoring.store import PairStore
from tests.tiny_models import byte_tokenizer, loaded

GLUED = (  # as Llama 2: the system text is part of the first user turn
    "{% if messages[0].role == 'system' %}{% set system = '[' + messages[0].content + '] ' %}"
    "{% set turns = messages[1:] %}{% else %}{% set system = '' %}{% set turns = messages %}{% endif %}"
    "{% for m in turns %}{% if m.role == 'user' %}<s>Q: {{ (system if loop.first else '') + m.content }}\n"
    "{% else %}A: {{ m.content }}</s>{% endif %}{% endfor %}"
)
WITH_TOOLS = (
    "{% if tools %}<s>tools{% for t in tools %} {{ t.function.name }}{% endfor %}</s>{% endif %}"
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}"
    "<call>{{ c.function.name }} {{ c.function.arguments | tojson }}{% endfor %}</s>{% endfor %}"
)
NUMBERED = "{% for m in messages %}<s>{{ loop.index }} {{ m.role }}: {{ m.content }}</s>{% endfor %}"


def said(*turns: tuple[str, str], tools: str = "") -> Conversation:
    return Conversation(tuple(Message(role, text) for role, text in turns), tools)  # type: ignore[arg-type]


SYSTEMS = ["", "", "", "In one word.", "In one word.", "Sing."]
ROWS = {
    f"r{at}": said(
        *([("system", text)] if text else []), ("user", f"What is {at}?" + "?" * at), ("assistant", f"{at}!")
    )
    for at, text in enumerate(SYSTEMS)
}
ASKED = (ToolCall("add", '{"a": 1}'),)
CALLING = {
    "plain": said(("user", "Hi"), ("assistant", "Hello.")),
    "calls": Conversation(
        (Message("user", "1 + 1"), Message("assistant", calls_text(ASKED), calls=ASKED)), '[{"name": "add"}]'
    ),
    "other": said(("user", "2 + 2"), ("assistant", "4"), tools='[{"name": "add"}, {"name": "sub"}]'),
}
CASES = {"turns": (None, ROWS), "glued": (GLUED, ROWS), "tools": (WITH_TOOLS, CALLING), "numbered": (NUMBERED, ROWS)}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("rows_per_block", [2, 128])
def test_every_pair_is_the_plain_pass_over_the_whole_rendering(case: str, rows_per_block: int, tmp_path: Path) -> None:
    form, rows = CASES[case]
    model = loaded()
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = form or tokenizer.chat_template
    template = make_template(tokenizer)
    encoded, refused = template.encode_all(rows)
    assert not refused
    store = PairStore(tmp_path)
    whole = WholePairs(template, rows, 512)
    plan = plan_pairs(store, RunSamples(tuple(rows)))
    backend = LocalBackend(Scorer(model, tokens_per_batch=150))
    run = ScoringRun(backend, encoded, store, plan, whole=whole, rows_per_block=rows_per_block)
    assert run.work()
    if case != "numbered":  # there, the forecast guesses the lengths of what is rendered as a whole
        assert run.progress.work_done == run.progress.work_total == work_tokens(plan, encoded)
    for helper, example in rows.items():
        found = store.pair_statistics(tuple(rows), helper)
        for at, (name, row) in enumerate(rows.items()):
            context = template.pair(row, example)
            assert found[at] == pytest.approx(by_hand(model.model, context, encoded[name].response), rel=2e-4)
    alone = store.zero_shot(tuple(rows))
    for at, name in enumerate(rows):
        assert alone.statistics[at] == pytest.approx(
            by_hand(model.model, encoded[name].alone, encoded[name].response), rel=2e-4
        )
        assert alone.prompt_tokens[at] == len(encoded[name].alone)


def by_hand(model: torch.nn.Module, context: tuple[int, ...], response: tuple[int, ...]) -> list[float]:
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([context + response])).logits[0].double()
    log_p = torch.log_softmax(logits, dim=-1)[len(context) - 1 : -1][range(len(response)), list(response)]
    return [float(((1 - log_p.exp()) ** 2).sum()), float(log_p.sum())]


def test_an_example_is_run_once_for_all_rows_with_the_same_head(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ran: list[int] = []
    backend = LocalBackend(Scorer(loaded()))
    extend = scorer_module.extend
    monkeypatch.setattr(scorer_module, "extend", lambda *args: ran.append(args[2].shape[1]) or extend(*args))
    template = make_template(byte_tokenizer())
    encoded, _ = template.encode_all(ROWS)
    store = PairStore(tmp_path)
    run = ScoringRun(backend, encoded, store, plan_pairs(store, RunSamples(tuple(ROWS))))
    assert run.work()
    heads = {row.head for row in encoded.values()}
    # Without examples, once for each head; with each example, for the two heads of several rows.
    assert len(heads) == 3 and len(ran) == 3 + 2 * len(ROWS)
    assert np.isfinite(store.pair_statistics(tuple(ROWS), "r0")).all()
