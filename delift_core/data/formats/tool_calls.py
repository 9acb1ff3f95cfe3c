"""Tool calls in every spelling, and the text that is scored for them.

A call that is the response is scored as `{"name": …, "arguments": {…}}`, as ShareGPT files write it under
`function_call`; several calls as a JSON list of such objects. Calls before the response keep their JSON, ids included.
"""

import json
from collections.abc import Mapping

from delift_core.data.formats.base import is_missing
from delift_core.data.formats.vocabulary import CALL_KEYS

_ARGUMENT_KEYS = ("arguments", "args", "input", "parameters")


def has_calls(turn: Mapping[str, object]) -> bool:
    """Whether a turn in OpenAI's spelling holds tool calls."""
    return any(turn.get(key) and not is_missing(turn[key]) for key in CALL_KEYS)


def calls_text(turn: Mapping[str, object]) -> str:
    """The text of the tool calls of a turn before the response."""
    if turn.get("tool_calls"):
        return json.dumps(turn["tool_calls"], ensure_ascii=False, default=str)
    return response_text(turn)


def response_text(turn: Mapping[str, object]) -> str:
    """The text of the tool calls of the response."""
    value = turn.get("tool_calls") or turn.get("function_call")
    listed = decode_json(value)
    calls = [_name_and_arguments(call) for call in (listed if isinstance(listed, list | tuple) else [listed])]
    known = [call for call in calls if call is not None]
    if len(known) < len(calls):
        return json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(known[0] if len(known) == 1 else known, ensure_ascii=False, default=str)


def openai_call(name: object, arguments: object, call_id: object = None) -> dict[str, object]:
    """A tool call in OpenAI's spelling, with its arguments as JSON text."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False, default=str)
    own = {"id": call_id} if call_id is not None else {}
    return {**own, "type": "function", "function": {"name": name, "arguments": text}}


def openai_calls(calls: object) -> object:
    """Converts LangChain's tool calls (name, args, id) to OpenAI's spelling; returns other values unchanged."""
    if not isinstance(calls, list | tuple):
        return calls
    return [
        openai_call(call["name"], call["args"], call.get("id"))
        if isinstance(call, Mapping) and "name" in call and "args" in call
        else call
        for call in calls
    ]


def decode_json(value: object) -> object:
    """Decodes a text that is JSON; returns any other value unchanged."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _name_and_arguments(call: object) -> dict[str, object] | None:
    """Name and arguments of a tool call; None if it names no function."""
    if not isinstance(call, Mapping):
        return None
    function = call.get("function")
    named = function if isinstance(function, Mapping) else call
    name = named.get("name")
    if not isinstance(name, str):
        return None
    arguments: object = next((named[key] for key in _ARGUMENT_KEYS if named.get(key) is not None), {})
    inner = decode_json(arguments)
    return {"name": name, "arguments": ({} if arguments == "" else inner) if inner is not None else arguments}
