"""Templates against the tokenizer's own rendering of whole conversations."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from delift_core.errors import ScoringError
from delift_core.models.encoded import EncodedSample, ExampleTokens, Head, Tokens, fit_to_context
from delift_core.models.prompts import Template, TemplateChoice, WholePairs, make_template
from delift_core.samples import Conversation, Message
from tests.tiny_models import CHAT_TEMPLATE, byte_tokenizer

TOKENIZER = byte_tokenizer()
CHAT = make_template(TOKENIZER, "chat")
END = "</s>\n"  # what the tiny chat template writes after every turn
DEFAULT_SYSTEM = "<s>system\nBe brief.</s>\n"  # and before a conversation without a system text


def row_of(*texts: str) -> Conversation:
    """User and assistant by turns."""
    return Conversation(tuple(Message("assistant" if at % 2 else "user", text) for at, text in enumerate(texts)))


ADD = row_of("What is 2 + 2?", "4")
SKY = row_of("Name a colour.", "Blue – or 灰, sometimes.")
TALK = row_of("What is 2 + 2?", "4", "And 3 more?", "7")


def rendered(*conversations: Conversation) -> str:
    """Conversations as the chat template writes them as one, in one call."""
    turns = [{"role": turn.role, "content": turn.content} for one in conversations for turn in one.messages]
    return str(TOKENIZER.apply_chat_template(turns, tokenize=False))


def ids(text: str) -> Tokens:
    return tuple(TOKENIZER(text, add_special_tokens=False).input_ids)


def text_of(tokens: Tokens) -> str:
    return str(TOKENIZER.decode(list(tokens)))


def with_chat_template(chat_template: str | dict[str, str]) -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = chat_template
    return tokenizer


def one_shot(template: Template, helper: Conversation, row: Conversation) -> tuple[EncodedSample, Tokens]:
    """The encoded row, and all tokens before its response with an example."""
    encoded, refused = template.encode_all({"helper": helper, "row": row})
    assert not refused
    before = encoded["row"].before_query(encoded["helper"])
    assert before is not None
    return encoded["row"], before + encoded["row"].query


@pytest.mark.parametrize("row", [ADD, SKY, TALK])
def test_without_an_example_the_model_reads_the_rendered_conversation(row: Conversation) -> None:
    encoded = CHAT.encode(row)
    assert encoded.alone + encoded.response + ids(END) == ids(rendered(row))
    assert text_of(encoded.response) == row.messages[-1].content
    assert encoded.head == CHAT.head and text_of(CHAT.head.tokens) == DEFAULT_SYSTEM
    assert encoded.length == len(ids(rendered(row))) - len(ids(END))


@pytest.mark.parametrize(("helper", "row"), [(ADD, SKY), (SKY, ADD), (TALK, SKY), (SKY, TALK)])
def test_with_an_example_the_model_reads_both_as_one_conversation(helper: Conversation, row: Conversation) -> None:
    encoded, before = one_shot(CHAT, helper, row)
    assert before + encoded.response + ids(END) == ids(rendered(helper, row))


@pytest.mark.parametrize("choice", ["chat", "plain"])
def test_only_the_example_differs_between_the_two_terms(choice: TemplateChoice) -> None:
    encoded = make_template(TOKENIZER, choice).encode(SKY)
    assert encoded.head.tokens == encoded.head.alone
    assert encoded.query == encoded.query_alone


@pytest.mark.parametrize("choice", ["chat", "plain", "paper"])
def test_the_end_mark_is_not_scored(choice: TemplateChoice) -> None:
    response = make_template(TOKENIZER, choice).encode(SKY).response
    assert text_of(response) == SKY.messages[-1].content
    assert TOKENIZER.eos_token_id not in response


def test_plain_text_with_and_without_an_example() -> None:
    template = make_template(byte_tokenizer(chat=False))
    assert template.name == "plain"
    encoded, before = one_shot(template, SKY, ADD)
    assert text_of(encoded.alone + encoded.response) == "### Instruction:\nWhat is 2 + 2?\n\n### Response:\n4"
    assert text_of(before + encoded.response) == (
        "### Instruction:\nName a colour.\n\n### Response:\nBlue – or 灰, sometimes.\n\n"
        "### Instruction:\nWhat is 2 + 2?\n\n### Response:\n4"
    )


@pytest.mark.parametrize("choice", ["plain", "paper"])
def test_in_plain_text_a_pair_is_the_sum_of_its_parts(choice: TemplateChoice) -> None:
    template = make_template(TOKENIZER, choice)
    assert template.pair(ADD, SKY) == one_shot(template, SKY, ADD)[1]


def test_the_paper_template_is_the_published_prompt_to_the_letter() -> None:
    """DELIFT's published code, the two prompts of its in-context utility; they differ in more than the example."""
    encoded, before = one_shot(make_template(TOKENIZER, "paper"), row_of("And 3 more?", "7"), ADD)
    assert text_of(encoded.alone + encoded.response) == (
        "Instruction: Please generate a response to the following query.\n\n\nQuery: What is 2 + 2?\n4"
    )
    assert text_of(before + encoded.response) == (
        "Instruction:\nUse the following example as a guide to answer the query in the same format and style, "
        "providing a clear and concise response.\n\n\nExample:\nAnd 3 more?\n7\n\n\nQuery:\nWhat is 2 + 2?\n4"
    )


