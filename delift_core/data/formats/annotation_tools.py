"""Records of annotation tools (Label Studio, Argilla) in which one text was written as the answer to a prompt.

They are read where there is no doubt: one prompt, and one text, on which all who wrote one agree. Anything else is left
to be named for what it is.
"""

import re
from collections.abc import Mapping

PROMPTS = ("prompt", "instruction", "question", "query", "input", "text")
_DRAFTS = ("response", "answer", "completion", "output", "generation", "draft", "reference", "system", "system_prompt")
_WRITTEN = re.compile(r"respon|answer|complet|correct|output|rewrit|improve|edit|target|generat|repl", re.IGNORECASE)
_SKIPPED = ("was_cancelled", "skipped")
Placed = tuple[str, object]


def is_label_studio(record: Mapping[str, object]) -> bool:
    """Whether a record is a task of Label Studio as JSON."""
    return isinstance(record.get("data"), Mapping) and isinstance(record.get("annotations"), list)


def is_argilla(record: Mapping[str, object]) -> bool:
    """Whether a record is one of Argilla's."""
    return isinstance(record.get("fields"), Mapping) and isinstance(record.get("responses"), Mapping | list)


def label_studio_turns(record: Mapping[str, object]) -> tuple[Placed, ...] | None:
    """The prompt of a task and the one text that was written for it; None where there is none, or more than one."""
    if not is_label_studio(record):
        return None
    texts: list[str] = []
    for annotation in record["annotations"]:  # type: ignore[attr-defined]
        if not isinstance(annotation, Mapping) or any(annotation.get(key) for key in _SKIPPED):
            continue
        result = annotation.get("result")
        areas = [one for one in result if _is_textarea(one)] if isinstance(result, list) else []
        if len(areas) != 1 or not _WRITTEN.search(str(areas[0].get("from_name"))):
            return None
        texts += areas[0]["value"]["text"]
    return _turns(record["data"], "data", "annotations", texts)


def argilla_turns(record: Mapping[str, object]) -> tuple[Placed, ...] | None:
    """The prompt of a record and the one text that was submitted for it; None where there is none, or more."""
    if not is_argilla(record) or record.get("status") == "discarded":
        return None
    given: dict[str, list[object]] = {}
    responses = record["responses"]
    if isinstance(responses, Mapping):
        for name, answers in responses.items():
            kept = [one for one in answers if isinstance(one, Mapping)] if isinstance(answers, list) else []
            given[str(name)] = [one.get("value") for one in kept if one.get("status") not in ("discarded", "draft")]
    else:
        for one in responses:  # type: ignore[attr-defined]
            values = one.get("values") if isinstance(one, Mapping) else None
            if isinstance(values, Mapping) and one.get("status", "submitted") == "submitted":
                for name, value in values.items():
                    given.setdefault(str(name), []).append(value.get("value") if isinstance(value, Mapping) else value)
    texts = {name: values for name, values in given.items() if values and all(isinstance(one, str) for one in values)}
    texts = {name: values for name, values in texts.items() if _WRITTEN.search(name)}
    if len(texts) != 1:
        return None
    return _turns(record["fields"], "fields", "responses", [str(one) for one in next(iter(texts.values()))])


def _is_textarea(one: object) -> bool:
    value = one.get("value") if isinstance(one, Mapping) and one.get("type") == "textarea" else None
    text = value.get("text") if isinstance(value, Mapping) else None
    return isinstance(text, list) and len(text) == 1 and isinstance(text[0], str)


def _turns(data: object, field: str, answers: str, texts: list[str]) -> tuple[Placed, ...] | None:
    if len(set(texts)) != 1 or not isinstance(data, Mapping):
        return None
    names = [key for key in PROMPTS if isinstance(data.get(key), str) and data[key]]
    words = [key for key, value in data.items() if isinstance(value, str) and " " in value and key not in _DRAFTS]
    if names not in ([*names[:1]], ["instruction", "input"]) or not names or not set(words) <= set(names):
        return None  # more than one text may belong to the prompt
    prompt = "\n\n".join(str(data[name]) for name in names)
    system = next((data[key] for key in ("system", "system_prompt") if isinstance(data.get(key), str)), "")
    opening: tuple[Placed, ...] = ((field, {"role": "system", "content": system}),) if system else ()
    question = {"role": "user", "content": prompt}
    return (*opening, (f"{field}.{names[0]}", question), (answers, {"role": "assistant", "content": texts[0]}))
