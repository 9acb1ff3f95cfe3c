"""Templates against the tokenizer's own rendering of whole conversations."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from delift_core.errors import ScoringError
from delift_core.models.prompts import EncodedSample, Template, TemplateChoice, Tokens, fit_to_context, make_template
from delift_core.samples import Message
from tests.tiny_models import CHAT_TEMPLATE, byte_tokenizer

Conversation = tuple[Message, ...]

TOKENIZER = byte_tokenizer()
CHAT = make_template(TOKENIZER, "chat")
END = "</s>\n"  # what the tiny chat template writes after every turn

ADD = (Message("user", "What is 2 + 2?"), Message("assistant", "4"))
SKY = (Message("user", "Name a colour."), Message("assistant", "Blue – or 灰, sometimes."))
TALK = (*ADD, Message("user", "And 3 more?"), Message("assistant", "7"))


def rendered(conversation: Conversation) -> str:
    """The whole conversation as the chat template writes it, in one call."""
    turns = [{"role": turn.role, "content": turn.content} for turn in conversation]
    return str(TOKENIZER.apply_chat_template(turns, tokenize=False))


def ids(text: str) -> Tokens:
    return tuple(TOKENIZER(text, add_special_tokens=False).input_ids)


def text_of(tokens: Tokens) -> str:
    return str(TOKENIZER.decode(list(tokens)))


def with_chat_template(chat_template: str) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = chat_template
    return tokenizer


@pytest.mark.parametrize("row", [ADD, SKY, TALK])
def test_without_an_example_the_model_reads_the_rendered_conversation(row: Conversation) -> None:
    encoded = CHAT.encode(row)
    assert CHAT.head_alone + encoded.query_alone + encoded.response + ids(END) == ids(rendered(row))
    assert text_of(encoded.response) == row[-1].content


@pytest.mark.parametrize(("helper", "row"), [(ADD, SKY), (SKY, ADD), (TALK, SKY), (SKY, TALK)])
def test_with_an_example_the_model_reads_both_as_one_conversation(helper: Conversation, row: Conversation) -> None:
    encoded = CHAT.encode(row)
    read = CHAT.head + CHAT.encode(helper).example + encoded.query + encoded.response
    assert read + ids(END) == ids(rendered(helper + row))


@pytest.mark.parametrize("choice", ["chat", "plain"])
def test_only_the_example_differs_between_the_two_terms(choice: TemplateChoice) -> None:
    template = make_template(TOKENIZER, choice)
    encoded = template.encode(SKY)
    assert template.head == template.head_alone
    assert encoded.query == encoded.query_alone


@pytest.mark.parametrize("choice", ["chat", "plain", "paper"])
def test_the_end_mark_is_not_scored(choice: TemplateChoice) -> None:
    response = make_template(TOKENIZER, choice).encode(SKY).response
    assert text_of(response) == SKY[-1].content
    assert TOKENIZER.eos_token_id not in response


def test_plain_text_with_and_without_an_example() -> None:
    template = make_template(byte_tokenizer(chat=False))
    encoded = template.encode(ADD)
    assert template.name == "plain"
    assert text_of(template.head + encoded.query + encoded.response) == (
        "### Instruction:\nWhat is 2 + 2?\n\n### Response:\n4"
    )
    assert text_of(template.head + template.encode(SKY).example + encoded.query + encoded.response) == (
        "### Instruction:\nName a colour.\n\n### Response:\nBlue – or 灰, sometimes.\n\n"
        "### Instruction:\nWhat is 2 + 2?\n\n### Response:\n4"
    )


def test_the_paper_template_is_the_published_prompt_to_the_letter() -> None:
    """DELIFT's published code, the two prompts of its in-context utility; they differ in more than the example."""
    template = make_template(TOKENIZER, "paper")
    encoded = template.encode(ADD)
    assert text_of(template.head_alone + encoded.query_alone + encoded.response) == (
        "Instruction: Please generate a response to the following query.\n\n\nQuery: What is 2 + 2?\n4"
    )
    assert text_of(template.head + template.encode(TALK[2:]).example + encoded.query + encoded.response) == (
        "Instruction:\nUse the following example as a guide to answer the query in the same format and style, "
        "providing a clear and concise response.\n\n\nExample:\nAnd 3 more?\n7\n\n\nQuery:\nWhat is 2 + 2?\n4"
    )


def test_a_system_text_opens_the_first_user_turn() -> None:
    folded = (Message("user", "Answer in one word.\n\nName a colour."), SKY[-1])
    for choice in ("chat", "plain", "paper"):
        template = make_template(TOKENIZER, choice)
        assert template.encode((Message("system", "Answer in one word."), *SKY)) == template.encode(folded)


