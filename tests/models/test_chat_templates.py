"""The chat templates of current models, as TRL's wheel ships them, against the tokenizer's own whole renderings.

They are read from the installed package, which is not imported. The tokenizer is a stand-in, with one token a byte and
the special tokens that a template writes.
"""

import importlib.util
import json
import random
import re
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from delift_core.models.chat_template import ChatTemplate
from delift_core.models.encoded import EncodedSample, Tokens
from delift_core.models.prompts import Template, make_template
from delift_core.samples import Conversation, Message, ScoredPart, ToolCall, calls_text
from tests.tiny_models import byte_tokenizer

SPECIAL = re.compile(r"<[|｜][^<>\n'\"]{1,40}[|｜]?>|\[/?[A-Z_]+\]|</?[a-z_]+>")
FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
PAIRS = 200
HARMLESS = {"thoughts-dropped", "tools-dropped", "text-dropped"}  # the template gets the turns as they are


def _forms() -> dict[str, str]:
    spec = importlib.util.find_spec("trl")
    assert spec is not None and spec.origin is not None, "TRL is missing: run make setup"
    files = sorted((Path(spec.origin).parent / "chat_templates").glob("*.jinja"))
    return {file.stem: file.read_text(encoding="utf-8") for file in files}


FORMS = _forms()


@cache
def tokenizer_of(name: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = FORMS[name]
    tokenizer.add_special_tokens({"additional_special_tokens": sorted(set(SPECIAL.findall(FORMS[name])))})
    return tokenizer


@cache
def template_of(name: str) -> Template:
    return make_template(tokenizer_of(name))


TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": f"find_{what}",
                "description": f"Finds a {what}.",
                "parameters": {
                    "type": "object",
                    "properties": {"name": {"type": "string", "description": "Its name."}},
                },
            },
        }
        for what in ("town", "river")
    ]
)
WORDS = ("rain", "in", "Oslo;", "12", "+", "30", "=", "a,b", "{x}", "42\n\n–", "Ärger,", "灰", '"q"', "two\tlines")


def text(draw: random.Random) -> str:
    return " ".join(draw.choices(WORDS, k=draw.randint(1, 8))).strip() or "rain"


def call(draw: random.Random) -> Message:
    calls = (ToolCall(f"find_{draw.choice(['town', 'river'])}", json.dumps({"name": text(draw)}), "call00001"),)
    return Message("assistant", calls_text(calls), calls=calls)


def random_row(draw: random.Random, kind: str) -> Conversation:
    """A conversation of a kind: plain, system, turns, field, inline, call, result."""
    asked, answer = Message("user", text(draw)), Message("assistant", text(draw))
    if kind == "system":
        return Conversation((Message("system", draw.choice(["Be brief.", "Be kind.\nAlways."])), asked, answer))
    if kind == "turns":
        return Conversation((asked, answer, Message("user", text(draw)), Message("assistant", text(draw))))
    if kind == "field":
        return Conversation((asked, replace(answer, thoughts=text(draw))))
    if kind == "inline":
        return Conversation((asked, replace(answer, content=f"<think>\n{text(draw)}\n</think>\n\n{answer.content}")))
    if kind == "call":
        return Conversation((asked, call(draw)), TOOLS)
    if kind == "result":
        asking = call(draw)
        result = Message("tool", text(draw), call_id="call00001", name=asking.calls[0].name)
        return Conversation((asked, asking, result, answer), TOOLS)
    return Conversation((asked, answer))


KINDS = ("plain", "system", "turns", "field", "inline", "call", "result")


def as_trainers_do(message: Message, *, in_parts: bool) -> dict[str, Any]:
    content = "" if message.only_calls else message.content
    turn: dict[str, Any] = {"role": message.role, "content": content}
    if in_parts:
        turn["content"] = [{"type": "text", "text": content}]
    if message.thoughts:
        turn["reasoning_content"] = message.thoughts
    if message.calls:
        turn["tool_calls"] = [
            {"id": one.id, "type": "function", "function": {"name": one.name, "arguments": json.loads(one.arguments)}}
            for one in message.calls
        ]
    return turn | ({"tool_call_id": message.call_id, "name": message.name} if message.role == "tool" else {})


