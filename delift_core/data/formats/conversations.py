"""The conversation that a record holds, wherever it stands and however it is spelt: all that looks for turns asks here.

Lists of turns under the usual keys come first, as the formats read them. Where no other format fits a record, other
keys and spellings are looked for: turns as strings, as JSON or Python text in a cell, in an object inside the record,
in segments, trees and the exports of annotation tools, and in a text with the markers of a chat template.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from delift_core.data.formats import alpaca, columns, prompt_completion
from delift_core.data.formats.annotation_tools import argilla_turns, label_studio_turns
from delift_core.data.formats.base import ROLES
from delift_core.data.formats.chat_text import turns_of_text
from delift_core.data.formats.threads import best_path, is_thread, shown_path, tree_path
from delift_core.data.formats.turn_spellings import ROLE_KEYS, is_dialect, is_known, list_in_text, standard
from delift_core.data.formats.turns import LIST_KEYS, MORE_LIST_KEYS, is_turn_list, list_key

SYSTEM_KEYS = ("system", "system_prompt", "systemInstruction", "system_instruction", "preamble", "system_message")
_INSIDE = ("body", "params", "request", "conversation", "chat", "data", "record", "row", "example")
# Where a list of strings is a conversation: questions and answers in turn.
_OF_STRINGS = (
    "messages",
    "conversations",
    "conversation",
    "dialog",
    "dialogue",
    "dialogs",
    "chat",
    "utterances",
    "data",
)
_TEXT_KEYS = ("text", "chat", "conversation", "conversations", "dialog", "dialogue", "messages", "transcript", "prompt")
Placed = tuple[str, object]


@dataclass(frozen=True, slots=True)
class Talk:
    """A conversation in a record.

    Attributes:
        field: path of what holds it: a list of turns, a tree or a text; "" for a record that is a list of turns.
        turns: the turns with their paths, as `parse_placed` reads them.
        system: a system text beside them, as found; and its key.
        key: the record's own key that it stands under.
        tools: definitions of tools inside the object that holds the turns, where that is not the record itself.
        listed: the turns are the elements of a list in the record, one by one.
        others: messages of the thread that are not on the path that is read.
    """

    field: str
    turns: tuple[Placed, ...]
    key: str = ""
    system: object = None
    system_key: str = ""
    tools: object = None
    listed: bool = True
    others: int = 0

    @property
    def roots(self) -> tuple[str, ...]:
        """The record's own keys that the conversation is read from."""
        opening = _roles(self.turns[0][1])[:1] if self.turns else []
        system = () if opening == ["system"] else (self.system_key,)  # a system turn wins over it
        paths = (self.field, *system, *(where for where, _ in self.turns))
        return tuple(dict.fromkeys((self.key, *(re.split(r"[.\[]", path, maxsplit=1)[0] for path in paths))))

    def spelt(self) -> list[Mapping[str, object]] | None:
        """The turns with a role and a text each, in the spelling that trainers read; None where one is no such turn."""
        turns = [one for _, turn in self.turns for one in (standard(turn) if isinstance(turn, Mapping) else [{}])]
        return turns if all(any(key in turn for key in ROLE_KEYS) for turn in turns) else None


def talk_of(record: object) -> Talk | None:
    """The conversation of a record whose turns stand in a list or a text; None for a flat record."""
    if isinstance(record, list | tuple):
        return _listed(record, "", "") if is_turn_list(record) else _bare(record)
    if not isinstance(record, Mapping):
        return None
    key = list_key(record)
    if key is not None:
        return _with_system(_listed(record[key], key, key), record)
    return None if _is_flat(record) else foreign_talk(record)


def foreign_talk(record: Mapping[str, object]) -> Talk | None:
    """The conversation of a record in none of the formats that trainers read."""
    found = next((talk for talk in _readings(record) if talk is not None), None)
    if found is None or found.system is not None:
        return found
    return _with_system(found, record)


def is_text_talk(talk: Talk) -> bool:
    """Whether the turns stand in one text, between the markers of a chat template."""
    return bool(talk.turns) and all(where == talk.field == talk.key for where, _ in talk.turns)


