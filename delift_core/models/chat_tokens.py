"""Cuts the chat template's renderings into the tokens that serve every query, a row's own, and the scored ones.

The places to cut are found by rendering short conversations with and without an example, and checked for each row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from delift_core.errors import ScoringError
from delift_core.models.chat_template import (
    CALLING,
    ArgumentsSpelling,
    ChatTemplate,
    RenderingNote,
    common_start,
    fold_system,
)
from delift_core.models.encoded import NO_HEAD, EncodedRow, EncodedSample, ExampleTokens, Head, Lengths, Tokens
from delift_core.samples import Conversation, Message

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Short conversations that begin with different letters, to see where the template puts an example and a query.
_EXAMPLE = (Message("user", "Name a colour."), Message("assistant", "Blue."))
_QUERY = (Message("user", "What is 7 + 5?"), Message("assistant", "12"))


@dataclass(frozen=True, slots=True)
class _HeadGroup:
    """The rendering of `_QUERY` under a system text and tools: `head | query`, and `head | example | query`."""

    head: Head
    before: tuple[Message, ...]  # the system turn
    tools: str
    example: Tokens  # () if there is no such cut
    query: Tokens


@dataclass(frozen=True, slots=True)
class _Written:
    """The tokens of a conversation, in a form that the template can hold."""

    conversation: Conversation
    before: Tokens  # before the scored text
    response: Tokens
    notes: frozenset[RenderingNote]


class ChatWriter:
    """Conversations in the model's own chat template."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", chat: ChatTemplate) -> None:
        self._tokenizer, self._chat = tokenizer, chat
        self._special = frozenset(tokenizer.all_special_ids) | frozenset(tokenizer.get_added_vocab().values())
        self._groups: dict[tuple[str, str], _HeadGroup] = {}

    @property
    def arguments_as(self) -> ArgumentsSpelling:
        """See `Template.arguments_as`."""
        return self._chat.arguments_as

    @property
    def marks_answers(self) -> bool:
        """See `Template.marks_answers`."""
        return self._chat.marks_answers

    def row(self, conversation: Conversation) -> EncodedRow:
        """Cuts the rendering of a conversation at its head and at the scored text."""
        written = self._written(conversation)
        encoded = self._cut(written.conversation, written.before, written.response)
        return EncodedRow(written.conversation, replace(encoded, notes=written.notes))

    def lengths(self, conversation: Conversation) -> Lengths:
        """See `Template.lengths`."""
        written = self._written(conversation)
        return Lengths(len(written.before), len(written.response), written.notes)

    def _written(self, conversation: Conversation) -> _Written:
        """The tokens of a conversation in the first form that the template does not refuse."""
        supported, notes = self._chat.supported(conversation)
        refusal: ScoringError | None = None
        for tried, note in self._chat.alternatives(supported):
            try:
                before, response, dropped = self._scored(tried)
            except ScoringError as error:
                refusal = refusal or error
                continue
            return _Written(tried, before, response, dropped | notes | ({note} if note else set()))
        assert refusal is not None
        raise refusal

    def _cut(self, conversation: Conversation, before: Tokens, response: Tokens) -> EncodedSample:
        group = self._group(*_system_and_tools(conversation))
        head = group.head.tokens
        query = before[len(head) :]
        is_separable = bool(group.example and query) and before[: len(head)] == head
        # Some templates write a call differently after another one.
        calls = any(message.calls for message in conversation.messages)
        for example in (_EXAMPLE, CALLING) if calls else (_EXAMPLE,):
            is_separable = is_separable and self._follows(group, example, conversation, query + response)
        if not is_separable:
            return EncodedSample(NO_HEAD, before, before, response, (), is_separable=False)
        return EncodedSample(group.head, query, query, response, ())

    def _follows(
        self, group: _HeadGroup, example: Sequence[Message], conversation: Conversation, expected: Tokens
    ) -> bool:
        """Whether the tokens of a conversation after its head are the same with an example before them."""
        turns = conversation.messages[len(group.before) :]
        ids, _ = self._tokens(self._chat.render((*group.before, *example, *turns), conversation.tools))
        tokens = group.example if example is _EXAMPLE else self._between(group, example)
        if tokens is None:  # then this example is never shared
            return True
        start = len(group.head.tokens) + len(tokens)
        return ids[:start] == group.head.tokens + tokens and ids[start : start + len(expected)] == expected

    def _scored(self, conversation: Conversation) -> tuple[Tokens, Tokens, frozenset[RenderingNote]]:
        """The tokens before the scored text, and its own."""
        rendering = self._chat.scored(conversation)
        ids, spans = self._tokens(rendering.text)
        first = next((at for at, (_, end) in enumerate(spans) if end > rendering.start), len(ids))
        last = next((at for at, (start, _) in enumerate(spans) if start >= rendering.end), len(ids))
        if first >= last:
            raise ScoringError("the response has no tokens: write a response, or drop the row")
        return ids[:first], ids[first:last], rendering.notes

    def example(self, row: EncodedRow, other: EncodedRow) -> ExampleTokens | None:
        """A sample as an example after the head of another, and after heads of the same form."""
        group = self._group(*_system_and_tools(other.conversation))
        turns = row.conversation.messages
        own = turns[1:] if turns[0].role == "system" else turns
        same = self._between(group, own)
        folded = same if own is turns else self._between(group, fold_system(turns))
        return None if same is None or folded is None else ExampleTokens(group.head.form, same, folded)

    def _between(self, group: _HeadGroup, turns: Sequence[Message]) -> Tokens | None:
        """The tokens of turns between the head and the query of a group; None if what follows is not the same."""
        ids, _ = self._tokens(self._chat.render((*group.before, *turns, *_QUERY), group.tools))
        head, query = group.head.tokens, group.query
        if not group.example or ids[: len(head)] != head or ids[-len(query) :] != query:
            return None
        return ids[len(head) : -len(query)]

    def completion(self, conversation: Conversation) -> tuple[str, str] | None:
        """See `Template.completion`."""
        written = self._written(conversation).conversation
        rendered = self._chat.scored(written)
        prompt = self._chat.render(written.messages[:-1], written.tools, opens_answer=True)
        start = min(rendered.start, common_start(rendered.text, prompt))
        return rendered.text[start : rendered.start], rendered.text[rendered.end :]

    def pair(self, row: Conversation, example: Conversation) -> Tokens:
        """The tokens before the scored text of a row, with an example before it in the same rendering."""
        one, other = self._written(row).conversation, self._written(example).conversation
        system, _ = _system_and_tools(one)
        before = one.messages[:1] if system else ()
        own, _ = _system_and_tools(other)
        turns = other.messages[1:] if own and own == system else fold_system(other.messages)
        messages = (*before, *turns, *one.messages[len(before) :])
        return self._scored(replace(one, messages=messages))[0]

    def _group(self, system: str, tools: str) -> _HeadGroup:
        if (system, tools) not in self._groups:
            self._groups[system, tools] = self._new_group(system, tools)
        return self._groups[system, tools]

    def _new_group(self, system: str, tools: str) -> _HeadGroup:
        before = (Message("system", system),) if system else ()
        alone, _ = self._tokens(self._chat.render((*before, *_QUERY), tools))
        after, _ = self._tokens(self._chat.render((*before, *_EXAMPLE, *_QUERY), tools))
        # Any cut from `first` to `last` gives back both renderings. The best is before a special token, since no merge
        # of the tokenizer crosses it.
        last, first = common_start(alone, after), len(alone) - common_start(alone[::-1], after[::-1])
        if first > last or len(after) <= len(alone):
            return _HeadGroup(NO_HEAD, before, tools, (), alone)
        cut = next((at for at in range(last, first - 1, -1) if alone[at] in self._special), last)
        example = after[cut : cut + len(after) - len(alone)]
        return _HeadGroup(Head(alone[:cut], alone[:cut], system, example), before, tools, example, alone[cut:])

    def _tokens(self, text: str) -> tuple[Tokens, list[tuple[int, int]]]:
        """Token ids of a rendering, and the characters that each stands for."""
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        return tuple(found["input_ids"]), found["offset_mapping"]


def _system_and_tools(conversation: Conversation) -> tuple[str, str]:
    first = conversation.messages[0]
    return first.content if first.role == "system" else "", conversation.tools
