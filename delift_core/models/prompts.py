"""Templates: from a conversation to token ids with a known response span.

The model's input with and without an example. Only the example differs, so the utility is the effect of the example
alone:

    zero-shot    head | query_i | response_i
    one-shot     head | example_j | query_i | response_i
                 '---prefix_j----' '----suffix_i------'     scored: response_i

Every piece is tokenised separately, so a prefix is computed once for all suffixes. A sample's own system text becomes
the start of its first user turn, with and without an example, since examples precede it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from delift_core.errors import ScoringError
from delift_core.samples import Message, Sample

if TYPE_CHECKING:
    import numpy as np
    from transformers import PreTrainedTokenizerBase

TemplateName = Literal["chat", "plain", "paper"]
TemplateChoice = Literal["auto", "chat", "plain", "paper"]
TEMPLATE_VERSION = 1

# Some chat templates write today's date, which would change the numbers every day. This macro, put before the template,
# overrides it with the date that Llama 3 falls back to.
_FIXED_DATE = "{% macro strftime_now(format) %}26 Jul 2024{% endmacro %}"

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as token ids."""

    example: Tokens  # the whole sample, to precede a query
    query: Tokens  # everything between an example and the response
    query_alone: Tokens  # the query without an example (differs from `query` in the "paper" template only)
    response: Tokens  # the scored tokens, without the end-of-turn token
    truncated: int = 0  # number of prompt tokens cut from the left


@dataclass(frozen=True, slots=True)
class Template:
    """How conversations become token ids for one tokenizer."""

    name: TemplateName
    tokenizer: "PreTrainedTokenizerBase"
    head_text: str  # the chat template's text before the first user turn ("" in the other templates)
    head: Tokens  # ids before an example (begin-of-text, default system text)
    head_alone: Tokens  # ids before a query without an example (differs from `head` in "paper" only)

    def encode(self, messages: Sequence[Message]) -> EncodedSample:
        """Token ids of a conversation that ends with the assistant turn to score.

        Raises:
            ScoringError: the response has no tokens, or the chat template refuses the turns or changes the response.
        """
        turns = _merge_turns(messages)
        render = {"chat": self._chat_texts, "plain": _plain_texts, "paper": _paper_texts}[self.name]
        texts = render(turns)
        query, response = self._tokenise_pair(texts.query, texts.response)
        if not response:
            raise ScoringError("the response has no tokens: write a response, or drop the row")
        alone = query if texts.query_alone == texts.query else self._tokenise_pair(texts.query_alone, texts.response)[0]
        return EncodedSample(_ids(self.tokenizer, texts.example), query, alone, response)

    def _chat_texts(self, turns: Sequence[Message]) -> "_Texts":
        from jinja2.exceptions import TemplateError

        start = len(self.head_text)
        try:
            whole = _render(self.tokenizer, turns)[start:]
            query = _render(self.tokenizer, turns[:-1], generation_prompt=True)[start:]
        except TemplateError as error:
            raise ScoringError(
                f"the model's chat template refuses this conversation: {error}; use the plain template"
            ) from error
        response = turns[-1].content
        rest = whole[len(query) :]
        for text in (response, response.strip()):  # some chat templates strip contents
            if whole.startswith(query) and rest.startswith(text):
                return _Texts(whole, query, query, text)
        raise ScoringError("the model's chat template rewrites this response; use the plain template")

    def _tokenise_pair(self, query: str, response: str) -> tuple[Tokens, Tokens]:
        """Tokenises query and response together if the query's tokens stay the same, else separately."""
        alone = _ids(self.tokenizer, query)
        both = _ids(self.tokenizer, query + response)
        if both[: len(alone)] == alone:
            return alone, both[len(alone) :]
        return alone, _ids(self.tokenizer, response)


@dataclass(frozen=True, slots=True)
class _Texts:
    example: str
    query: str
    query_alone: str
    response: str


def make_template(tokenizer: "PreTrainedTokenizerBase", choice: TemplateChoice = "auto") -> Template:
    """The template for a tokenizer; "auto" is its chat template if examples can precede a query in it, else "plain".

    Raises:
        ScoringError: "chat" for a tokenizer without such a chat template.
    """
    if choice in ("auto", "chat"):
        if _composable(tokenizer):
            head_text = _chat_head(tokenizer)
            head = _ids(tokenizer, head_text)
            return Template("chat", tokenizer, head_text, head, head)
        if choice == "chat":
            raise ScoringError(
                "this model has no chat template in which an earlier turn pair keeps its text; use the plain template"
            )
        choice = "plain"
    begin = tuple(tokenizer("").input_ids)
    if tokenizer.eos_token_id in begin:  # some tokenizers end every text with it
        begin = tuple(token for token in begin if token != tokenizer.eos_token_id)
    if choice == "plain":
        return Template("plain", tokenizer, "", begin, begin)
    after, alone = (begin + _ids(tokenizer, text) for text in (_PAPER_HEAD, _PAPER_HEAD_ALONE))
    return Template("paper", tokenizer, "", after, alone)


