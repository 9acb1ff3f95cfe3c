"""Records of annotation tools (Label Studio, Argilla) with one prompt and one written answer.

A record with several prompts, or with answers that differ between annotators, is not read: `unsupported` names it.
"""

import re
from collections.abc import Mapping

from delift_core.data.formats.base import PART_SEPARATOR, LocatedTurn
from delift_core.data.formats.vocabulary import PROMPT_KEYS

_PROMPTS = (*PROMPT_KEYS, "text")
_NOT_PROMPTS = {
    *("response", "answer", "completion", "output", "generation", "draft", "reference", "system", "system_prompt")
}
_ANSWER = re.compile(r"respon|answer|complet|correct|output|rewrit|improve|edit|target|generat|repl", re.IGNORECASE)
_SKIPPED = ("was_cancelled", "skipped")


def is_label_studio(record: Mapping[str, object]) -> bool:
    """Whether a record is a Label Studio task, exported as JSON."""
    return isinstance(record.get("data"), Mapping) and isinstance(record.get("annotations"), list)


def is_argilla(record: Mapping[str, object]) -> bool:
    """Whether a record is an Argilla record."""
    return isinstance(record.get("fields"), Mapping) and isinstance(record.get("responses"), Mapping | list)


def label_studio_turns(record: Mapping[str, object]) -> tuple[LocatedTurn, ...] | None:
    """The prompt of a task and the written answer; None if there is not exactly one of each."""
    if not is_label_studio(record):
        return None
    texts: list[str] = []
    for annotation in record["annotations"]:  # type: ignore[attr-defined]
        if not isinstance(annotation, Mapping) or any(annotation.get(key) for key in _SKIPPED):
            continue
        result = annotation.get("result")
        areas = [one for one in result if _is_textarea(one)] if isinstance(result, list) else []
        if len(areas) != 1 or not _ANSWER.search(str(areas[0].get("from_name"))):
            return None
        texts += areas[0]["value"]["text"]
    return _turns(record["data"], "data", "annotations", texts)


def argilla_turns(record: Mapping[str, object]) -> tuple[LocatedTurn, ...] | None:
    """The prompt of a record and the submitted answer; None if there is not exactly one of each."""
    if not is_argilla(record) or record.get("status") == "discarded":
        return None
    answers: dict[str, list[object]] = {}
    responses = record["responses"]
    if isinstance(responses, Mapping):
        for name, given in responses.items():
            kept = [one for one in given if isinstance(one, Mapping)] if isinstance(given, list) else []
            answers[str(name)] = [one.get("value") for one in kept if one.get("status") not in ("discarded", "draft")]
    else:
        for one in responses:  # type: ignore[attr-defined]
            values = one.get("values") if isinstance(one, Mapping) else None
            if isinstance(values, Mapping) and one.get("status", "submitted") == "submitted":
                for name, value in values.items():
                    text = value.get("value") if isinstance(value, Mapping) else value
                    answers.setdefault(str(name), []).append(text)
    texts = [
        [str(one) for one in values]
        for name, values in answers.items()
        if values and all(isinstance(one, str) for one in values) and _ANSWER.search(name)
    ]
    return _turns(record["fields"], "fields", "responses", texts[0]) if len(texts) == 1 else None


def _is_textarea(one: object) -> bool:
    value = one.get("value") if isinstance(one, Mapping) and one.get("type") == "textarea" else None
    text = value.get("text") if isinstance(value, Mapping) else None
    return isinstance(text, list) and len(text) == 1 and isinstance(text[0], str)


def _turns(data: object, field: str, answers: str, texts: list[str]) -> tuple[LocatedTurn, ...] | None:
    if len(set(texts)) != 1 or not isinstance(data, Mapping):
        return None
    names = [key for key in _PROMPTS if isinstance(data.get(key), str) and data[key]]
    texts_of_words = {key for key, value in data.items() if isinstance(value, str) and " " in value} - _NOT_PROMPTS
    if names not in ([*names[:1]], ["instruction", "input"]) or not names or not texts_of_words <= set(names):
        return None  # more than one text may belong to the prompt
    prompt = PART_SEPARATOR.join(str(data[name]) for name in names)
    system = next((data[key] for key in ("system", "system_prompt") if isinstance(data.get(key), str)), "")
    opening: tuple[LocatedTurn, ...] = ((field, {"role": "system", "content": system}),) if system else ()
    question = {"role": "user", "content": prompt}
    return (*opening, (f"{field}.{names[0]}", question), (answers, {"role": "assistant", "content": texts[0]}))