def _is_flat(record: Mapping[str, object]) -> bool:
    both = "chosen" in record and "rejected" in record
    return both or prompt_completion.detect(record) or alpaca.detect(record) or columns.detect(record) is not None


def _readings(record: Mapping[str, object]) -> Iterator[Talk | None]:
    for key in (*LIST_KEYS, *MORE_LIST_KEYS):
        if key in record:
            yield _under(record, key)
    yield _inside(record)
    yield _segments(record)
    yield _tree(record)
    yield _annotated(record)
    yield _any_key(record)
    yield text_talk(record)


def _listed(turns: Sequence[object], field: str, key: str) -> Talk:
    placed = tuple((f"{field}[{at}]", turn) for at, turn in enumerate(turns))
    return Talk(field, placed, key)


def _bare(record: Sequence[object]) -> Talk | None:
    return _listed(record, "", "") if record and all(is_dialect(turn) for turn in record) else None


def _with_system(talk: Talk, record: Mapping[str, object]) -> Talk:
    key = next((key for key in SYSTEM_KEYS if record.get(key) is not None), "")
    return replace(talk, system=record.get(key), system_key=key)


def _under(record: Mapping[str, object], key: str) -> Talk | None:
    """The turns under a key: a list of them, or JSON or Python text of one."""
    value = record.get(key)
    if isinstance(value, str):
        inner = list_in_text(value)
        talk = _under({**record, key: inner}, key) if inner is not None else None
        return replace(talk, listed=False) if talk else None
    if not isinstance(value, list | tuple):
        return None
    if key == "chat_history" and isinstance(record.get("message"), str):
        return _cohere(record, value)
    if not value:
        return None
    if is_thread(value) and all(is_dialect(turn) for turn in value):
        path = best_path(value, key)
        others = len(value) - len(path)
        return Talk(key, path, key, listed=not others, others=others)
    if is_turn_list(value) or is_dialect(value[0]):
        return _listed(value, key, key)
    if key in (*_OF_STRINGS, "history") and all(_is_string_pair(turn) for turn in value):
        return Talk(key, tuple(_of_pairs(value, key)), key, listed=False)
    if key in _OF_STRINGS and len(value) > 1 and all(isinstance(turn, str) for turn in value):
        return Talk(key, tuple(_in_turn(value, key)), key)
    return None


def _in_turn(value: Sequence[object], field: str) -> Iterator[Placed]:
    for at, text in enumerate(value):
        yield f"{field}[{at}]", {"role": ("user", "assistant")[at % 2], "content": text}


def _is_string_pair(turn: object) -> bool:
    return isinstance(turn, list | tuple) and len(turn) == 2 and all(isinstance(text, str) for text in turn)


def _of_pairs(value: Sequence[object], field: str) -> Iterator[Placed]:
    for at, pair in enumerate(value):
        if isinstance(pair, list | tuple):
            yield f"{field}[{at}][0]", {"role": "user", "content": pair[0]}
            yield f"{field}[{at}][1]", {"role": "assistant", "content": pair[1]}


def _cohere(record: Mapping[str, object], history: Sequence[object]) -> Talk | None:
    """Cohere's requests: earlier turns, the message they lead to, and what was answered."""
    answer = next((key for key in ("response", "text", "generation") if isinstance(record.get(key), str)), None)
    placed = [(f"chat_history[{at}]", turn) for at, turn in enumerate(history)]
    placed.append(("message", {"role": "user", "content": record["message"]}))
    if answer:
        placed.append((answer, {"role": "assistant", "content": record[answer]}))
    return Talk("chat_history", tuple(placed), "chat_history", listed=False)


def _inside(record: Mapping[str, object]) -> Talk | None:
    """The turns in an object inside the record, as requests of a batch have them; an answer may stand beside."""
    for key in _INSIDE:
        inner = record.get(key)
        inner_key = list_key(inner) if isinstance(inner, Mapping) else None
        if inner_key is None or not isinstance(inner, Mapping):
            continue
        talk = _with_system(_listed(inner[inner_key], f"{key}.{inner_key}", key), inner)
        answer = _answered(record.get("response"))
        turns = (*talk.turns, answer) if answer else talk.turns
        own = f"{key}.{talk.system_key}" if talk.system_key else ""
        return replace(talk, turns=turns, system_key=own, tools=inner.get("tools"), listed=answer is None)
    return None


