"""What the model reads: the rendered text of a row, alone or after an example, in its parts.

Nothing is scored and no weights are loaded; a tokenizer is enough.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from delift_core.errors import ScoringError
from delift_core.jobs.preparation import encode_samples
from delift_core.models.chat_template import NOTES, RenderingNote
from delift_core.models.encoded import Tokens
from delift_core.models.loading import ModelOutline, read_outline
from delift_core.models.prompts import Rendering, Template, TemplateChoice, TemplateName, WholePairs, make_template
from delift_core.samples import Sample, inline_thoughts

PartKind = Literal["head", "example", "prompt", "scored"]
PART_TITLES: Mapping[PartKind, str] = {
    "head": "Start of the conversation",
    "example": "Example",
    "prompt": "Prompt",
    "scored": "Scored response",
}


@dataclass(frozen=True, slots=True)
class TextPart:
    """A part of what the model reads; the texts of all parts together are the whole."""

    kind: PartKind
    text: str
    tokens: int


@dataclass(frozen=True, slots=True)
class ModelText:
    """What the model reads of a row.

    Attributes:
        template: "chat" is the model's own.
        parts: in reading order; the scored tokens are those of the last.
        truncated: number of prompt tokens of the row and its example that were cut to fit the context.
        notes: what the template cannot hold of the row, a sentence each.
        trainer: which other tokens a trainer learns with completion-only and assistant-only loss; "" in plain text.
    """

    template: TemplateName
    parts: tuple[TextPart, ...]
    truncated: int
    notes: tuple[str, ...]
    trainer: str

    @property
    def lines(self) -> tuple[str, ...]:
        """For a terminal: each part below its name, then what there is to know of it."""
        return tuple(_lines(self))


@dataclass(frozen=True, slots=True)
class ReadSummary:
    """How a model reads all rows of a data set.

    Attributes:
        prompt_tokens, response_tokens: of the rows that can be scored; the response is what is scored.
        thought_tokens: of the scored thoughts, with what the template writes between thoughts and answer.
        refused: number of rows that cannot be scored.
        reason: of the first of them.
    """

    rendering: Rendering
    prompt_tokens: int
    response_tokens: int
    thought_tokens: int
    refused: int
    reason: str


class ModelReader:
    """Renders rows for one model, whose tokenizer it holds."""

    def __init__(self, model: str, choice: TemplateChoice = "auto", arguments: str = "") -> None:
        """Args:
            model: a hub id, a folder, or "bundled".
            arguments: of the chat template, a JSON object as text.

        Raises:
            ModelError: the tokenizer cannot be found.
            ScoringError: the chat template cannot be used.
        """
        self.outline: ModelOutline = read_outline(model, "float32")
        self.template: Template = make_template(self.outline.tokenizer, choice, arguments)

    def read(self, row: Sample, example: Sample | None = None) -> ModelText:
        """What the model reads of a row, after an example if there is one.

        Raises:
            ScoringError: a row does not fit the model.
        """
        samples = {sample.content_hash: sample for sample in (row, *([example] if example else []))}
        conversations = {name: sample.conversation for name, sample in samples.items()}
        context_length = self.outline.identity.context_length
        found, refused = encode_samples(self.template, conversations, context_length)
        if refused:
            raise ScoringError(refused[0].reason)
        encoded = found[row.content_hash]
        helper = found[example.content_hash] if example else None
        if example is None or helper is None:
            pieces: list[tuple[PartKind, Tokens]] = [("head", encoded.head.alone), ("prompt", encoded.query_alone)]
        elif encoded.before_query(helper) is None:
            whole = WholePairs(self.template, conversations, context_length)
            tokens = whole.before_response(row.content_hash, example.content_hash, len(encoded.response))
            pieces = [("prompt", tokens)]
        else:
            shown = helper.example(encoded.head) or ()
            pieces = [("head", encoded.head.tokens), ("example", shown), ("prompt", encoded.query)]
        pieces.append(("scored", encoded.response))
        return ModelText(
            self.template.name,
            tuple(TextPart(kind, self._text(tokens), len(tokens)) for kind, tokens in pieces if tokens),
            encoded.truncated + (helper.truncated if helper else 0),
            tuple(NOTES[note] for note in sorted(encoded.notes)),
            self._trainer(row),
        )

    def summarise(self, samples: Sequence[Sample]) -> ReadSummary:
        """Tokens of all rows, and what the template cannot hold of them."""
        notes: Counter[RenderingNote] = Counter()
        prompt = response = thoughts = refused = 0
        reason = ""
        for sample in samples:
            try:
                lengths = self.template.lengths(sample.conversation)
            except ScoringError as error:
                refused, reason = refused + 1, reason or str(error)
                continue
            notes.update(lengths.notes)
            prompt, response = prompt + lengths.prompt, response + lengths.response
            last = sample.messages[-1]
            if sample.scored == "turn" and (last.thoughts or inline_thoughts(last.content)):
                without = self.template.lengths(replace(sample.conversation, scored="answer"))
                thoughts += lengths.response - without.response
        rendering = Rendering(self.template.name, "", dict(sorted(notes.items())))
        return ReadSummary(rendering, prompt, response, thoughts, refused, reason)

    def _text(self, tokens: Tokens) -> str:
        return str(self.outline.tokenizer.decode(list(tokens), clean_up_tokenization_spaces=False))

    def _trainer(self, row: Sample) -> str:
        """What a trainer learns beside the scored tokens."""
        learned = self.template.completion(row.conversation)
        if learned is None:
            return ""
        before, after = learned
        more = [f"{before!r} before"] if before else []
        more += [f"{after!r} after"] if after else []
        first = (
            f"With completion-only loss a trainer also learns {' and '.join(more)} the scored text. " if more else ""
        )
        earlier = sum(message.role == "assistant" for message in row.messages) - 1
        if not self.template.marks_answers:
            return (
                f"{first}Assistant-only loss needs a template that marks answers ({{% generation %}}), "
                "which this one does not; TRL marks those that it knows."
            )
        answers = "the earlier answer" if earlier == 1 else f"the {earlier:,} earlier answers"
        turns = f"{answers} too" if earlier else "the same tokens"
        return f"{first}With assistant-only loss it learns {turns}."


def _lines(text: ModelText) -> Iterator[str]:
    for part in text.parts:
        yield f"--- {PART_TITLES[part.kind].lower()} ({part.tokens:,} tokens)"
        yield from part.text.split("\n")
    yield "---"
    if text.truncated:
        yield f"cut from the left to fit the context: {text.truncated:,} tokens"
    yield from text.notes
    if text.trainer:
        yield text.trainer
