"""Templates: from a conversation to token ids with a known scored span, alone and after any example.

A model reads its own chat template's rendering of the whole conversation, with the example as earlier turns. Only the
example differs between the two terms of a utility:

    zero-shot    head_i | query_i | response_i
    one-shot     head_i | example_j | query_i | response_i
                 '------prefix------' '------suffix------'     scored: response_i

The head holds the row's system text and tools; rows with equal heads share the prefix of an example. Nothing is
tokenised in pieces: parts are cut from the tokens of whole renderings, and each row's cut is checked with an example.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from delift_core.errors import ScoringError
from delift_core.models.chat_template import NOTES, ArgumentsSpelling, ChatTemplate, RenderingNote
from delift_core.models.chat_tokens import ChatWriter
from delift_core.models.encoded import EncodedRow, EncodedSample, Head, Lengths, Tokens
from delift_core.models.plain_text import TextWriter
from delift_core.samples import Conversation, Message, Sample
from delift_core.system.texts import row_count

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

TemplateName = Literal["chat", "plain", "paper"]
TemplateChoice = Literal["auto", "chat", "plain", "paper"]
TEMPLATE_VERSION = 2


@dataclass(frozen=True, slots=True)
class Rendering:
    """How the rows of a run are written for the model.

    Attributes:
        template: "chat" is the model's own; "" until known.
        sharing: "prefix" if an example runs once for many rows, "whole" if each pair runs as one sequence; "" until
            known.
        notes: what the template cannot hold (`chat_template.NOTES`), with the number of rows.
        arguments: the spelling of arguments of tool calls that the chat template needs; "" if no row has a call.
    """

    template: TemplateName | Literal[""] = ""
    sharing: Literal["prefix", "whole", ""] = ""
    notes: Mapping[RenderingNote, int] = field(default_factory=dict)
    arguments: ArgumentsSpelling | Literal[""] = ""

    @property
    def cautions(self) -> tuple[str, ...]:
        """What a curator should know of it, a line each."""
        plain = "the model reads the rows as plain text: a trainer that uses a chat template trains on another text"
        notes = tuple(f"{row_count(count)}: {NOTES[note]}" for note, count in self.notes.items())
        return (*((plain,) if self.template in ("plain", "paper") else ()), *notes)


_ANY = (Message("user", "Hello?"), Message("assistant", "Hello."))


class Template:
    """How conversations become token ids for one tokenizer.

    Attributes:
        name: "chat" is the model's own template.
        arguments: of the chat template, a JSON object as text, "" if there are none.
    """

    def __init__(self, name: TemplateName, writer: "ChatWriter | TextWriter", arguments: str = "") -> None:
        self.name: TemplateName = name
        self.arguments = arguments
        self._writer = writer

    @property
    def key(self) -> str:
        """A name that changes with everything about the template that numbers depend on."""
        return template_key(self.name, TEMPLATE_VERSION, self.arguments)

    def lengths(self, conversation: Conversation) -> Lengths:
        """Numbers of tokens of a conversation without an example.

        Raises:
            ScoringError: as `encode`.
        """
        return self._writer.lengths(conversation)

    @property
    def arguments_as(self) -> ArgumentsSpelling:
        """The spelling of arguments of tool calls that the template needs."""
        return self._writer.arguments_as

    @property
    def marks_answers(self) -> bool:
        """Whether the template marks the answers of the assistant, as assistant-only loss needs."""
        return self._writer.marks_answers

    @property
    def head(self) -> Head:
        """The head of a conversation without a system text and tools of its own."""
        return self._writer.row(Conversation(_ANY)).encoded.head

    def encode(self, conversation: Conversation) -> EncodedSample:
        """Token ids of a conversation; as an example, after heads of its own form only.

        Raises:
            ScoringError: nothing is scored, or the chat template refuses the conversation, or writes it differently
                after an example.
        """
        row = self._writer.row(conversation)
        return self._with_examples(row, [row])

    def encode_all(
        self, conversations: Mapping[str, Conversation]
    ) -> tuple[dict[str, EncodedSample], dict[str, ScoringError]]:
        """Token ids of named conversations, of which any can be an example for any other; and the refused ones."""
        rows: dict[str, EncodedRow] = {}
        refused: dict[str, ScoringError] = {}
        for name, conversation in conversations.items():
            try:
                rows[name] = self._writer.row(conversation)
            except ScoringError as error:
                refused[name] = error
        of_each_form = list({row.encoded.head.form: row for row in rows.values()}.values())
        encoded: dict[str, EncodedSample] = {}
        for name, row in rows.items():
            try:
                sample = self._with_examples(row, of_each_form)
                whole = not sample.is_separable or len(sample.examples) < len(of_each_form)
                encoded[name] = replace(sample, notes=sample.notes | {"pairs-whole"}) if whole else sample
            except ScoringError as error:
                refused[name] = error
        return encoded, refused

    def completion(self, conversation: Conversation) -> tuple[str, str] | None:
        """The texts around the scored one that a trainer learns too, with completion-only loss; None in plain text."""
        return self._writer.completion(conversation)

    def pair(self, row: Conversation, example: Conversation) -> Tokens:
        """The tokens before the response of a row, with an example before it in the same rendering.

        For pairs whose rendering cannot be cut.

        Raises:
            ScoringError: the chat template refuses the pair.
        """
        return self._writer.pair(row, example)

    def _with_examples(self, row: EncodedRow, of_each_form: Iterable[EncodedRow]) -> EncodedSample:
        found = (self._writer.example(row, other) for other in of_each_form)
        return replace(row.encoded, examples=tuple(one for one in found if one is not None))


@dataclass(frozen=True, slots=True)
class WholePairs:
    """Renders pairs of samples that cannot be cut into prefix and suffix, by the names of the samples."""

    template: Template
    conversations: Mapping[str, Conversation]
    context_length: int

    def before_response(self, row: str, example: str, response: int) -> Tokens:
        """As `Template.pair`; what does not fit beside a response of so many tokens is cut from the left."""
        tokens = self.template.pair(self.conversations[row], self.conversations[example])
        return tokens[max(0, len(tokens) + response - self.context_length) :]


def make_template(
    tokenizer: "PreTrainedTokenizerBase",
    choice: TemplateChoice = "auto",
    arguments: str = "",
) -> Template:
    """The template for a tokenizer; "auto" is its chat template, or "plain" if it has none.

    Args:
        arguments: of the chat template ("chat_template_kwargs"), a JSON object as text such as
            '{"enable_thinking": false}'.

    Raises:
        ScoringError: the tokenizer has no chat template, or one that cannot be used, or the arguments are no object.
    """
    given = parse_arguments(arguments)
    has_template = bool(getattr(tokenizer, "chat_template", None))
    if choice == "chat" and not has_template:
        raise ScoringError("this model has no chat template; use the plain template")
    if choice in ("auto", "chat") and has_template:
        if not tokenizer.is_fast:
            raise ScoringError(
                "this model's tokenizer has no fast version, which tells the tokens of the response; use the plain "
                "template"
            )
        return Template("chat", ChatWriter(tokenizer, ChatTemplate(tokenizer, given)), format_arguments(given))
    if given:
        raise ScoringError("template arguments are given and the model's chat template is not used; leave them out")
    return Template("paper" if choice == "paper" else "plain", TextWriter(tokenizer, paper=choice == "paper"))


def template_key(name: str, version: int, arguments: str) -> str:
    """What tells two ways of writing prompts apart."""
    return f"{name} {version} {arguments}".strip()


def format_arguments(arguments: Mapping[str, object]) -> str:
    """Arguments of a chat template as a JSON object, always the same text for equal arguments; "" for none."""
    return json.dumps(arguments, sort_keys=True) if arguments else ""


def parse_arguments(text: str) -> dict[str, object]:
    """Arguments of a chat template, of a JSON object as text.

    Raises:
        ScoringError: it is not a JSON object.
    """
    try:
        found = json.loads(text or "{}")
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ScoringError(
            f'template arguments {text!r} are not a JSON object; write them as {{"enable_thinking": false}}'
        )
    return found


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens of each row as it will be scored, before truncation."""

    prompt: "np.ndarray"  # (n,) int64; both 0 for a row that the template refuses
    response: "np.ndarray"  # (n,) int64; both 0 for a row that the template refuses

    @property
    def total(self) -> "np.ndarray":
        """(n,) int64, prompt and response together."""
        result: np.ndarray = self.prompt + self.response
        return result


def count_tokens(samples: Sequence[Sample], template: Template) -> TokenCounts:
    """Counts the tokens of samples with a template and its tokenizer."""
    import numpy as np

    counts = np.zeros((len(samples), 2), dtype=np.int64)
    for row, sample in enumerate(samples):
        try:
            lengths = template.lengths(sample.conversation)
        except ScoringError:
            continue
        counts[row] = lengths.prompt, lengths.response
    return TokenCounts(counts[:, 0], counts[:, 1])


def count_tokens_for_model(samples: Sequence[Sample], model: str) -> TokenCounts:
    """Counts the tokens of samples for a model (a hub id, a folder or "bundled").

    Raises:
        ModelError: the tokenizer cannot be found.
    """
    from delift_core.models.loading import read_outline

    return count_tokens(samples, make_template(read_outline(model, "float32").tokenizer))