BRIEF = Conversation((Message("system", "Answer in one word."), *SKY.messages))


def test_a_rows_system_text_stands_at_the_head_of_the_whole_conversation() -> None:
    encoded, before = one_shot(CHAT, ADD, BRIEF)
    assert encoded.alone + encoded.response + ids(END) == ids(rendered(BRIEF))
    system = Conversation(BRIEF.messages[:1])
    assert before + encoded.response + ids(END) == ids(rendered(system, ADD, SKY))


def test_an_example_with_the_same_system_text_does_not_repeat_it() -> None:
    other = Conversation((BRIEF.messages[0], *ADD.messages))
    encoded, before = one_shot(CHAT, other, BRIEF)
    assert before + encoded.response + ids(END) == ids(rendered(other, SKY))


def test_an_examples_own_system_text_opens_its_first_user_turn() -> None:
    encoded, before = one_shot(CHAT, BRIEF, ADD)
    folded = row_of("Answer in one word.\n\nName a colour.", SKY.messages[-1].content)
    assert before + encoded.response + ids(END) == ids(rendered(folded, ADD))
    french = Conversation((Message("system", "In French."), *ADD.messages))
    encoded, before = one_shot(CHAT, BRIEF, french)
    assert before + encoded.response + ids(END) == ids(rendered(Conversation(french.messages[:1]), folded, ADD))


def test_in_plain_text_a_system_text_opens_the_first_user_turn() -> None:
    folded = row_of("Answer in one word.\n\nName a colour.", SKY.messages[-1].content)
    for choice in ("plain", "paper"):
        template = make_template(TOKENIZER, choice)
        assert template.encode(BRIEF) == template.encode(folded)


LONG = Conversation(
    (
        Message("user", "What is 19 * 3?"),
        Message("user", "Use the tool."),
        Message("assistant", "calculator(19 * 3)"),
        Message("tool", "57"),
        Message("system", "Be brief."),
        Message("assistant", "It is 57."),
    )
)


def test_the_template_gets_the_turns_as_they_are() -> None:
    encoded = CHAT.encode(LONG)
    assert encoded.alone + encoded.response + ids(END) == ids(rendered(LONG))
    assert not encoded.notes


ALTERNATES = (
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}<s>{{ m.role }}\n{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant\n{% endif %}"
)


def test_neighbouring_turns_of_one_side_are_joined_for_a_template_that_refuses_them() -> None:
    template = make_template(with_chat_template(ALTERNATES))
    merged = row_of("What is 19 * 3?\n\nUse the tool.", "calculator(19 * 3)", "57\n\nBe brief.", "It is 57.")
    encoded, expected = template.encode(LONG), template.encode(merged)
    assert (encoded.alone, encoded.response) == (expected.alone, expected.response)
    assert encoded.notes == {"turns-joined", "results-as-user", "system-as-user"} and not expected.notes
    assert template.encode(ADD).notes == frozenset()


def test_a_conversation_that_the_assistant_opens_gets_an_empty_user_turn() -> None:
    opened = Conversation(SKY.messages[1:])
    assert CHAT.encode(opened) == CHAT.encode(row_of("", SKY.messages[-1].content))