def fit_to_context(encoded: EncodedSample, context_length: int, head_length: int) -> EncodedSample:
    """Cuts prompts from the left so that any example and any query fit the context together; counts the cut tokens.

    Head and example get one half of the context, query and response the other. With fixed halves, a sample's numbers do
    not depend on the samples it is paired with.

    Raises:
        ScoringError: the response or the head is longer than its half.
    """
    room = context_length - context_length // 2
    example_room = context_length // 2 - head_length
    if example_room < 1:
        raise ScoringError(
            f"this model's context of {context_length:,} tokens has no room for an example after the template's "
            f"{head_length:,}; take a model with a longer context"
        )
    if len(encoded.response) >= room:
        raise ScoringError(
            f"the response has {len(encoded.response):,} tokens and at most {room - 1:,} fit beside an example in this "
            f"model's context of {context_length:,}; shorten or drop the row, or take a model with a longer context"
        )
    query_room = room - len(encoded.response)
    cut = max(0, len(encoded.query) - query_room) + max(0, len(encoded.example) - example_room)
    return replace(
        encoded,
        example=encoded.example[-example_room:],
        query=encoded.query[-query_room:],
        query_alone=encoded.query_alone[-query_room:],
        truncated=cut,
    )


def _merge_turns(messages: Sequence[Message]) -> tuple[Message, ...]:
    """Alternating user and assistant turns; system and tool texts are merged into the user turn next to them."""
    turns: list[Message] = []
    for message in messages:
        role: Literal["user", "assistant"] = "assistant" if message.role == "assistant" else "user"
        if turns and turns[-1].role == role:
            turns[-1] = Message(role, f"{turns[-1].content}\n\n{message.content}")
        else:
            turns.append(Message(role, message.content))
    if turns and turns[0].role == "assistant":
        turns.insert(0, Message("user", ""))
    return tuple(turns)


_PLAIN_USER, _PLAIN_ASSISTANT = "### Instruction:\n{}\n\n", "### Response:\n{}\n\n"


def _plain_texts(turns: Sequence[Message]) -> _Texts:
    form = {"user": _PLAIN_USER, "assistant": _PLAIN_ASSISTANT}
    parts = [form[turn.role].format(turn.content) for turn in turns]
    query = "".join(parts[:-1]) + _PLAIN_ASSISTANT.format("").rstrip("\n") + "\n"
    return _Texts("".join(parts), query, query, turns[-1].content)


# The two prompts of the published code, for comparison only: they differ in more than the example.
_PAPER_HEAD_ALONE = "Instruction: Please generate a response to the following query.\n\n\n"
_PAPER_HEAD = (
    "Instruction:\nUse the following example as a guide to answer the query in the same format and style, "
    "providing a clear and concise response.\n\n\n"
)


def _paper_texts(turns: Sequence[Message]) -> _Texts:
    prompt = "\n".join(turn.content for turn in turns[:-1])
    response = turns[-1].content
    return _Texts(f"Example:\n{prompt}\n{response}\n\n\n", f"Query:\n{prompt}\n", f"Query: {prompt}\n", response)


def _composable(tokenizer: "PreTrainedTokenizerBase") -> bool:
    """Whether two rendered turn pairs are a common head, the first pair's text and the second pair's text."""
    if not getattr(tokenizer, "chat_template", None):
        return False
    from jinja2.exceptions import TemplateError

    one = (Message("user", "Name a colour."), Message("assistant", "Blue."))
    two = (Message("user", "What is 2 + 2?"), Message("assistant", "4"))
    try:
        head = _chat_head(tokenizer)
        first, second, both = (_render(tokenizer, turns) for turns in (one, two, one + two))
        prompt = _render(tokenizer, two[:1], generation_prompt=True)
    except (TemplateError, ValueError):  # ValueError: several templates without a default
        return False
    composes = both == first + second[len(head) :] and first.startswith(head) and second.startswith(head)
    return composes and second.startswith(prompt + "4")


def _chat_head(tokenizer: "PreTrainedTokenizerBase") -> str:
    """The chat template's text before the first user turn (begin-of-text, default system text)."""
    one = (Message("user", "A"), Message("assistant", "B"))
    single = _render(tokenizer, one)
    double = _render(tokenizer, one + one)
    turn_length = len(double) - len(single)
    return single[: max(0, len(single) - turn_length)]


def _render(tokenizer: "PreTrainedTokenizerBase", turns: Sequence[Message], *, generation_prompt: bool = False) -> str:
    conversation = [{"role": turn.role, "content": turn.content} for turn in turns]
    form = tokenizer.get_chat_template()
    text = tokenizer.apply_chat_template(
        conversation,
        chat_template=_FIXED_DATE + form if "strftime_now" in form else form,
        tokenize=False,
        add_generation_prompt=generation_prompt,
    )
    return str(text)


def _ids(tokenizer: "PreTrainedTokenizerBase", text: str) -> Tokens:
    return tuple(tokenizer(text, add_special_tokens=False).input_ids) if text else ()


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
            encoded = template.encode(sample.messages)
        except ScoringError:
            continue
        counts[row] = len(encoded.query_alone), len(encoded.response)
    return TokenCounts(counts[:, 0], counts[:, 1])


def count_tokens_for_model(samples: Sequence[Sample], model: str) -> TokenCounts:
    """Counts the tokens of samples for a model (a hub id, a folder or "bundled").

    Raises:
        ModelError: the tokenizer cannot be found.
    """
    from delift_core.models.loading import read_outline

    return count_tokens(samples, make_template(read_outline(model, "float32").tokenizer))
