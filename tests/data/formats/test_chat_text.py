"""Texts that hold a chat template: read as turns, exported as found; what is no conversation is not taken for one."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.cli import main
from delift_core.data.formats import RecordError, detect_format, parse_record
from delift_core.data.formats.chat_text import split_turns
from delift_core.data.loading import ReadOptions, load_bytes
from delift_core.export.writers import render_lines
from delift_core.samples import ToolCall

TEMPLATES = {
    "ChatML": "<|im_start|>user\n{u}<|im_end|>\n<|im_start|>assistant\n{a}<|im_end|>\n",
    "Llama 2": "<s>[INST] {u} [/INST] {a} </s>",
    "Mistral": "<s>[INST] {u}[/INST] {a}</s>",
    "Llama 3": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\n{u}<|eot_id|>"
    "<|start_header_id|>assistant<|end_header_id|>\n\n{a}<|eot_id|>",
    "Gemma": "<bos><start_of_turn>user\n{u}<end_of_turn>\n<start_of_turn>model\n{a}<end_of_turn>\n",
    "Phi": "<|user|>\n{u}<|end|>\n<|assistant|>\n{a}<|end|>\n",
    "Phi 4": "<|im_start|>user<|im_sep|>{u}<|im_end|><|im_start|>assistant<|im_sep|>{a}<|im_end|>",
    "Zephyr": "<|system|>\n</s>\n<|user|>\n{u}</s>\n<|assistant|>\n{a}</s>\n",
    "Open Assistant": "<|prompter|>{u}<|endoftext|><|assistant|>{a}<|endoftext|>",
    "OpenChat": "GPT4 Correct User: {u}<|end_of_turn|>GPT4 Correct Assistant: {a}<|end_of_turn|>",
    "Guanaco": "### Human: {u}### Assistant: {a}",
    "Guanaco in lines": "### Human: {u}\n### Assistant: {a}\n",
    "Alpaca": "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{u}\n\n### Response:\n{a}",
    "Dolly": "### Instruction:\n{u}\n\n### Response:\n{a}\n\n### End",
    "Vicuna": "USER: {u} ASSISTANT: {a}</s>",
    "Anthropic": "\n\nHuman: {u}\n\nAssistant: {a}",
    "words": "User: {u}\nAssistant: {a}",
    "INCITE": "<human>: {u}\n<bot>: {a}",
    "Command": "<|START_OF_TURN_TOKEN|><|USER_TOKEN|>{u}<|END_OF_TURN_TOKEN|>"
    "<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{a}<|END_OF_TURN_TOKEN|>",
    "DeepSeek": "<｜begin▁of▁sentence｜><｜User｜>{u}<｜Assistant｜>{a}<｜end▁of▁sentence｜>",
    "gpt-oss": "<|start|>user<|message|>{u}<|end|><|start|>assistant<|channel|>final<|message|>{a}<|return|>",
    "Granite": "<|start_of_role|>user<|end_of_role|>{u}<|end_of_text|>\n"
    "<|start_of_role|>assistant<|end_of_role|>{a}<|end_of_text|>",
}
WORDS = st.text("abcdefg ,.!?", min_size=1, max_size=30).map(str.strip).filter(bool)


@pytest.mark.parametrize("name", TEMPLATES)
@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=3))
def test_the_turns_of_every_template_are_read(name: str, pairs: list[tuple[str, str]]) -> None:
    if name == "Alpaca":
        pairs = pairs[:1]
    between = "\n" if name in ("words", "Dolly", "INCITE") else ""  # their markers open lines
    text = between.join(TEMPLATES[name].format(u=question, a=answer) for question, answer in pairs)
    assert detect_format({"text": text}) == "chat-text"
    found = [message.content for message in parse_record("chat-text", {"text": text}).messages]
    assert found == [words for pair in pairs for words in pair]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHi [/INST] Yo", ["Be kind.", "Hi", "Yo"]),
        ("A talk between two. USER: Hi ASSISTANT: Yo</s>", ["A talk between two.", "Hi", "Yo"]),
        ("### System:\nBe kind.\n\n### User:\nHi\n\n### Response:\nYo", ["Be kind.", "Hi", "Yo"]),
        ("### Instruction:\nSum up.\n\n### Input:\nA text.\n\n### Response:\nYo", ["Sum up.\n\nA text.", "Yo"]),
        ("<|im_start|>system\n<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nYo", ["Hi", "Yo"]),
    ],
)
def test_systems_and_inputs(text: str, expected: list[str]) -> None:
    assert [message.content for message in parse_record("chat-text", {"text": text}).messages] == expected


def test_calls_and_results_in_a_text() -> None:
    chat = (
        'USER: Sun?\n\n\nASSISTANT: <functioncall> {"name": "sky", "arguments": \'{"at": "noon"}\'} <|endoftext|>'
        '\n\n\nFUNCTION RESPONSE: {"sun": 1}\n\n\nASSISTANT: Yes. <|endoftext|>\n\n\n'
    )
    record = {"system": "SYSTEM: Use it.", "chat": chat}
    found = parse_record("chat-text", record).messages
    assert [message.role for message in found] == ["system", "user", "assistant", "tool", "assistant"]
    assert found[2].calls == (ToolCall("sky", '{"at": "noon"}'),) and found[2].only_calls
    before = parse_record("chat-text", record, text_only=True).messages[2].content
    assert json.loads(before)[0]["function"] == {"name": "sky", "arguments": '{"at": "noon"}'}


@pytest.mark.parametrize(
    "text",
    [
        "A story. Anna: Come in. Ben: I am here already, said the user: and left.",
        "We write <|im_start|>user to open a turn, and <|im_end|> to close it.",
        "Notes on [INST] and [/INST] in prompts.",
        "# Title\n\n## Question: what now\n\nSome prose without an answer.",
        "user: only a question",
        "HTTP: a protocol. USER: who uses it.",
    ],
)
def test_other_texts_are_not_taken_for_conversations(text: str) -> None:
    assert split_turns(text) is None
    assert detect_format({"text": text}) in ("text", None)


@pytest.mark.parametrize(
    ("text", "turns"),
    [
        ("### Human: " + " \n" * 100_000 + "x### Assistant: " + "\n" * 100_000 + "y", 2),
        ("[INST] <<SYS>>" + " " * 200_000 + "x [/INST] y", 2),
        ('USER: x ASSISTANT: <functioncall> {"name": "f", "arguments": ' + " '" * 100_000 + "}", 2),
        ("<|user|>" * 50_000, 0),
    ],
)
def test_long_runs_of_one_sign_are_looked_through(text: str, turns: int) -> None:
    assert len(split_turns(text) or ()) == turns


def test_a_text_that_opens_as_a_chat_and_holds_no_answer_is_named_and_not_cut() -> None:
    good = TEMPLATES["ChatML"].format(u="Hi there.", a="Yo you.")
    rows = [{"text": good}, {"text": "<|im_start|>user\nOnly a question here.<|im_end|>\n"}]
    dataset = load_bytes("\n".join(map(json.dumps, rows)).encode(), "x.jsonl")
    assert dataset.format == "chat-text" and len(dataset) == 1
    assert [(one.line, one.kind) for one in dataset.problems] == [(2, "unknown-format")]
    assert "chat template" in dataset.problems[0].message
    with pytest.raises(RecordError):
        parse_record("chat-text", rows[1])


def test_they_come_out_as_they_went_in_and_each_answer_can_be_a_row() -> None:
    lines = [json.dumps({"text": TEMPLATES["Guanaco"].format(u="a?", a="b.") * 2, "n": n}) for n in range(2)]
    data = "\n".join(lines).encode()
    assert list(render_lines(load_bytes(data, "x.jsonl").samples, "same")) == [f"{line}\n" for line in lines]
    assert len(load_bytes(data, "x.jsonl", ReadOptions(turns="every"))) == 4


@pytest.mark.parametrize(("stray", "offered"), [(1, True), (3, False)])
def test_markers_are_taken_out_only_where_they_are_stray(
    stray: int, offered: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [f"Some words first. [INST] row {n} goes on with more words" for n in range(stray)]
    texts += [f"A plain text, number {n}, of some words" for n in range(4 - stray)]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(json.dumps({"text": text}) for text in texts))
    assert main(["inspect", str(path), "--near", "1"]) == 0
    said = capsys.readouterr().out
    assert "template-residue" in said and ("--mend template-residue" in said) == offered