def _answered(response: object) -> Placed | None:
    """The message of a completion, as an API gives it."""
    body = response.get("body", response) if isinstance(response, Mapping) else None
    choices = body.get("choices") if isinstance(body, Mapping) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    message = first.get("message") if isinstance(first, Mapping) else None
    return ("response.choices[0].message", message) if is_known(message) else None


_MARKS = re.compile(
    r"\A(?:<s>|<\|begin_of_text\|>|<bos>)+|(?:</s>|<\|endoftext\|>|<\|eot_id\|>|<\|im_end\|>|<eos>)+\s*\Z"
)


def _segments(record: Mapping[str, object]) -> Talk | None:
    """Axolotl's segments: a text that is trained (label true) is an answer, the text before it what it answers."""
    segments = record.get("segments")
    if not isinstance(segments, list) or not segments:
        return None
    spoken: list[tuple[bool, str, str]] = []
    for at, one in enumerate(segments):
        if (
            not isinstance(one, Mapping)
            or not isinstance(one.get("text"), str)
            or not isinstance(one.get("label"), bool)
        ):
            return None
        if spoken and spoken[-1][0] == one["label"]:
            spoken[-1] = (one["label"], spoken[-1][1], spoken[-1][2] + one["text"])
        else:
            spoken.append((one["label"], f"segments[{at}]", one["text"]))
    whole = turns_of_text("".join(text for _, _, text in spoken))
    answers = [_MARKS.sub("", text).strip() for label, _, text in spoken if label]
    if whole and answers and [turn["content"] for turn in whole if turn["role"] == "assistant"][-1] == answers[-1]:
        placed: list[Placed] = [("segments[0]", turn) for turn in whole]
    else:
        roles = {True: "assistant", False: "user"}
        placed = [(where, {"role": roles[label], "content": _MARKS.sub("", text)}) for label, where, text in spoken]
    return Talk("segments", tuple(placed), "segments", listed=False)


def _tree(record: Mapping[str, object]) -> Talk | None:
    prompt = record.get("prompt")
    if isinstance(prompt, Mapping) and isinstance(prompt.get("replies"), list) and is_dialect(prompt):
        path, others = tree_path(prompt, "prompt")
        return Talk("prompt", path, "prompt", listed=False, others=others)
    shown = shown_path(record)
    return Talk("mapping", shown[0], "mapping", listed=False, others=shown[1]) if shown else None


def _annotated(record: Mapping[str, object]) -> Talk | None:
    for key, turns in (("annotations", label_studio_turns(record)), ("responses", argilla_turns(record))):
        if turns:
            return Talk(key, turns, key, listed=False)
    return None


def _any_key(record: Mapping[str, object]) -> Talk | None:
    """The one field that is a list of turns of a user and an assistant, whatever its name."""
    found: list[Talk] = []
    for key, value in record.items():
        inner = list_in_text(value) if isinstance(value, str) else value
        if not isinstance(inner, list | tuple) or not inner or not all(is_dialect(turn) for turn in inner):
            continue
        if {"user", "assistant"} <= {role for turn in inner for role in _roles(turn)}:
            found.append(replace(_listed(inner, str(key), str(key)), listed=inner is value))
    return found[0] if len(found) == 1 else None


def _roles(turn: object) -> list[str]:
    turns = standard(turn) if isinstance(turn, Mapping) else ()
    return [ROLES.get(str(one.get("role") or one.get("from")).strip().lower(), "") for one in turns]


def text_talk(record: Mapping[str, object]) -> Talk | None:
    """A text with the markers of a chat template."""
    names = [key for key in _TEXT_KEYS if isinstance(record.get(key), str)]
    for key in names:
        turns = turns_of_text(str(record[key]))
        if turns:
            talk = _with_system(Talk(key, tuple((key, turn) for turn in turns), key, listed=False), record)
            if isinstance(talk.system, str):  # Glaive's opens with its role
                return replace(talk, system=re.sub(r"\A\s*SYSTEM:\s*", "", talk.system))
            return talk
    return None