def test_tool_results_and_neighbouring_turns_of_one_side_become_one_turn() -> None:
    row = (
        Message("user", "What is 19 * 3?"),
        Message("user", "Use the tool."),
        Message("assistant", "calculator(19 * 3)"),
        Message("tool", "57"),
        Message("system", "Be brief."),
        Message("assistant", "It is 57."),
    )
    merged = (
        Message("user", "What is 19 * 3?\n\nUse the tool."),
        Message("assistant", "calculator(19 * 3)"),
        Message("user", "57\n\nBe brief."),
        Message("assistant", "It is 57."),
    )
    assert CHAT.encode(row) == CHAT.encode(merged)


def test_a_conversation_that_the_assistant_opens_gets_an_empty_user_turn() -> None:
    assert CHAT.encode(SKY[1:]) == CHAT.encode((Message("user", ""), SKY[-1]))


PAIR = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
NOT_COMPOSABLE = {
    "forgets earlier turns": "{% for m in messages[-2:] %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
    "drops earlier answers": (
        "{% for m in messages %}{% if m.role == 'user' or loop.last %}{{ m.role }}: {{ m.content }}\n{% endif %}"
        "{% endfor %}"
    ),
    "numbers the turns": "{% for m in messages %}{{ loop.index }}. {{ m.role }}: {{ m.content }}\n{% endfor %}",
    "marks the last answer": PAIR + "(end of a conversation of {{ messages|length }} turns)",
    "refuses two pairs": "{% if messages|length > 2 %}{{ raise_exception('one pair only') }}{% endif %}" + PAIR,
    "is broken": "{% for m in messages %}",
    "prompts with another text": PAIR + "{% if add_generation_prompt %}answer:{% endif %}",
}


@pytest.mark.parametrize("chat_template", NOT_COMPOSABLE.values(), ids=NOT_COMPOSABLE.keys())
def test_a_chat_template_in_which_pairs_do_not_add_up_is_not_used(chat_template: str) -> None:
    tokenizer = with_chat_template(chat_template)
    assert make_template(tokenizer).name == "plain"
    with pytest.raises(ScoringError, match="no chat template in which an earlier turn pair keeps its text; use the pl"):
        make_template(tokenizer, "chat")


def test_no_chat_template_at_all() -> None:
    tokenizer = byte_tokenizer(chat=False)
    assert make_template(tokenizer).name == "plain"
    with pytest.raises(ScoringError, match="use the plain template"):
        make_template(tokenizer, "chat")


PROMPT = "{% if add_generation_prompt %}<s>assistant: {% endif %}"


def test_named_chat_templates_are_used_only_with_a_default() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = {"tool_use": CHAT_TEMPLATE}
    assert make_template(tokenizer).name == "plain"
    tokenizer.chat_template = {"tool_use": PAIR, "default": CHAT_TEMPLATE}
    assert make_template(tokenizer, "chat").encode(TALK) == CHAT.encode(TALK)


def test_a_chat_template_that_trims_contents() -> None:
    tokenizer = with_chat_template(
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}</s>{% endfor %}" + PROMPT
    )
    template = make_template(tokenizer)
    encoded = template.encode((Message("user", "  Say hi. "), Message("assistant", "\n Hello there. \n")))
    assert (template.name, template.head) == ("chat", ())
    assert text_of(encoded.query) == "<s>user: Say hi.</s><s>assistant: "
    assert text_of(encoded.response) == "Hello there."
    assert text_of(encoded.example) == "<s>user: Say hi.</s><s>assistant: Hello there.</s>"


def test_a_chat_template_that_rewrites_an_answer_is_refused_for_that_row() -> None:
    tokenizer = with_chat_template(
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content | replace('secret', '***') }}</s>{% endfor %}" + PROMPT
    )
    template = make_template(tokenizer, "chat")
    assert text_of(template.encode(ADD).response) == "4"
    with pytest.raises(ScoringError, match="rewrites this response; use the plain template"):
        template.encode((Message("user", "Say it."), Message("assistant", "my secret")))


def test_a_chat_template_that_refuses_a_row_is_an_error_of_that_row() -> None:
    tokenizer = with_chat_template(
        "{% for m in messages %}{% if not m.content %}{{ raise_exception('empty turn') }}{% endif %}"
        "<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}" + PROMPT
    )
    template = make_template(tokenizer, "chat")
    with pytest.raises(ScoringError, match="chat template refuses this conversation: empty turn; use the plain templ"):
        template.encode((Message("user", ""), Message("assistant", "Hello.")))


def test_a_chat_template_that_writes_the_date_gives_the_same_tokens_every_day() -> None:
    tokenizer = with_chat_template(
        "<s>Today is {{ strftime_now('%d %b %Y') }}.</s>"
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}" + PROMPT
    )
    assert make_template(tokenizer, "chat").head_text == "<s>Today is 26 Jul 2024.</s>"


