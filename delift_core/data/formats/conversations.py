"""Finds the conversation in a record, under any key and in any spelling.

Lists of turns under the keys that trainers read come first. If no other format fits, further forms are tried: turns as
strings, as JSON or Python text in a cell, in a nested object, in segments, in trees, in exports of annotation tools,
and in a text with a chat template.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from delift_core.data.formats.base import (
    CHAT_TEXT_KEYS,
    LIST_KEYS,
    MORE_LIST_KEYS,
    MORE_SYSTEM_KEYS,
    NESTED_KEYS,
    ROLE_KEYS,
    STRING_LIST_KEYS,
    LocatedTurn,
    turn_role,
)
from delift_core.data.formats.chat_records import detect_prompt_completion
from delift_core.data.formats.chat_text import split_turns
from delift_core.data.formats.flat_records import detect_alpaca, detect_columns
from delift_core.data.formats.platform_records import (
    argilla_turns,
    best_path,
    chatgpt_path,
    is_thread,
    label_studio_turns,
    tree_path,
)
from delift_core.data.formats.turn_spellings import has_known_role, is_known_turn, parse_list, standard_turns
from delift_core.data.formats.turns import is_turn_list, turn_list_key
from delift_core.samples import Role


@dataclass(frozen=True, slots=True)
class FoundConversation:
    """A conversation in a record."""

    field: str  # path of the list, tree or text that holds it; "" for a record that is a list of turns
    turns: tuple[LocatedTurn, ...]  # the turns with their paths, for `parse_located_turns`
    key: str = ""  # the top-level key of `field`
    system: object = None  # the system text beside the turns, as decoded
    system_key: str = ""  # its key
    tools: object = None  # tool definitions beside the turns, if they are in a nested object
    is_list: bool = True  # whether the turns are exactly the elements of a list in the record
    other_messages: int = 0  # how many messages of the thread are not on the path that is read

    @property
    def top_level_keys(self) -> tuple[str, ...]:
        """The record's keys that the conversation is read from."""
        opening = _roles(self.turns[0][1])[:1] if self.turns else []
        system = () if opening == ["system"] else (self.system_key,)  # a system turn takes precedence
        paths = (self.field, *system, *(path for path, _ in self.turns))
        return tuple(dict.fromkeys((self.key, *(re.split(r"[.\[]", path, maxsplit=1)[0] for path in paths))))

    def role_content_turns(self) -> list[Mapping[str, object]] | None:
        """The turns in role/content or from/value spelling; None if one of them names no role."""
        turns = [one for _, turn in self.turns for one in (standard_turns(turn) if isinstance(turn, Mapping) else [{}])]
        return turns if all(any(key in turn for key in ROLE_KEYS) for turn in turns) else None


def find_conversation(record: object) -> FoundConversation | None:
    """The conversation in a record; None for a flat record (one field for the prompt, one for the response)."""
    if isinstance(record, list | tuple):
        known = is_turn_list(record) or (bool(record) and all(is_known_turn(turn) for turn in record))
        return _from_list(record, "", "") if known else None
    if not isinstance(record, Mapping):
        return None
    key = turn_list_key(record)
    if key is not None:
        return _with_system(_from_list(record[key], key, key), record)
    flat = ("chosen" in record and "rejected" in record) or detect_prompt_completion(record) or detect_alpaca(record)
    return None if flat or detect_columns(record) is not None else search_conversation(record)


def search_conversation(record: Mapping[str, object]) -> FoundConversation | None:
    """The conversation in a record of none of the formats that trainers read."""
    found = next((one for one in _candidates(record) if one is not None), None)
    if found is None or found.system is not None:
        return found
    return _with_system(found, record)


def is_chat_text(conversation: FoundConversation) -> bool:
    """Whether a conversation was read from a text in a chat template."""
    paths = {path for path, _ in conversation.turns}
    return paths == {conversation.field} == {conversation.key}