def whole(name: str, helper: Conversation, row: Conversation) -> Tokens:
    """The tokens of example and row as one conversation, rendered by the library alone."""
    system, turns = row.messages[:1], row.messages[1:]
    if system[0].role != "system":
        system, turns = (), row.messages
    example = list(helper.messages)
    if example[0].role == "system":
        own, first, *others = example
        folded = first if own in system else replace(first, content=f"{own.content}\n\n{first.content}")
        example = [folded, *others]
    form = FORMS[name]
    rendered = tokenizer_of(name).apply_chat_template(
        [as_trainers_do(turn, in_parts="idefics" in name or "llava" in name or "smolvlm" in name)
         for turn in (*system, *example, *turns)],
        tools=json.loads(row.tools) if row.tools else None,
        chat_template=FIXED_DATE + form if "strftime_now" in form else form,
        tokenize=False,
    )  # fmt: skip
    return tuple(tokenizer_of(name)(rendered, add_special_tokens=False).input_ids)


def text_of(name: str, tokens: Tokens) -> str:
    return str(tokenizer_of(name).decode(list(tokens), clean_up_tokenization_spaces=False))


def test_templates_are_used_as_they_are_for_pairs_system_texts_and_several_turns() -> None:
    draw = random.Random(1)
    rows = {kind: random_row(draw, kind) for kind in ("plain", "system", "turns")}
    used = []
    for name in FORMS:
        encoded, refused = template_of(name).encode_all(rows)
        if template_of(name).name == "chat" and not refused and not any(row.notes for row in encoded.values()):
            used.append(name)
    # Gemma 1 and 2 have no system turn and say so; everything else is used as it is.
    assert sorted(set(FORMS) - set(used)) == ["gemma", "gemma_training"]
    assert len(FORMS) >= 70 and len(used) >= 0.95 * len(FORMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_the_parts_of_a_pair_are_the_tokens_of_the_whole_rendering(name: str) -> None:
    draw = random.Random(7)
    rows = {f"{kind}{at}": random_row(draw, kind) for at in range(4) for kind in KINDS}
    encoded, refused = template_of(name).encode_all(rows)
    known = {key: row for key, row in encoded.items() if row.notes <= HARMLESS}
    assert {re.sub(r"\d", "", key) for key in known} >= {"plain", "turns", "field", "inline"}
    assert not refused
    pairs = [tuple(draw.sample(sorted(known), 2)) for _ in range(PAIRS)]
    for row, helper in pairs:
        before = known[row].before_query(known[helper])
        if before is None:  # in these templates, what follows a call depends on it
            assert name in ("deepseekv3_training", "glm4moe_training") and (rows[helper].tools or rows[row].tools)
            parts = template_of(name).pair(rows[row], rows[helper])
        else:
            parts = before + known[row].query + known[row].response
        assert whole(name, rows[helper], rows[row])[: len(parts)] == parts, (row, helper)


def encode(name: str, row: Conversation) -> EncodedSample:
    return template_of(name).encode(row)


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("spelling", ["field", "inline"])
def test_thoughts_are_scored_context_or_left_out_and_it_is_said(name: str, spelling: str) -> None:
    thoughts, answer = "First the town.", "It rains."
    row = Conversation(
        (
            Message("user", "Rain?"),
            Message("assistant", answer, thoughts=thoughts)
            if spelling == "field"
            else Message("assistant", f"<think>\n{thoughts}\n</think>\n\n{answer}"),
        )
    )
    scored: dict[ScoredPart, str] = {}
    written = thoughts in text_of(name, whole(name, random_row(random.Random(3), "plain"), row))
    parts: tuple[ScoredPart, ...] = ("turn", "answer", "thoughts") if written else ("turn", "answer")
    for part in parts:
        encoded = encode(name, replace(row, scored=part))
        scored[part] = text_of(name, encoded.response)
        assert ("thoughts-dropped" in encoded.notes) == (not written)
        context = text_of(name, encoded.alone)
        assert (thoughts in context) == (written and part == "answer")
    assert scored["answer"] == answer
    if written:
        assert scored["thoughts"].strip() == thoughts
        assert scored["turn"].startswith(scored["thoughts"]) and scored["turn"].endswith(answer)
    else:
        assert scored["turn"] == answer
        with pytest.raises(Exception, match="leaves out the thoughts, and nothing else is scored of this row"):
            encode(name, replace(row, scored="thoughts"))


@pytest.mark.parametrize("name", FORMS)
def test_a_last_turn_that_calls_a_tool_is_scored_in_the_templates_own_words(name: str) -> None:
    row = random_row(random.Random(11), "call")
    encoded = encode(name, row)
    (asked,) = row.messages[-1].calls
    said = text_of(name, encoded.response)
    assert asked.name in said and not said.endswith(tuple(tokenizer_of(name).all_special_tokens[:2]))
    assert text_of(name, encoded.alone + encoded.response).count(said) == 1
    without = encode(name, Conversation((row.messages[0], Message("assistant", "No.")), TOOLS))
    shared = [one for one, other in zip(encoded.alone, without.alone, strict=False) if one == other]
    assert len(shared) >= len(encoded.head.tokens) + len(row.messages[0].content)
    if "calls-as-text" in encoded.notes:
        assert said == row.messages[-1].content


@pytest.mark.parametrize("name", ["qwen3", "qwen3_6", "llama3_1", "gemma4_v5", "glm4moe", "gptoss", "lfm2_2_5"])
def test_the_spelling_of_arguments_that_a_template_needs(name: str) -> None:
    """Written as text, most templates encode them twice, or raise."""
    chat = ChatTemplate(tokenizer_of(name))
    assert chat.has_tools and chat.has_calls and chat.has_results
    assert chat.arguments_as == ("either" if name == "qwen3" else "object")


TEXT_ONLY = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}"
    "[{{ c.function.name + ' ' + c.function.arguments }}]{% endfor %}</s>{% endfor %}"
)


