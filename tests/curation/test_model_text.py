"""What the model reads: the parts of a row's text, alone and after an example."""

import pytest

from delift_core.curation.model_text import ModelReader, ModelText
from delift_core.errors import ScoringError
from delift_core.samples import Message, ParsedRecord, Sample, with_ids
from tests.tiny_models import CHAT_TEMPLATE, byte_tokenizer, save_model


def row(*turns: tuple[str, str], tools: str = "") -> Sample:
    messages = tuple(Message(role, text) for role, text in turns)  # type: ignore[arg-type]
    return with_ids([ParsedRecord(messages, "{}", "p.jsonl", 1, tools)])[0]


ADD = row(("user", "2 + 2?"), ("assistant", "4"))
SKY = row(("system", "Be kind."), ("user", "A colour?"), ("assistant", "Blue."))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(save_model(tmp_path_factory.mktemp("model")))


def parts(text: ModelText) -> list[tuple[str, str]]:
    return [(part.kind, part.text) for part in text.parts]


def test_a_row_alone(model: str) -> None:
    text = ModelReader(model).read(SKY)
    assert parts(text) == [
        ("head", "<s>system\nBe kind.</s>\n"),
        ("prompt", "<s>user\nA colour?</s>\n<s>assistant\n"),
        ("scored", "Blue."),
    ]
    assert (text.template, text.truncated, text.notes) == ("chat", 0, ())
    assert text.trainer == (
        "With completion-only loss a trainer also learns '</s>\\n' after the scored text. Assistant-only loss needs a "
        "template that marks answers ({% generation %}), which this one does not; TRL marks those that it knows."
    )


def test_a_row_after_an_example(model: str) -> None:
    text = ModelReader(model).read(ADD, SKY)
    assert parts(text)[:2] == [
        ("head", "<s>system\nBe brief.</s>\n"),
        ("example", "<s>user\nBe kind.\n\nA colour?</s>\n<s>assistant\nBlue.</s>\n"),
    ]
    assert parts(text)[-1] == ("scored", "4")
    assert "--- example (45 tokens)" in text.lines


def test_what_was_cut_and_what_the_template_cannot_hold(model: str) -> None:
    long = row(("user", "word " * 200), ("assistant", "Yes."), tools='[{"name": "add"}]')
    text = ModelReader(model).read(long)
    assert text.truncated > 700
    assert text.notes == ("the template has no place for tool definitions, so the model does not read them",)
    assert any(line.startswith("cut from the left to fit the context: ") for line in text.lines)


def test_plain_text(model: str) -> None:
    text = ModelReader(model, "plain").read(ADD, SKY)
    assert [part.kind for part in text.parts] == ["example", "prompt", "scored"]
    assert (text.template, text.trainer) == ("plain", "")


def test_a_row_that_does_not_fit_is_an_error(model: str) -> None:
    with pytest.raises(ScoringError, match="the response has 600 tokens"):
        ModelReader(model).read(row(("user", "Say it."), ("assistant", "la " * 200)))


def test_the_tokens_of_all_rows_with_those_of_thoughts(model: str) -> None:
    thinking = row(("user", "2 + 2?"), ("assistant", "<think>Two and two.</think>4"))
    empty = row(("user", "Say nothing."), ("assistant", ""))
    summary = ModelReader(model).summarise([ADD, thinking, empty])
    assert summary.response_tokens == len("4") + len("Two and two.</think>4")
    assert summary.thought_tokens == len("Two and two.</think>")
    assert (summary.refused, summary.reason) == (1, "the response has no tokens: write a response, or drop the row")
    assert (summary.rendering.template, dict(summary.rendering.notes)) == ("chat", {})


def test_a_template_that_marks_answers(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = save_model(tmp_path_factory.mktemp("marked"))
    form = CHAT_TEMPLATE.replace(
        "{{ message['content'] }}", "{% generation %}{{ message['content'] }}{% endgeneration %}"
    )
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = form
    tokenizer.save_pretrained(folder)
    reader = ModelReader(str(folder))
    assert reader.read(ADD).trainer.endswith("With assistant-only loss it learns the same tokens.")
    talk = row(("user", "2 + 2?"), ("assistant", "4"), ("user", "Sure?"), ("assistant", "Yes."))
    assert reader.read(talk).trainer.endswith("With assistant-only loss it learns the earlier answer too.")