def _candidates(record: Mapping[str, object]) -> Iterator[FoundConversation | None]:
    for key in (*LIST_KEYS, *MORE_LIST_KEYS):
        if key in record:
            yield _under_key(record, key)
    yield _from_nested_object(record)
    yield _from_segments(record)
    yield _from_tree(record)
    yield _from_annotations(record)
    yield _under_any_key(record)
    yield _from_chat_text(record)


def _from_list(turns: Sequence[object], field: str, key: str) -> FoundConversation:
    return FoundConversation(field, tuple((f"{field}[{at}]", turn) for at, turn in enumerate(turns)), key)


def _with_system(conversation: FoundConversation, record: Mapping[str, object]) -> FoundConversation:
    key = next((key for key in MORE_SYSTEM_KEYS if record.get(key) is not None), "")
    return replace(conversation, system=record.get(key), system_key=key)


def _under_key(record: Mapping[str, object], key: str) -> FoundConversation | None:
    """The turns under a key: a list, or a list written as JSON or Python text."""
    value = record.get(key)
    if isinstance(value, str):
        inner = parse_list(value)
        conversation = _under_key({**record, key: inner}, key) if inner is not None else None
        return replace(conversation, is_list=False) if conversation else None
    if not isinstance(value, list | tuple):
        return None
    if key == "chat_history" and isinstance(record.get("message"), str):
        return _from_cohere(record, value)
    if not value:
        return None
    if is_thread(value) and all(is_known_turn(turn) for turn in value):
        turns = best_path(value, key)
        others = len(value) - len(turns)
        return FoundConversation(key, turns, key, is_list=not others, other_messages=others)
    if is_turn_list(value) or is_known_turn(value[0]):
        return _from_list(value, key, key)
    if key in (*STRING_LIST_KEYS, "history") and all(_is_string_pair(turn) for turn in value):
        return FoundConversation(key, tuple(_from_pairs(value, key)), key, is_list=False)
    if key in STRING_LIST_KEYS and len(value) > 1 and all(isinstance(turn, str) for turn in value):
        roles = ("user", "assistant")
        in_turn = ((f"{key}[{at}]", {"role": roles[at % 2], "content": text}) for at, text in enumerate(value))
        return FoundConversation(key, tuple(in_turn), key)
    return None


def _is_string_pair(turn: object) -> bool:
    return isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(text, str) for text in turn)


def _from_pairs(value: Sequence[object], field: str) -> Iterator[LocatedTurn]:
    for at, pair in enumerate(value):
        if isinstance(pair, list | tuple):
            yield f"{field}[{at}][0]", {"role": "user", "content": pair[0]}
            yield f"{field}[{at}][1]", {"role": "assistant", "content": pair[1]}


def _from_cohere(record: Mapping[str, object], history: Sequence[object]) -> FoundConversation | None:
    """A Cohere request: the earlier turns, the user's message, and the answer if there is one."""
    answer = next((key for key in ("response", "text", "generation") if isinstance(record.get(key), str)), None)
    located = [(f"chat_history[{at}]", turn) for at, turn in enumerate(history)]
    located.append(("message", {"role": "user", "content": record["message"]}))
    if answer:
        located.append((answer, {"role": "assistant", "content": record[answer]}))
    return FoundConversation("chat_history", tuple(located), "chat_history", is_list=False)


def _from_nested_object(record: Mapping[str, object]) -> FoundConversation | None:
    """The turns in a nested object, as in requests of a batch, and the response beside it if there is one."""
    for key in NESTED_KEYS:
        inner = record.get(key)
        inner_key = turn_list_key(inner) if isinstance(inner, Mapping) else None
        if inner_key is None or not isinstance(inner, Mapping):
            continue
        conversation = _with_system(_from_list(inner[inner_key], f"{key}.{inner_key}", key), inner)
        answer = _completion_message(record.get("response"))
        turns = (*conversation.turns, answer) if answer else conversation.turns
        own = f"{key}.{conversation.system_key}" if conversation.system_key else ""
        return replace(conversation, turns=turns, system_key=own, tools=inner.get("tools"), is_list=answer is None)
    return None


