"""A model's own chat template: renders whole conversations, and finds the text of the turn that is scored.

The template decides what a model reads, so nothing is put together from pieces. To find the scored text in a rendering,
the conversation is rendered again with marks in place of the last turn's thoughts and answer:

    rendering    …<|user|>2 + 2?<|assistant|><think>Add them.</think>4<|end|>
    with marks   …<|user|>2 + 2?<|assistant|><think>[THOUGHTS]</think>[ANSWER]<|end|>
                 '------------before---------------'         '-between-'      '-after-'

What precedes the first mark is context, also what the template writes there itself (an empty thought, the name of a
channel); what follows the last one is the end mark.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from delift_core.errors import ScoringError
from delift_core.samples import (
    Conversation,
    InlineThoughts,
    Message,
    ToolCall,
    calls_text,
    inline_thoughts,
    json_or_text,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Some chat templates write today's date, which would change the numbers every day. This macro, put before the template,
# overrides it with the date that Llama 3 falls back to.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"
_THOUGHTS, _ANSWER = "QZXTHOUGHTSQZX", "QZXANSWERQZX"

ArgumentsSpelling = Literal["object", "text", "either"]
RenderingNote = Literal[
    "thoughts-dropped",
    "text-dropped",
    "tools-dropped",
    "calls-as-text",
    "results-as-user",
    "system-as-user",
    "turns-joined",
    "pairs-whole",
]
"""What a template cannot hold of a row, and how the row was rendered nevertheless."""
NOTES: Mapping[RenderingNote, str] = {
    "thoughts-dropped": "the template leaves out the thoughts, so a trainer never shows them to the model",
    "text-dropped": "the template leaves out the text beside a tool call, so a trainer never shows it to the model",
    "tools-dropped": "the template has no place for tool definitions, so the model does not read them",
    "calls-as-text": "the template has no form for tool calls; they are read as JSON text",
    "results-as-user": "the template has no tool turns; tool results are read as user turns",
    "system-as-user": "the template has no system turn; system texts are read at the start of the user turn",
    "pairs-whole": "the template writes what follows an example differently, so their pairs run one by one, slower",
    "turns-joined": "the template refuses the turns as they are; neighbouring turns of one side are read as one",
}


@dataclass(frozen=True, slots=True)
class RenderedText:
    """A conversation as the template writes it; the scored text is `text[start:end]`."""

    text: str
    start: int
    end: int
    notes: frozenset[RenderingNote] = frozenset()


class ChatTemplate:
    """The chat template of a tokenizer."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", arguments: Mapping[str, object] | None = None) -> None:
        """Args:
            arguments: further arguments of the template, such as `enable_thinking` ("chat_template_kwargs").

        Raises:
            ScoringError: the template cannot render two turns, or leaves the answer out.
        """
        self._tokenizer = tokenizer
        self._arguments: dict[str, Any] = dict(arguments or {})
        self._forms = {with_tools: _form(tokenizer, with_tools=with_tools) for with_tools in (False, True)}
        self._in_parts = False  # whether contents are lists of parts
        if not self._writes(_PAIR, "A colour?", "Blue."):
            self._in_parts = True
        if not self._writes(_PAIR, "A colour?", "Blue."):
            self._in_parts = False
            self.render(_PAIR)  # raises with the template's own message, if it has one
            raise ScoringError("the model's chat template leaves out turns of a conversation; use the plain template")

    @property
    def marks_answers(self) -> bool:
        """Whether the template marks the answers of the assistant."""
        return re.search(r"{%-?\s*generation\b", self._forms[False]) is not None

    @cached_property
    def has_system(self) -> bool:
        """Whether the template writes a system turn."""
        return self._writes((Message("system", "Be brief."), *_PAIR), "Be brief.")

    @cached_property
    def has_tools(self) -> bool:
        """Whether the template writes tool definitions."""
        return self._writes(_PAIR, "sky_colour", tools=_TOOLS)

    @cached_property
    def has_calls(self) -> bool:
        """Whether the template writes tool calls of the last turn."""
        return any(self._written_calls)

    @cached_property
    def has_results(self) -> bool:
        """Whether the template writes the results of tools."""
        return self._writes(_RESULT, "azure", tools=_TOOLS)

    @cached_property
    def arguments_as(self) -> ArgumentsSpelling:
        """The spelling of a call's arguments that the template needs; "either" if it writes both alike."""
        as_object, as_text = self._written_calls
        if as_object == as_text:
            return "either"
        return "object" if as_object else "text"

    @cached_property
    def _written_calls(self) -> tuple[str, str]:
        """A call as the template writes it with its arguments as an object and as text; "" where it does not."""
        found = [self._try(CALLING, _TOOLS, as_text=as_text) or "" for as_text in (False, True)]
        as_object, as_text = (text if "noon" in text else "" for text in found)
        return as_object, as_text

    def supported(self, conversation: Conversation) -> tuple[Conversation, frozenset[RenderingNote]]:
        """The conversation in a form that the template can hold; unchanged if it holds it as it is."""
        notes: set[RenderingNote] = set()
        messages = list(conversation.messages)
        tools = conversation.tools
        if tools and not self.has_tools:
            tools = ""
            notes.add("tools-dropped")
        if any(one.calls for one in messages) and not self.has_calls:
            messages = [calls_in_text(one) for one in messages]
            notes.add("calls-as-text")
        if any(one.role == "tool" for one in messages) and not self.has_results:
            messages = [replace(one, role="user") if one.role == "tool" else one for one in messages]
            notes.add("results-as-user")
        if any(one.role == "system" for one in messages) and not self.has_system:
            messages = [replace(one, role="user") if one.role == "system" else one for one in fold_system(messages)]
            notes.add("system-as-user")
        return replace(conversation, messages=_with_user(messages), tools=tools), frozenset(notes)

    def alternatives(self, conversation: Conversation) -> tuple[tuple[Conversation, RenderingNote | None], ...]:
        """A supported conversation, and further forms for a template that refuses it, with what has to be said."""
        with_ids = replace(conversation, messages=_with_ids(conversation.messages))
        joined = replace(with_ids, messages=join_turns(with_ids.messages))
        return (conversation, None), (with_ids, None), (joined, "turns-joined")

    def render(
        self, messages: Sequence[Message], tools: str = "", *, as_text: bool | None = None, opens_answer: bool = False
    ) -> str:
        """The text of a finished conversation.

        Args:
            tools: tool definitions as a JSON list, "" for none.
            as_text: gives the arguments of calls as text; by default, in the spelling that the template needs.
            opens_answer: writes the prompt for an answer after the turns.

        Raises:
            ScoringError: the template refuses the conversation.
        """
        try:
            return str(
                self._tokenizer.apply_chat_template(
                    [self._turn(message, as_text=as_text) for message in messages],
                    tools=_definitions(tools),
                    chat_template=self._forms[bool(tools)],
                    tokenize=False,
                    add_generation_prompt=opens_answer,
                    **self._arguments,
                )
            )
        except Exception as error:  # a template is a program that came with the model; it may raise anything
            reason = " ".join(str(error).split())[:200]
            raise ScoringError(
                f"the model's chat template refuses this conversation: {reason}; use the plain template"
            ) from error

    def scored(self, conversation: Conversation) -> RenderedText:
        """Renders a supported conversation and finds the scored text.

        Raises:
            ScoringError: the template refuses the conversation, or leaves out what is to be scored.
        """
        *before, last = conversation.messages
        text = self.render(conversation.messages, conversation.tools)
        inner = None if last.calls else inline_thoughts(last.content)
        probe = self.render((*before, _marked(last, inner)), conversation.tools)
        answer, thoughts = probe.find(_ANSWER), probe.find(_THOUGHTS)
        spoken = not last.only_calls and bool(last.content.strip())
        if spoken and answer < 0 and not last.calls:
            raise ScoringError("the model's chat template leaves out the answer; use the plain template")
        notes: set[RenderingNote] = set()
        if spoken and answer < 0:
            notes.add("text-dropped")
        if (inner is not None or last.thoughts) and thoughts < 0:
            notes.add("thoughts-dropped")
        start, end = self._turn_span(conversation, text, probe)
        if thoughts < 0 and conversation.scored == "thoughts":
            raise ScoringError(
                "the model's chat template leaves out the thoughts, and nothing else is scored of this row; "
                "score the answer too"
            )
        if thoughts >= 0 and conversation.scored != "turn":
            between = probe[thoughts + len(_THOUGHTS) : answer if answer > thoughts else len(probe)]
            thoughts_end, answer_start = _find_between(text[start:end], between, last, inner)
            if conversation.scored == "answer":
                start += answer_start
            else:
                text, end = text[: start + thoughts_end], start + thoughts_end
        return RenderedText(text, start, end, frozenset(notes))

    def _turn_span(self, conversation: Conversation, text: str, probe: str) -> tuple[int, int]:
        """Where the last turn's own text starts and ends in a rendering; `probe` has marks in place of that text."""
        *before, last = conversation.messages
        plain = self.render((*before, Message("assistant", _ANSWER)), conversation.tools) if last.calls else probe
        opening, _, after = plain.partition(_ANSWER)
        start = common_start(text, opening)
        first = min((at for at in (probe.find(_THOUGHTS), probe.find(_ANSWER)) if at >= 0), default=-1)
        calls_first = bool(last.calls) and last.calls[0].name in probe[start : max(first, 0)]
        if first >= 0 and not calls_first:
            start = common_start(text, probe[:first])
        if text.endswith(after) and len(text) - len(after) >= start:
            return start, len(text) - len(after)
        return start, start + len(self._without_end(text[start:]))

    def _without_end(self, text: str) -> str:
        """A text without special tokens and white space at its end."""
        marks = [mark for mark in self._tokenizer.all_special_tokens if mark]
        while True:
            shorter = text.rstrip()
            for mark in marks:
                shorter = shorter.removesuffix(mark)
            if shorter == text:
                return text
            text = shorter

    def _turn(self, message: Message, *, as_text: bool | None) -> dict[str, Any]:
        content = "" if message.only_calls else message.content
        turn: dict[str, Any] = {"role": message.role, "content": _part(content) if self._in_parts else content}
        if message.thoughts:
            turn["reasoning_content"] = message.thoughts
        if message.calls:
            as_text = self.arguments_as == "text" if as_text is None else as_text
            turn["tool_calls"] = [_call(call, as_text=as_text) for call in message.calls]
        own = {"name": message.name, "tool_call_id": message.call_id}
        return turn | {key: value for key, value in own.items() if value}

    def _try(self, messages: Sequence[Message], tools: str = "", *, as_text: bool | None = None) -> str | None:
        try:
            return self.render(messages, tools, as_text=as_text)
        except ScoringError:
            return None

    def _writes(self, messages: Sequence[Message], *texts: str, tools: str = "") -> bool:
        rendered = self._try(messages, tools) or ""
        return all(text in rendered for text in texts)