PAIR = "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
NOT_SEPARABLE = {
    "numbers the turns": "{% for m in messages %}{{ loop.index }}. {{ m.role }}: {{ m.content }}\n{% endfor %}",
    "counts the turns": "{{ messages|length }} turns\n" + PAIR,
    "forgets earlier turns": "{% for m in messages[-2:] %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
}


@pytest.mark.parametrize("chat_template", NOT_SEPARABLE.values(), ids=NOT_SEPARABLE.keys())
def test_a_pair_that_cannot_be_cut_is_rendered_as_a_whole(chat_template: str) -> None:
    tokenizer = with_chat_template(chat_template)
    template = make_template(tokenizer)
    encoded, refused = template.encode_all({"helper": ADD, "row": TALK})
    assert not refused and encoded["row"].before_query(encoded["helper"]) is None
    pairs = WholePairs(template, {"helper": ADD, "row": TALK}, 512)
    before, response = pairs.before_response("row", "helper", 1), encoded["row"].response
    turns = [{"role": turn.role, "content": turn.content} for turn in (*ADD.messages, *TALK.messages)]
    whole = ids(str(tokenizer.apply_chat_template(turns, tokenize=False)))
    assert whole[: len(before) + len(response)] == before + response
    assert text_of(response) == "7"
    assert replace(pairs, context_length=20).before_response("row", "helper", 1) == before[-19:]


COMPOSED_OTHERWISE = {
    "marks the last answer": PAIR + "(end)",
    "ends the last turn otherwise": (
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}{{ '<end>' if loop.last else '</s>' }}{% endfor %}"
    ),
    "prompts with another text": PAIR + "{% if add_generation_prompt %}answer:{% endif %}",
    "opens the last answer with an empty thought": (
        "{% for m in messages %}<s>{{ m.role }}: {% if loop.last %}<think></think>{% endif %}{{ m.content }}</s>"
        "{% endfor %}"
    ),
}


@pytest.mark.parametrize("form", COMPOSED_OTHERWISE.values(), ids=COMPOSED_OTHERWISE.keys())
def test_a_template_that_writes_the_end_differently_is_read_as_it_is(form: str) -> None:
    tokenizer = with_chat_template(form)
    template = make_template(tokenizer)
    for helper, row in ((ADD, SKY), (TALK, ADD), (SKY, TALK)):
        encoded, before = one_shot(template, helper, row)
        turns = [{"role": turn.role, "content": turn.content} for turn in (*helper.messages, *row.messages)]
        whole = ids(str(tokenizer.apply_chat_template(turns, tokenize=False)))
        assert whole[: len(before) + len(encoded.response)] == before + encoded.response
        assert text_of(encoded.response) == row.messages[-1].content


def test_no_chat_template_at_all() -> None:
    tokenizer = byte_tokenizer(chat=False)
    assert make_template(tokenizer).name == "plain"
    with pytest.raises(ScoringError, match="no chat template; use the plain template"):
        make_template(tokenizer, "chat")


REFUSED = {
    "raises": ("{{ raise_exception('not today') }}", "refuses this conversation: not today"),
    "is broken": ("{% for m in messages %}", "refuses this conversation: "),
    "divides by nothing": ("{{ 1 // 0 }}" + PAIR, "refuses this conversation: "),
    "drops the answer": (
        "{% for m in messages %}{% if m.role == 'user' %}{{ m.content }}{% endif %}{% endfor %}",
        "leaves out turns of a conversation",
    ),
}


