"""A row's text is changed in its record, and nowhere else."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delift_core.data.loading import load_bytes
from delift_core.data.loading.json_scanner import DECODER
from delift_core.data.loading.record_reader import (
    RecordReader,
    RecordText,
    edit_texts,
    reader_of,
    record_texts,
    reparse,
)
from delift_core.errors import DataError
from delift_core.samples import ColumnMapping, FormatName, ParsedRecord, Sample, with_ids

ALPACA = RecordReader("alpaca", None, detects_each=True)
RAW = '{"n": 12345678901234567890, "instruction":"Add 2 and 3.", "input": "", "x":1.50, "output" : "f\\u00fcnf", "n":2}'


def sample_of(raw: str, reading: RecordReader) -> Sample:
    messages = reading.conversation(DECODER.decode(raw)).messages
    return with_ids([ParsedRecord(messages, raw, "pool.jsonl", 7)])[0]


def test_only_the_string_at_its_path_changes() -> None:
    sample = sample_of(RAW, ALPACA)
    assert record_texts(sample) == (RecordText("instruction", "Add 2 and 3."), RecordText("output", "fünf"))
    after = edit_texts(sample, {"output": "sechs – ü"}, ALPACA)
    assert after.raw == RAW.replace('"f\\u00fcnf"', '"sechs \\u2013 \\u00fc"')  # escapes as the record has them
    assert after.response == "sechs – ü"
    assert (after.id, after.line, after.source) == (sample.id, 7, "pool.jsonl")
    assert after.content_hash != sample.content_hash
    assert edit_texts(after, {"output": "fünf"}, ALPACA) == sample


def test_a_text_that_stays_the_same_keeps_its_spelling() -> None:
    sample = sample_of('{"instruction": "Say \\u0041.", "output": "A\\/B \\u007f"}', ALPACA)
    same = {one.path: one.text for one in record_texts(sample)}
    assert edit_texts(sample, same, ALPACA) == sample
    assert edit_texts(sample, same | {"instruction": "Say B."}, ALPACA).raw == sample.raw.replace("\\u0041", "B")


CHATS: tuple[tuple[FormatName, ColumnMapping | None, str, str], ...] = (
    ("sharegpt", None, '{"conversations":[{"from":"human","value":"Hi"},{"from":"gpt","value":"Yo"}]}',
     "conversations[1].value"),
    ("messages", None, '{"messages": [{"role":"user","content":"Hi"}, {"role":"assistant","content":"Yo"}]}',
     "messages[1].content"),
    ("prompt-completion", None, '{"prompt":"Hi","completion":"Yo"}', "completion"),
    ("columns", ColumnMapping("q", "a.b"), '{"q":"Hi","a.b":"Yo","other":["Yo no"]}', "a.b"),
    ("sharegpt", None, '[{"from":"human","value":"Hi"},{"from":"gpt","value":"Yo"}]', "[1].value"),
)  # fmt: skip


@pytest.mark.parametrize(("name", "mapping", "raw", "path"), CHATS)
def test_every_format_is_edited_where_it_keeps_its_response(
    name: FormatName, mapping: ColumnMapping | None, raw: str, path: str
) -> None:
    reading = RecordReader(name, mapping, detects_each=mapping is None)
    sample = sample_of(raw, reading)
    assert RecordText(path, "Yo") in record_texts(sample)
    after = edit_texts(sample, {path: "Hey\u2028you"}, reading)
    assert after.response == "Hey\u2028you"
    assert after.raw == raw.replace('"Yo"', '"Hey\\u2028you"')


def test_a_record_of_another_format_in_the_same_file_is_read_in_its_own() -> None:
    sample = sample_of('{"prompt":"Hi","completion":"Yo"}', RecordReader("prompt-completion", None, detects_each=True))
    assert edit_texts(sample, {"completion": "Ho"}, ALPACA).response == "Ho"


def test_what_could_not_be_loaded_cannot_be_written() -> None:
    sample = sample_of(RAW, ALPACA)
    with pytest.raises(DataError, match="the response"):
        edit_texts(sample, {"output": "  "}, ALPACA)
    with pytest.raises(DataError, match="line 7 of pool.jsonl has no text at 'nowhere'; open the row again"):
        edit_texts(sample, {"nowhere": "x"}, ALPACA)
    with pytest.raises(DataError):
        reparse(sample, "[]", ALPACA)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(extra=JSON, new=st.text(min_size=1).filter(str.strip), ascii=st.booleans(), indent=st.sampled_from([None, 1]))
def test_whatever_else_a_record_holds_stays(extra: object, new: str, ascii: bool, indent: int | None) -> None:
    record = {"before": extra, "instruction": "Say it.", "output": "It.", "after": [extra, {"output": "It."}]}
    sample = sample_of(json.dumps(record, ensure_ascii=ascii, indent=indent), ALPACA)
    after = edit_texts(sample, {"output": new}, ALPACA)
    assert json.loads(after.raw) == record | {"output": new}
    assert json.loads(edit_texts(after, {"output": "It."}, ALPACA).raw) == record


def test_thoughts_and_arguments_of_calls_are_texts_to_edit() -> None:
    call = {"function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
    turn = {"role": "assistant", "content": None, "reasoning": "Look outside.", "tool_calls": [call]}
    data = json.dumps({"messages": [{"role": "user", "content": "Rain?"}, turn]})
    dataset = load_bytes(data.encode(), "x.jsonl")
    sample, reader = dataset.samples[0], reader_of(dataset)
    paths = {one.path for one in record_texts(sample)}
    arguments = "messages[1].tool_calls[0].function.arguments"
    assert {"messages[0].content", "messages[1].reasoning", arguments} <= paths
    after = edit_texts(sample, {"messages[1].reasoning": "Ask.", arguments: '{"city":"Bergen"}'}, reader)
    assert (after.messages[-1].thoughts, after.messages[-1].calls[0].arguments) == ("Ask.", '{"city":"Bergen"}')
    assert after.content_hash != sample.content_hash