def test_a_response_without_tokens_is_refused() -> None:
    for choice in ("chat", "plain", "paper"):
        with pytest.raises(ScoringError, match="the response has no tokens: write a response, or drop the row"):
            make_template(TOKENIZER, choice).encode((Message("user", "Say nothing."), Message("assistant", "")))


def test_a_tokenizer_that_ends_every_text_puts_nothing_between_example_and_query() -> None:
    tokenizer = byte_tokenizer(chat=False)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    template = make_template(tokenizer)
    encoded = template.encode(ADD)
    assert (template.head, template.head_alone) == ((256,), (256,))
    assert {256, 257}.isdisjoint(encoded.example + encoded.query + encoded.response)


def sample(example: int, query: int, response: int) -> EncodedSample:
    """Distinct tokens everywhere, so that what was cut shows."""
    body = tuple(range(1000, 1000 + query))
    return EncodedSample(tuple(range(example)), body, body, tuple(range(5000, 5000 + response)))


def test_prompts_are_cut_from_the_left_and_the_cuts_counted() -> None:
    cut = fit_to_context(sample(example=60, query=50, response=10), context_length=100, head_length=5)
    assert cut.example == tuple(range(15, 60))  # 100 // 2 - 5 = 45 tokens are left for it
    assert cut.query == cut.query_alone == tuple(range(1010, 1050))  # 100 - 50 - 10 = 40
    assert cut.response == tuple(range(5000, 5010))
    assert cut.truncated == 15 + 10


def test_what_fits_is_left_alone() -> None:
    whole = sample(example=45, query=40, response=10)
    assert fit_to_context(whole, context_length=100, head_length=5) == whole


def test_a_response_that_does_not_fit_is_refused_with_the_numbers() -> None:
    assert len(fit_to_context(sample(10, 10, 1023), 2048, 5).query) == 1
    with pytest.raises(ScoringError) as caught:
        fit_to_context(sample(10, 10, 1024), 2048, 5)
    assert str(caught.value) == (
        "the response has 1,024 tokens and at most 1,023 fit beside an example in this model's context of 2,048; "
        "shorten or drop the row, or take a model with a longer context"
    )


def test_a_context_that_the_template_fills_is_refused() -> None:
    with pytest.raises(ScoringError, match="context of 32 tokens has no room for an example after the template's 16"):
        fit_to_context(sample(10, 10, 4), context_length=32, head_length=16)


lengths = st.integers(1, 60)


@given(lengths, lengths, lengths, st.integers(2, 120), st.integers(0, 30))
def test_what_was_fitted_fits_and_kept_its_response(
    example: int, query: int, response: int, context_length: int, head_length: int
) -> None:
    before = sample(example, query, response)
    try:
        after = fit_to_context(before, context_length, head_length)
    except ScoringError:
        assert response >= context_length - context_length // 2 or head_length >= context_length // 2
        return
    assert head_length + len(after.example) + len(after.query) + len(after.response) <= context_length
    assert before.example[-len(after.example) :] == after.example
    assert before.query[-len(after.query) :] == after.query == after.query_alone
    assert after.truncated == example - len(after.example) + query - len(after.query)
    assert replace(after, example=(), query=(), query_alone=(), truncated=0) == EncodedSample(
        (), (), (), before.response
    )


texts = st.text(max_size=20)
rows = st.builds(
    lambda turns, response: (
        *(Message("assistant" if i % 2 else "user", text) for i, text in enumerate(turns[: len(turns) // 2 * 2])),
        Message("user", turns[-1]),
        Message("assistant", response),
    ),
    st.lists(texts, min_size=1, max_size=4),
    st.text(min_size=1, max_size=30),
)
TEMPLATES: dict[TemplateChoice, Template] = {
    choice: make_template(byte_tokenizer(), choice) for choice in ("chat", "plain", "paper")
}


@given(rows, st.sampled_from(["chat", "plain", "paper"]))
@settings(max_examples=200)
def test_no_text_loses_or_changes_response_tokens(row: Conversation, choice: TemplateChoice) -> None:
    encoded = TEMPLATES[choice].encode(row)
    assert encoded.response == ids(row[-1].content)
    assert text_of(encoded.response) == row[-1].content


@given(rows, rows)
@settings(max_examples=100)
def test_any_two_samples_read_as_one_conversation(helper: Conversation, row: Conversation) -> None:
    encoded = CHAT.encode(row)
    read = CHAT.head + CHAT.encode(helper).example + encoded.query + encoded.response
    assert read + ids(END) == ids(rendered(helper + row))