def test_a_template_that_takes_arguments_as_text_alone_gets_text() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEXT_ONLY
    template = make_template(tokenizer)
    assert template.arguments_as == "text"
    encoded = template.encode(Conversation(random_row(random.Random(5), "call").messages))
    assert "calls-as-text" not in encoded.notes
    assert str(tokenizer.decode(list(encoded.response))).startswith("[find_")


NINE = (  # as Mistral
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{% for c in m.tool_calls or [] %}"
    "{% if c.id is not defined or c.id|length != 9 %}{{ raise_exception('ids of nine characters') }}{% endif %}"
    "[{{ c.id }}{{ c.function.arguments | tojson }}]{% endfor %}"
    "{% if m.role == 'tool' %} of {{ m.tool_call_id }}{% endif %}</s>{% endfor %}"
)


@pytest.mark.parametrize(("one", "two"), [("a", "b"), ("a", "a"), ("", ""), ("0", "")])
def test_calls_get_the_ids_that_a_template_requires_and_results_those_of_their_calls(one: str, two: str) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = NINE
    turns: list[Message] = [Message("user", "Both towns?")]
    for at in (one, two):
        calls = (ToolCall("find_town", "{}", at),)
        turns += [Message("assistant", calls_text(calls), calls=calls), Message("tool", "found", call_id=at)]
    encoded = make_template(tokenizer).encode(Conversation((*turns, Message("assistant", "Both."))))
    read = str(tokenizer.decode(list(encoded.alone)))
    assert re.findall(r"call\d{5}", read) == ["call00001", "call00001", "call00002", "call00002"]