@pytest.mark.parametrize(("form", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_a_template_that_cannot_be_used_is_an_error_of_one_line(form: str, words: str) -> None:
    with pytest.raises(ScoringError, match=words) as caught:
        make_template(with_chat_template(form))
    assert "\n" not in str(caught.value) and str(caught.value).endswith("use the plain template")
    assert make_template(with_chat_template(form), "plain").name == "plain"


def test_a_tokenizer_without_a_fast_version_is_an_error_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = byte_tokenizer()
    monkeypatch.setattr(type(tokenizer), "is_fast", property(lambda self: False))
    with pytest.raises(ScoringError, match="no fast version.*use the plain template"):
        make_template(tokenizer)
    assert make_template(tokenizer, "plain").encode(ADD).response == ids("4")


PROMPT = "{% if add_generation_prompt %}<s>assistant: {% endif %}"


def test_named_chat_templates_are_used_only_with_a_default() -> None:
    with pytest.raises(ScoringError, match="several chat templates and none by the name of 'default'"):
        make_template(with_chat_template({"other": CHAT_TEMPLATE}))
    tokenizer = with_chat_template({"tool_use": PAIR, "default": CHAT_TEMPLATE})
    assert make_template(tokenizer, "chat").encode(TALK) == CHAT.encode(TALK)


def test_a_chat_template_that_trims_contents() -> None:
    tokenizer = with_chat_template(
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}</s>{% endfor %}" + PROMPT
    )
    template = make_template(tokenizer)
    encoded, before = one_shot(template, row_of("  Say hi. ", "\n Hello there. \n"), row_of(" Again? ", " Hi. "))
    assert (template.name, encoded.head.tokens) == ("chat", ())
    assert text_of(encoded.query) == "<s>user: Again?</s><s>assistant: "
    assert text_of(encoded.response) == "Hi."
    assert text_of(before) == "<s>user: Say hi.</s><s>assistant: Hello there.</s>" + text_of(encoded.query)


def test_a_chat_template_that_rewrites_an_answer_is_read_as_it_is() -> None:
    tokenizer = with_chat_template(
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content | replace('secret', '***') }}</s>{% endfor %}" + PROMPT
    )
    assert text_of(make_template(tokenizer).encode(row_of("Say it.", "my secret")).response) == "my ***"


def test_a_chat_template_that_drops_one_answer_is_an_error_of_that_row() -> None:
    tokenizer = with_chat_template(
        "{% for m in messages %}<s>{{ m.role }}: {% if 'drop' not in messages[0].content %}{{ m.content }}{% endif %}"
        "</s>{% endfor %}" + PROMPT
    )
    encoded, refused = make_template(tokenizer).encode_all({"kept": ADD, "lost": row_of("drop it", "Gone.")})
    assert list(encoded) == ["kept"]
    assert str(refused["lost"]) == "the model's chat template leaves out the answer; use the plain template"


def test_a_chat_template_that_refuses_a_row_is_an_error_of_that_row() -> None:
    tokenizer = with_chat_template(
        "{% for m in messages %}{% if not m.content %}{{ raise_exception('empty turn') }}{% endif %}"
        "<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}" + PROMPT
    )
    encoded, refused = make_template(tokenizer, "chat").encode_all({"kept": ADD, "empty": row_of("", "Hello.")})
    assert list(encoded) == ["kept"]
    expected = "the model's chat template refuses this conversation: empty turn; use the plain template"
    assert str(refused["empty"]) == expected


def test_a_chat_template_that_writes_the_date_gives_the_same_tokens_every_day() -> None:
    tokenizer = with_chat_template(
        "<s>Today is {{ strftime_now('%d %b %Y') }}.</s>"
        "{% for m in messages %}<s>{{ m.role }}: {{ m.content }}</s>{% endfor %}" + PROMPT
    )
    assert text_of(make_template(tokenizer, "chat").head.tokens) == "<s>Today is 26 Jul 2024.</s>"


SWITCH = (
    "{% for m in messages %}<s>{{ m.role }}: "
    "{% if loop.last and m.role == 'assistant' and enable_thinking is defined and not enable_thinking %}"
    "<none>{% endif %}"
    "{{ m.content }}</s>{% endfor %}" + PROMPT
)


def test_arguments_of_the_chat_template() -> None:
    tokenizer = with_chat_template(SWITCH)
    plain = make_template(tokenizer)
    quiet = make_template(tokenizer, "auto", '{ "enable_thinking":false}')
    assert text_of(plain.encode(ADD).query).endswith("assistant: ")
    assert text_of(quiet.encode(ADD).query).endswith("assistant: <none>")
    assert (plain.arguments, quiet.arguments) == ("", '{"enable_thinking": false}')
    assert plain.key != quiet.key


@pytest.mark.parametrize("text", ["{", "[1]", "enable_thinking=false", "3"])
def test_arguments_that_are_no_object_are_an_error_of_one_line(text: str) -> None:
    with pytest.raises(ScoringError, match="not a JSON object; write them as"):
        make_template(TOKENIZER, "auto", text)


