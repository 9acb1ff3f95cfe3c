"""Samples as token ids, for scoring with and without examples; see `prompts` for how the parts lie."""

from dataclasses import dataclass, replace

from delift_core.errors import ScoringError
from delift_core.models.chat_template import RenderingNote
from delift_core.samples import Conversation

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Head:
    """The tokens before an example. Rows with equal heads share the prefix of every example.

    Attributes:
        tokens: begin-of-text, system text and tools.
        alone: the same where no example follows (differs in the "paper" template only).
        system: the system text; an example with the same one does not repeat it.
        form: names the form of examples after this head: some templates write the first turns of a conversation
            differently if there is a system text.
    """

    tokens: Tokens
    alone: Tokens
    system: str = ""
    form: Tokens = ()


@dataclass(frozen=True, slots=True)
class Lengths:
    """Number of tokens before the response and of the response, and what the template cannot hold."""

    prompt: int
    response: int
    notes: frozenset[RenderingNote]


NO_HEAD = Head((), ())


@dataclass(frozen=True, slots=True)
class ExampleTokens:
    """The tokens of a sample as an example, after heads of one form.

    Attributes:
        same_system: after a head with the sample's own system text.
        other_system: after other heads, where the system text opens the first user turn.
    """

    form: Tokens
    same_system: Tokens
    other_system: Tokens


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as token ids.

    Attributes:
        query: everything between an example and the response.
        query_alone: the same without an example (differs in the "paper" template only).
        response: the scored tokens, without the end mark of the turn.
        examples: the whole sample as an example, for each form of a head; a form in which the template writes what
            follows differently is missing.
        is_separable: whether the query is the same after every example.
        truncated: number of prompt tokens cut from the left.
        notes: what the template cannot hold of the sample.
    """

    head: Head
    query: Tokens
    query_alone: Tokens
    response: Tokens
    examples: tuple[ExampleTokens, ...]
    is_separable: bool = True
    truncated: int = 0
    notes: frozenset[RenderingNote] = frozenset()

    @property
    def alone(self) -> Tokens:
        """All tokens before the response, without an example."""
        return self.head.alone + self.query_alone

    @property
    def length(self) -> int:
        """Number of tokens of prompt and response, without an example."""
        return len(self.head.alone) + len(self.query_alone) + len(self.response)

    def example(self, head: Head) -> Tokens | None:
        """The tokens of this sample as an example after a head; None if the pair has to be rendered as a whole."""
        found = next((one for one in self.examples if one.form == head.form), None)
        if found is None:
            return None
        return found.same_system if head.system == self.head.system else found.other_system

    def before_query(self, example: "EncodedSample") -> Tokens | None:
        """The tokens before the query, after an example; None if the pair has to be rendered as a whole."""
        tokens = example.example(self.head) if self.is_separable else None
        return None if tokens is None else self.head.tokens + tokens


@dataclass(frozen=True, slots=True)
class EncodedRow:
    """A sample as a row to help; `conversation` is in the form that the template can hold."""

    conversation: Conversation
    encoded: EncodedSample


def fit_to_context(encoded: EncodedSample, context_length: int) -> EncodedSample:
    """Cuts prompts from the left so that any example and any query fit the context together; counts the cut tokens.

    The example gets one half of the context; head, query and response get the other. With fixed halves, a sample's
    numbers do not depend on the samples it is paired with.

    Raises:
        ScoringError: head and response are longer than their half.
    """
    example_room = context_length // 2
    room = context_length - example_room - max(len(encoded.head.tokens), len(encoded.head.alone))
    if room < 2:
        raise ScoringError(
            f"system text and tools have {len(encoded.head.tokens):,} tokens, and half of this model's context of "
            f"{context_length:,} is for the example; shorten them, or take a model with a longer context"
        )
    if len(encoded.response) >= room:
        raise ScoringError(
            f"the response has {len(encoded.response):,} tokens and at most {room - 1:,} fit beside an example in this "
            f"model's context of {context_length:,}; shorten or drop the row, or take a model with a longer context"
        )
    query_room = room - len(encoded.response)
    longest = max((len(one.other_system) for one in encoded.examples), default=0)
    return replace(
        encoded,
        query=encoded.query[-query_room:],
        query_alone=encoded.query_alone[-query_room:],
        examples=tuple(
            replace(one, same_system=one.same_system[-example_room:], other_system=one.other_system[-example_room:])
            for one in encoded.examples
        ),
        truncated=max(0, len(encoded.query) - query_room) + max(0, longest - example_room),
    )