_PAIR = (Message("user", "A colour?"), Message("assistant", "Blue."))
_TOOLS = json.dumps(
    [
        {
            "type": "function",
            "function": {
                "name": "sky_colour",
                "description": "The colour of the sky.",
                "parameters": {
                    "type": "object",
                    "properties": {"time": {"type": "string", "description": "The time of day."}},
                    "required": ["time"],
                },
            },
        }
    ]
)
_ASKED = (ToolCall("sky_colour", '{"time": "noon"}', "call00001"),)
CALLING = (_PAIR[0], Message("assistant", '{"name": "sky_colour", "arguments": {"time": "noon"}}', calls=_ASKED))
_RESULT = (*CALLING, Message("tool", "azure", call_id="call00001", name="sky_colour"), _PAIR[1])


def join_turns(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Alternating user and assistant turns; system and tool texts are joined to the user turn next to them."""
    turns: list[Message] = []
    for message in messages:
        role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1].role == role:
            turns[-1] = replace(message, role=role, content=f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(replace(message, role=role))
    if turns and turns[0].role == "assistant":
        turns.insert(0, Message("user", ""))
    return tuple(turns)


def fold_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Turns whose first system text is the start of the first user turn."""
    if messages[0].role != "system":
        return tuple(messages)
    system, *turns = messages
    first = next((at for at, turn in enumerate(turns) if turn.role == "user"), None)
    if first is None:
        return (Message("user", system.content), *turns)
    turns[first] = replace(turns[first], content=f"{system.content}\n\n{turns[first].content}")
    return tuple(turns)


def _with_user(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Turns of which the first after the system text is by the user; an empty one is inserted if it is not."""
    start = 1 if messages[0].role == "system" else 0
    if messages[start].role != "assistant":
        return tuple(messages)
    return (*messages[:start], Message("user", ""), *messages[start:])


def _form(tokenizer: "PreTrainedTokenizerBase", *, with_tools: bool) -> str:
    """The template's source; a tokenizer may have another for conversations with tools."""
    try:
        form = str(tokenizer.get_chat_template(tools=[{}] if with_tools else None))
    except ValueError as error:
        raise ScoringError(
            "the model has several chat templates and none by the name of 'default'; use the plain template"
        ) from error
    return _FIXED_DATE + form if "strftime_now" in form else form


def calls_in_text(message: Message) -> Message:
    """A turn whose tool calls are part of its text, as JSON."""
    if not message.calls:
        return message
    text = message.content if message.only_calls else f"{message.content}\n{calls_text(message.calls)}"
    return replace(message, content=text, calls=())


def _with_ids(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Turns whose calls have ids of nine letters and digits, which some templates require."""
    new_ids = (f"call{number:05d}" for number in count(1))
    known: dict[str, str] = {}  # by the record's own id, the newest where one is used again; "" for calls without
    found = []
    for message in messages:
        calls = tuple(replace(call, id=next(new_ids)) for call in message.calls)
        known |= {call.id: new.id for call, new in zip(message.calls, calls, strict=True)}
        found.append(replace(message, calls=calls, call_id=known.get(message.call_id, message.call_id)))
    return tuple(found)


def _part(content: str) -> list[dict[str, str]]:
    return [{"type": "text", "text": content}]


def _call(call: ToolCall, *, as_text: bool) -> dict[str, Any]:
    arguments = call.arguments if as_text else json_or_text(call.arguments)
    found: dict[str, Any] = {"type": "function", "function": {"name": call.name, "arguments": arguments}}
    return found | ({"id": call.id} if call.id else {})


def _definitions(tools: str) -> list[Any] | None:
    """Tool definitions in the form that templates expect; a bare function is wrapped."""
    if not tools:
        return None
    listed = json.loads(tools)
    return [
        one if not isinstance(one, dict) or "function" in one else {"type": "function", "function": one}
        for one in (listed if isinstance(listed, list) else [listed])
    ]


def _marked(last: Message, inner: InlineThoughts | None) -> Message:
    """The last turn with marks in place of thoughts and answer."""
    if inner is not None:
        content = last.content[: inner.start] + _THOUGHTS + last.content[inner.end : inner.answer] + _ANSWER
        return replace(last, content=content)
    content = last.content if last.only_calls or not last.content.strip() else _ANSWER
    return replace(last, content=content, thoughts=_THOUGHTS if last.thoughts else "")


def _find_between(scored: str, between: str, last: Message, inner: InlineThoughts | None) -> tuple[int, int]:
    """Where the thoughts end in the scored text, and where the answer starts."""
    answer = last.content[inner.answer :] if inner else last.content
    for text in (answer, answer.strip()):
        if text and scored.endswith(between + text):
            at = len(scored) - len(between + text)
            return at, at + len(between)
    at = max(0, scored.find(between))
    return at, at + len(between)


def common_start(first: Sequence[object], second: Sequence[object]) -> int:
    """Length of the common start."""
    length = min(len(first), len(second))
    return next((at for at in range(length) if first[at] != second[at]), length)