def test_arguments_without_a_chat_template_are_an_error() -> None:
    with pytest.raises(ScoringError, match="the model's chat template is not used; leave them out"):
        make_template(TOKENIZER, "plain", '{"enable_thinking": false}')


def test_a_response_without_tokens_is_refused() -> None:
    for choice in ("chat", "plain", "paper"):
        with pytest.raises(ScoringError, match="the response has no tokens: write a response, or drop the row"):
            make_template(TOKENIZER, choice).encode(row_of("Say nothing.", ""))


def test_a_tokenizer_that_ends_every_text_puts_nothing_between_example_and_query() -> None:
    tokenizer = byte_tokenizer(chat=False)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 256), ("</s>", 257)]
    )
    encoded = make_template(tokenizer).encode(ADD)
    assert (encoded.head.tokens, encoded.head.alone) == ((256,), (256,))
    assert {256, 257}.isdisjoint(encoded.example(encoded.head) + encoded.query + encoded.response)


def sample(example: int, query: int, response: int, head: int = 0) -> EncodedSample:
    """Distinct tokens everywhere, so that what was cut shows."""
    body, tokens = tuple(range(1000, 1000 + query)), tuple(range(example))
    before = tuple(range(9000, 9000 + head))
    examples = (ExampleTokens((), tokens, tokens),)
    return EncodedSample(Head(before, before), body, body, tuple(range(5000, 5000 + response)), examples)


def test_prompts_are_cut_from_the_left_and_the_cuts_counted() -> None:
    cut = fit_to_context(sample(example=60, query=50, response=10, head=5), context_length=100)
    assert cut.example(cut.head) == tuple(range(10, 60))  # half of the context
    assert cut.query == cut.query_alone == tuple(range(1015, 1050))  # 100 - 50 - 5 - 10 = 35
    assert cut.response == tuple(range(5000, 5010))
    assert cut.truncated == 10 + 15


def test_what_fits_is_left_alone() -> None:
    whole = sample(example=50, query=35, response=10, head=5)
    assert fit_to_context(whole, context_length=100) == whole


def test_a_response_that_does_not_fit_is_refused_with_the_numbers() -> None:
    assert len(fit_to_context(sample(10, 10, 1018, 5), 2048).query) == 1
    with pytest.raises(ScoringError) as caught:
        fit_to_context(sample(10, 10, 1019, 5), 2048)
    assert str(caught.value) == (
        "the response has 1,019 tokens and at most 1,018 fit beside an example in this model's context of 2,048; "
        "shorten or drop the row, or take a model with a longer context"
    )


def test_a_context_that_system_text_and_tools_fill_is_refused() -> None:
    with pytest.raises(ScoringError, match="system text and tools have 16 tokens, and half of .* context of 32"):
        fit_to_context(sample(10, 10, 4, 16), context_length=32)


lengths = st.integers(1, 60)


@given(lengths, lengths, lengths, st.integers(4, 120), st.integers(0, 30))
def test_what_was_fitted_fits_and_kept_its_response(
    example: int, query: int, response: int, context_length: int, head: int
) -> None:
    before = sample(example, query, response, head)
    try:
        after = fit_to_context(before, context_length)
    except ScoringError:
        assert head + response + 1 > context_length - context_length // 2
        return
    tokens, kept = before.example(before.head), after.example(after.head)
    assert head + len(kept) + len(after.query) + len(after.response) <= context_length
    assert tokens[-len(kept) :] == kept
    assert before.query[-len(after.query) :] == after.query == after.query_alone
    assert after.truncated == example - len(kept) + query - len(after.query)
    assert (after.head, after.response) == (before.head, before.response)


texts = st.text(max_size=20)
rows = st.builds(
    lambda turns, response: row_of(*turns[: len(turns) // 2 * 2], turns[-1], response),
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
    assert encoded.response == ids(row.messages[-1].content)
    assert text_of(encoded.response) == row.messages[-1].content


@given(rows, rows)
@settings(max_examples=100)
def test_any_two_samples_read_as_one_conversation(helper: Conversation, row: Conversation) -> None:
    encoded, before = one_shot(CHAT, helper, replace(row))
    assert before + encoded.response + ids(END) == ids(rendered(helper, row))
