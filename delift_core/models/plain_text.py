"""Plain text for tokenizers without a chat template, and the two prompts of the published code."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from delift_core.errors import ScoringError
from delift_core.models.chat_template import ArgumentsSpelling, RenderingNote, calls_in_text, join_turns
from delift_core.models.encoded import EncodedRow, EncodedSample, ExampleTokens, Head, Lengths, Tokens
from delift_core.samples import Conversation, Message, inline_thoughts

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class TextWriter:
    """Conversations as plain text, for tokenizers without a chat template and for the published prompts."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", *, paper: bool) -> None:
        self._tokenizer, self._paper = tokenizer, paper
        begin = tuple(tokenizer("").input_ids)
        begin = tuple(token for token in begin if token != tokenizer.eos_token_id)  # some end every text with it
        after, alone = (_PAPER_HEAD, _PAPER_HEAD_ALONE) if paper else ("", "")
        self._head = Head(begin + self._ids(after), begin + self._ids(alone))

    @property
    def arguments_as(self) -> ArgumentsSpelling:
        """See `Template.arguments_as`."""
        return "either"

    @property
    def marks_answers(self) -> bool:
        """See `Template.marks_answers`."""
        return False

    def row(self, conversation: Conversation) -> EncodedRow:
        """Writes a conversation, in which thoughts, calls and tool results are text."""
        turns = join_turns([_in_text(one) for one in conversation.messages])
        conversation = replace(conversation, messages=turns)
        context, response = _split_scored(conversation)
        texts = _paper_texts(turns) if self._paper else _plain_texts(turns)
        query, tokens = self._tokenise_pair(texts.query + context, response)
        if not tokens:
            raise ScoringError("the response has no tokens: write a response, or drop the row")
        alone = query if not self._paper else self._tokenise_pair(texts.query_alone + context, response)[0]
        notes: frozenset[RenderingNote] = frozenset({"tools-dropped"} if conversation.tools else ())
        return EncodedRow(conversation, EncodedSample(self._head, query, alone, tokens, (), notes=notes))

    def lengths(self, conversation: Conversation) -> Lengths:
        """See `Template.lengths`."""
        encoded = self.row(conversation).encoded
        return Lengths(len(encoded.alone), len(encoded.response), encoded.notes)

    def example(self, row: EncodedRow, other: EncodedRow) -> ExampleTokens:
        """A sample as an example: the same after every head."""
        turns = row.conversation.messages
        text = (_paper_texts(turns) if self._paper else _plain_texts(turns)).example
        return ExampleTokens((), *[self._ids(text)] * 2)

    def completion(self, conversation: Conversation) -> None:
        """See `Template.completion`."""

    def pair(self, row: Conversation, example: Conversation) -> Tokens:
        """See `Template.pair`."""
        one, other = self.row(row), self.row(example)
        return self._head.tokens + self.example(other, one).same_system + one.encoded.query

    def _tokenise_pair(self, query: str, response: str) -> tuple[Tokens, Tokens]:
        """Tokenises query and response together if the query's tokens stay the same, else separately."""
        alone = self._ids(query)
        both = self._ids(query + response)
        if both[: len(alone)] == alone:
            return alone, both[len(alone) :]
        return alone, self._ids(response)

    def _ids(self, text: str) -> Tokens:
        return tuple(self._tokenizer(text, add_special_tokens=False).input_ids) if text else ()


def _in_text(message: Message) -> Message:
    """A turn whose calls and thoughts are part of its text."""
    message = calls_in_text(message)
    if not message.thoughts:
        return message
    return replace(message, content=f"<think>\n{message.thoughts}\n</think>\n\n{message.content}", thoughts="")


def _split_scored(conversation: Conversation) -> tuple[str, str]:
    """The last turn's text before the scored part, and the scored part."""
    text = conversation.messages[-1].content
    inner = inline_thoughts(text) if conversation.scored != "turn" else None
    if inner is None:
        return "", text
    if conversation.scored == "answer":
        return text[: inner.answer], text[inner.answer :]
    return text[: inner.start], text[inner.start : inner.end]


@dataclass(frozen=True, slots=True)
class _Texts:
    example: str
    query: str
    query_alone: str


_PLAIN_USER, _PLAIN_ASSISTANT = "### Instruction:\n{}\n\n", "### Response:\n{}\n\n"


def _plain_texts(turns: Sequence[Message]) -> _Texts:
    form = {"user": _PLAIN_USER, "assistant": _PLAIN_ASSISTANT}
    parts = [form[turn.role].format(turn.content) for turn in turns]
    query = "".join(parts[:-1]) + _PLAIN_ASSISTANT.format("").rstrip("\n") + "\n"
    return _Texts("".join(parts), query, query)


# The two prompts of the published code, for comparison only: they differ in more than the example.
_PAPER_HEAD_ALONE = "Instruction: Please generate a response to the following query.\n\n\n"
_PAPER_HEAD = (
    "Instruction:\nUse the following example as a guide to answer the query in the same format and style, "
    "providing a clear and concise response.\n\n\n"
)


def _paper_texts(turns: Sequence[Message]) -> _Texts:
    prompt = "\n".join(turn.content for turn in turns[:-1])
    return _Texts(f"Example:\n{prompt}\n{turns[-1].content}\n\n\n", f"Query:\n{prompt}\n", f"Query: {prompt}\n")