def _completion_message(response: object) -> LocatedTurn | None:
    """The message of a chat completion, as the API returns it."""
    body = response.get("body", response) if isinstance(response, Mapping) else None
    choices = body.get("choices") if isinstance(body, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    return ("response.choices[0].message", message) if has_known_role(message) else None


_END_TOKENS = re.compile(
    r"\A(?:<s>|<\|begin_of_text\|>|<bos>)+|(?:</s>|<\|endoftext\|>|<\|eot_id\|>|<\|im_end\|>|<eos>)+\s*\Z"
)


def _from_segments(record: Mapping[str, object]) -> FoundConversation | None:
    """Axolotl's segments: a text with label true is an answer, the text before it the prompt."""
    segments = record.get("segments")
    if not isinstance(segments, list) or not segments:
        return None
    parts: list[tuple[bool, str, str]] = []
    for at, one in enumerate(segments):
        if not isinstance(one, Mapping) or type(one.get("label")) is not bool or not isinstance(one.get("text"), str):
            return None
        if parts and parts[-1][0] == one["label"]:
            parts[-1] = (one["label"], parts[-1][1], parts[-1][2] + one["text"])
        else:
            parts.append((one["label"], f"segments[{at}]", one["text"]))
    whole = split_turns("".join(text for _, _, text in parts))
    answers = [_END_TOKENS.sub("", text).strip() for label, _, text in parts if label]
    if whole and answers and [turn["content"] for turn in whole if turn["role"] == "assistant"][-1] == answers[-1]:
        located: list[LocatedTurn] = [("segments[0]", turn) for turn in whole]
    else:
        roles = {True: "assistant", False: "user"}
        located = [(path, {"role": roles[label], "content": _END_TOKENS.sub("", text)}) for label, path, text in parts]
    return FoundConversation("segments", tuple(located), "segments", is_list=False)


def _from_tree(record: Mapping[str, object]) -> FoundConversation | None:
    prompt = record.get("prompt")
    if isinstance(prompt, Mapping) and isinstance(prompt.get("replies"), list) and is_known_turn(prompt):
        turns, others = tree_path(prompt, "prompt")
        return FoundConversation("prompt", turns, "prompt", is_list=False, other_messages=others)
    found = chatgpt_path(record)
    return FoundConversation("mapping", found[0], "mapping", is_list=False, other_messages=found[1]) if found else None


def _from_annotations(record: Mapping[str, object]) -> FoundConversation | None:
    for key, turns in (("annotations", label_studio_turns(record)), ("responses", argilla_turns(record))):
        if turns:
            return FoundConversation(key, turns, key, is_list=False)
    return None


def _under_any_key(record: Mapping[str, object]) -> FoundConversation | None:
    """The only field that is a list of turns with a user and an assistant, whatever its name."""
    found: list[FoundConversation] = []
    for key, value in record.items():
        inner = parse_list(value) if isinstance(value, str) else value
        if not isinstance(inner, list | tuple) or not inner or not all(is_known_turn(turn) for turn in inner):
            continue
        if {"user", "assistant"} <= {role for turn in inner for role in _roles(turn)}:
            found.append(replace(_from_list(inner, str(key), str(key)), is_list=inner is value))
    return found[0] if len(found) == 1 else None


def _roles(turn: object) -> list[Role | None]:
    return [turn_role(one) for one in standard_turns(turn)] if isinstance(turn, Mapping) else []


def _from_chat_text(record: Mapping[str, object]) -> FoundConversation | None:
    """The first text in a chat template."""
    for key in CHAT_TEXT_KEYS:
        text = record.get(key)
        turns = split_turns(text) if isinstance(text, str) else None
        if turns:
            located = tuple((key, turn) for turn in turns)
            conversation = _with_system(FoundConversation(key, located, key, is_list=False), record)
            if isinstance(conversation.system, str):  # Glaive's system text begins with its role
                return replace(conversation, system=re.sub(r"\A\s*SYSTEM:\s*", "", conversation.system))
            return conversation
    return None
