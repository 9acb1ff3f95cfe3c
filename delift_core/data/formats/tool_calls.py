"""Calls of tools and functions, in every spelling: what they are, and the text that is scored for them.

The text of a response that is a call is `{"name": …, "arguments": {…}}` as Python's `json.dumps` writes it, with
non-ASCII as it is: what ShareGPT files hold under `function_call`. Several calls are a JSON list of such objects.
Calls that stand before the response under `tool_calls` are the JSON of that list as it is, ids included.
"""

import json
from collections.abc import Mapping, Sequence

from delift_core.data.formats.base import is_missing


def has_calls(turn: Mapping[str, object]) -> bool:
    """Whether a turn in OpenAI's spelling holds calls."""
    return any(turn.get(key) and not is_missing(turn[key]) for key in ("tool_calls", "function_call"))


def calls_text(turn: Mapping[str, object]) -> str:
    """The calls of a turn before the response, as text."""
    if turn.get("tool_calls"):
        return json.dumps(turn["tool_calls"], ensure_ascii=False, default=str)
    return response_text(turn)


def response_text(turn: Mapping[str, object]) -> str:
    """The calls of a turn that is the response, as text."""
    value = turn.get("tool_calls") or turn.get("function_call")
    listed = decoded(value)
    calls = [_plain(call) for call in (listed if isinstance(listed, list | tuple) else [listed])]
    known = [call for call in calls if call is not None]
    if len(known) < len(calls):
        return json.dumps(value, ensure_ascii=False, default=str)
    return json.dumps(known[0] if len(known) == 1 else known, ensure_ascii=False, default=str)


def openai_call(name: object, arguments: object, call_id: object = None) -> dict[str, object]:
    """A call in OpenAI's spelling, whose arguments are JSON text."""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {}, ensure_ascii=False, default=str)
    own = {"id": call_id} if call_id is not None else {}
    return {**own, "type": "function", "function": {"name": name, "arguments": text}}


def openai_calls(calls: object) -> object:
    """A list of calls in OpenAI's spelling, of LangChain's (name, args, id) too; as found where it is another."""
    if not isinstance(calls, list | tuple):
        return calls
    return [
        openai_call(call["name"], call["args"], call.get("id"))
        if isinstance(call, Mapping) and "name" in call and "args" in call
        else call
        for call in calls
    ]


def decoded(value: object) -> object:
    """The JSON in a text; the value itself where it is none."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _plain(call: object) -> dict[str, object] | None:
    """Name and arguments of a call; None where it names no function."""
    if not isinstance(call, Mapping):
        return None
    function = call.get("function")
    named = function if isinstance(function, Mapping) else call
    name = named.get("name")
    if not isinstance(name, str):
        return None
    arguments: object = next((named[key] for key in _ARGUMENTS if named.get(key) is not None), {})
    inner = decoded(arguments)
    return {"name": name, "arguments": ({} if arguments == "" else inner) if inner is not None else arguments}


_ARGUMENTS: Sequence[str] = ("arguments", "args", "input", "parameters")
