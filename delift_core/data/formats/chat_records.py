"""Records that hold turns: OpenAI messages, ShareGPT, TRL's prompt/completion and MT-Bench.

All `parse` functions raise a `RecordError` where a field is missing or of the wrong type, a role is unknown, or there
is no answer to learn.
"""

import json
from collections.abc import Mapping
from dataclasses import replace

from delift_core.data.formats.base import (
    LIST_KEYS,
    RecordError,
    describe,
    end_at_response,
    has_fields,
    missing_field_error,
    require_text,
)
from delift_core.data.formats.flat_records import part_columns, prompt_turns
from delift_core.data.formats.turn_spellings import REASONING_KEY, openai_call, parse_if_turns
from delift_core.data.formats.turns import (
    add_system,
    is_turn_list,
    names_roles,
    parse_turns,
    record_system_text,
    turn_list_key,
)
from delift_core.samples import Conversation, Message, Role

SHAREGPT_ROLES: dict[Role, str] = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
MT_BENCH_ANSWERS = "choices"


def detect_messages(record: Mapping[str, object]) -> bool:
    """Whether a record holds a list under `messages` whose first turn has a `role`."""
    return turn_list_key(record) == "messages" and names_roles(record["messages"])


def parse_messages(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads an OpenAI chat record up to its last assistant turn."""
    if "messages" not in record:
        raise missing_field_error("messages", "a chat record")
    turns = parse_turns(record["messages"], "messages")
    return end_at_response(add_system(record_system_text(record), turns), "messages")


def render_messages(conversation: Conversation) -> dict[str, object]:
    """Writes a conversation as role/content turns under `messages`, with `tools`."""
    return {"messages": list(map(openai_turn, conversation.messages)), **_tools(conversation)}


def detect_sharegpt(record: object) -> bool:
    """Whether a record is a list of turns, or holds one under a key that trainers read."""
    if isinstance(record, list | tuple):
        return is_turn_list(record)
    return isinstance(record, Mapping) and turn_list_key(record) is not None


def parse_sharegpt(record: object) -> tuple[Message, ...]:
    """Reads a ShareGPT record, or a bare list of turns, up to its last assistant turn."""
    if isinstance(record, list | tuple):
        return end_at_response(parse_turns(record, "turns"), "turns")
    if not isinstance(record, Mapping):
        raise RecordError("not-an-object", "", f"the record is {describe(record)}", "Give each record as an object.")
    key = turn_list_key(record) or next((key for key in LIST_KEYS[1:] if key in record), None)
    if key is None:
        raise missing_field_error("conversations", "a ShareGPT record")
    return end_at_response(add_system(record_system_text(record), parse_turns(record[key], key)), key)


def render_sharegpt(conversation: Conversation) -> dict[str, object]:
    """Writes a conversation under `conversations`, with the role words that trainers expect, and `tools` as text."""
    tools: dict[str, object] = {"tools": conversation.tools} if conversation.tools else {}
    return {"conversations": list(map(sharegpt_turn, conversation.messages)), **tools}


def openai_turn(message: Message) -> dict[str, object]:
    """A message as OpenAI writes it; arguments of calls are JSON text."""
    content = "" if message.only_calls else message.content
    calls = [openai_call(call.name, call.arguments, call.id or None) for call in message.calls]
    return {"role": message.role, "content": content, **({"tool_calls": calls} if calls else {}), **_more(message)}


def sharegpt_turn(message: Message) -> dict[str, object]:
    """A message as ShareGPT files hold it: calls are the text of a turn of their own."""
    role = "function_call" if message.only_calls else SHAREGPT_ROLES[message.role]
    return {"from": role, "value": message.content, **_more(message)}


def _more(message: Message) -> dict[str, object]:
    found = ((REASONING_KEY, message.thoughts), ("tool_call_id", message.call_id), ("name", message.name))
    return {key: value for key, value in found if value}


def _tools(conversation: Conversation) -> dict[str, object]:
    return {"tools": json.loads(conversation.tools)} if conversation.tools else {}


def detect_prompt_completion(record: Mapping[str, object]) -> bool:
    """Whether a record has a prompt and a completion."""
    return has_fields(record, ("prompt", "completion"))


def parse_prompt_completion(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads two texts or two lists of turns; the response is the last assistant turn of the completion."""
    for key in ("prompt", "completion"):
        if key not in record:
            raise missing_field_error(key, "a prompt-completion record")
    given, answer = parse_if_turns(record["prompt"]), parse_if_turns(record["completion"])
    if isinstance(given, list | tuple):
        # Only the completion is trained.
        prompt = [replace(turn, trained=False) for turn in parse_turns(given, "prompt")]
    else:
        prompt = prompt_turns(record, "prompt", part_columns(record, "prompt", "completion"))
    if isinstance(answer, list | tuple):
        completion = parse_turns(answer, "completion")
    else:
        completion = [Message("assistant", require_text(answer, "completion"))]
    if not any(message.role == "assistant" for message in completion):
        remedy = "Put the answer to learn into the completion as an assistant turn."
        raise RecordError("no-assistant-turn", "completion", "no turn is by the assistant", remedy)
    blank = not any(message.role == "user" and message.content.strip() for message in prompt)
    turns = add_system(record_system_text(record), [*prompt, *completion])
    return end_at_response(turns, "prompt" if blank else "completion")


def render_prompt_completion(conversation: Conversation) -> dict[str, object]:
    """Writes the turns before the response as the prompt and the response as the completion, with `tools`.

    Raises:
        RecordError: the conversation does not end with an assistant turn.
    """
    if not conversation.messages or conversation.messages[-1].role != "assistant":
        what = "the conversation does not end with an assistant turn"
        raise RecordError("no-assistant-turn", "", what, "Add the assistant turn, or remove the row.")
    turns = list(map(openai_turn, conversation.messages))
    return {"prompt": turns[:-1], "completion": turns[-1:], **_tools(conversation)}


def detect_mt_bench(record: Mapping[str, object]) -> bool:
    """Whether a record is a question of MT-Bench (a list of user turns) or the answers to one."""
    return is_mt_bench_question(record) or is_mt_bench_answer(record)


def is_mt_bench_question(record: object) -> bool:
    """Whether a record holds user turns, with or without answers."""
    turns = record.get("turns") if isinstance(record, Mapping) and "question_id" in record else None
    return isinstance(turns, list) and bool(turns) and all(isinstance(turn, str) for turn in turns)


def is_mt_bench_answer(record: object) -> bool:
    """Whether a record holds answers alone, with the id of their question."""
    if not isinstance(record, Mapping) or "turns" in record or "question_id" not in record:
        return False
    return _first_choice(record) is not None


def parse_mt_bench(record: Mapping[str, object]) -> tuple[Message, ...]:
    """Reads user turns alternating with a model's answers (`choices`) or, without those, the `reference` answers."""
    if not is_mt_bench_question(record):
        remedy = "Load both files at once: give the folder that they are in."
        what = "the questions to these answers are in another file"
        raise RecordError("empty-prompt", "question_id", what, remedy)
    choice = _first_choice(record)
    field = f"{MT_BENCH_ANSWERS}[0].turns" if choice is not None else "reference"
    answers = choice if choice is not None else record.get("reference")
    if not isinstance(answers, list) or not answers:
        remedy = "Load them with their answers: give the folder that both files are in."
        raise RecordError("no-assistant-turn", "reference", "the questions have no answers", remedy)
    questions = record["turns"]
    messages = []
    for at, (question, answer) in enumerate(zip(questions, answers, strict=False)):  # type: ignore[call-overload]
        messages.append(Message("user", require_text(question, f"turns[{at}]")))
        messages.append(Message("assistant", require_text(answer, f"{field}[{at}]")))
    while len(messages) > 2 and not messages[-1].content.strip():
        del messages[-2:]
    return end_at_response(messages, field)


def _first_choice(record: Mapping[str, object]) -> list[object] | None:
    choices = record.get(MT_BENCH_ANSWERS)
    first = choices[0] if isinstance(choices, list) and choices else None
    turns = first.get("turns") if isinstance(first, Mapping) else None
    return turns if isinstance(turns, list) else None
