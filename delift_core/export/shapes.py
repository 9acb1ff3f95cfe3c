"""The shape of an exported file: the layout of its records, and the keys, roles and media in them.

A trainer reads a file by one configuration, so a file has one shape, the most frequent one of its records.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from delift_core.data.formats import detect_columns, flat_columns
from delift_core.data.formats.base import LIST_KEYS, ROLE_KEYS, SYSTEM_KEYS, is_missing, known_role
from delift_core.data.formats.conversations import find_conversation
from delift_core.data.formats.flat_records import sort_parts
from delift_core.data.formats.training_labels import flag_means_trained, is_trained, turn_flags
from delift_core.data.formats.turns import is_turn_list
from delift_core.data.loading.json_scanner import DECODER
from delift_core.samples import Sample

# Columns of images, videos and audio, with LLaMA-Factory's name for them.
MEDIA = {name: f"{kind}s" for kind in ("image", "video", "audio") for name in (kind, f"{kind}s")}


def media_of(record: object) -> tuple[str, ...]:
    """The columns of a record with images, videos or audio."""
    if not isinstance(record, Mapping):
        return ()
    return tuple(str(key) for key in record if key in MEDIA and record[key])


def describe_media(samples: Sequence[Sample]) -> str:
    """A sentence about rows with images, videos or audio; "" if there are none."""
    found = [sample for sample in samples if media_of(DECODER.decode(sample.raw))]
    if not found:
        return ""
    return (
        f"{len(found):,} rows have images, videos or audio beside their text, the first is {found[0].place} of "
        f"{found[0].source}; the utility is of the text alone"
    )


def count_placeholders(texts: Sequence[str], column: str) -> int:
    """How often the placeholder of a column occurs in some texts."""
    return sum(text.count(media_placeholder(column)) for text in texts)


def media_placeholder(column: str) -> str:
    """The placeholder in a text for an element of a column, such as <image>."""
    return f"<{MEDIA[column].removesuffix('s')}>"


_TYPE_MESSAGE = "`{path}` differs in type between rows: datasets before 4.7 stops the load"
_KEY_MESSAGE = "`{path}` differs in keys between rows: datasets before 4.7 adds the others' keys as null"


def inconsistent_rows(records: Sequence[object]) -> dict[int, str]:
    """A message for each row whose values differ in type or keys from those of most rows."""
    types: dict[str, Counter[str]] = {}
    keys: dict[str, set[str]] = {}
    found = [list(_values(record, "")) if isinstance(record, Mapping) else [] for record in records]
    for values in found:
        for path, kind, names in values:
            types.setdefault(path, Counter())[kind] += 1
            if names is not None:
                keys.setdefault(path, set()).update(names)
    usual = {path: counts.most_common(1)[0][0] for path, counts in types.items()}
    messages: dict[int, str] = {}
    for row, values in enumerate(found):
        words = next(
            (_TYPE_MESSAGE.format(path=path) for path, kind, _ in values if kind != usual[path]), None
        ) or next(
            (_KEY_MESSAGE.format(path=path) for path, _, names in values if names is not None and names != keys[path]),
            None,
        )
        if words:
            messages[row] = words
    return messages


def null_columns(records: Sequence[object]) -> tuple[str, ...]:
    """The columns that are null in every row."""
    filled: dict[str, bool] = {}
    for record in records:
        for key, value in record.items() if isinstance(record, Mapping) else ():
            filled[str(key)] = filled.get(str(key), False) or value is not None
    return tuple(key for key, some in filled.items() if not some)


def _values(value: object, path: str) -> Iterator[tuple[str, str, set[str] | None]]:
    """(path, type, keys) of each value in a record; None for the keys of the record and its turns, which may vary."""
    if value is None:
        return
    if isinstance(value, Mapping):
        optional = not path or (
            path.count("[]") == 1 and path.endswith("[]") and any(key in value for key in ROLE_KEYS)
        )
        if path:
            yield path, "object", None if optional else {str(key) for key in value}
        for key, item in value.items():
            yield from _values(item, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        yield path, "list", None
        for item in value:
            yield from _values(item, f"{path}[]")
    else:
        yield path, _TYPE_NAMES.get(type(value), "number"), None


_TYPE_NAMES = {str: "text", bool: "true or false"}


ShapeName = Literal["alpaca", "turns", "prompt-completion", "prompt-completion-turns", "text", "unknown"]
SHAPE_NAMES: dict[ShapeName, str] = {
    "alpaca": "a prompt and a response column",
    "turns": "a list of turns",
    "prompt-completion": "prompt and completion as text",
    "prompt-completion-turns": "prompt and completion as turns",
    "text": "one text",
    "unknown": "records of no shape that trainers read",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """The layout of a file's records."""

    name: ShapeName  # "alpaca" is any flat record with a prompt and a response column
    prompt: str = "instruction"  # the columns of flat records
    parts: tuple[str, ...] = ()  # columns that are joined to the prompt, in order
    history: str | None = None  # the column of earlier turns, if there is one
    response: str = "output"  # the columns of flat records
    turns: str = "messages"  # the key of the list of turns
    role_key: str = "role"  # the keys of a turn ("role" and "content", or "from" and "value")
    text_key: str = "content"  # the keys of a turn ("role" and "content", or "from" and "value")
    columns: tuple[str, ...] = ()  # every key that occurs, in order of first appearance
    tools_are_text: bool = True  # whether all tool definitions are JSON written as text
    roles: tuple[str, ...] = ()  # every role word that occurs, the most frequent first
    media: tuple[str, ...] = ()  # the columns with images, videos or audio
    inconsistent: bool = False  # whether objects of the rows differ in keys or types, see `inconsistent_rows`
    # Each field that flags turns as untrained, with the values that say so, as text in lower case.
    masks: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def query(self) -> str | None:
        """The first column that is joined to the prompt; some trainers join only one."""
        return self.parts[0] if self.parts else None

    @property
    def system(self) -> str | None:
        """The column of the system text, if there is one."""
        return next((name for key in SYSTEM_KEYS for name in self.columns if name.lower() == key), None)

    def role_word(self, role: str) -> str:
        """The most frequent word for a role in the file; the role itself if there is none."""
        return next((word for word in self.roles if known_role(word) == role), role)


def shape_of_file(records: Sequence[object]) -> Shape:
    """The most frequent shape of the records, ties to the first."""
    found = [shape_of(record) for record in records]
    if not found:
        return Shape("unknown")
    best = Counter(found).most_common(1)[0][0]
    objects = [record for record in records if isinstance(record, Mapping)]
    turns = [turn for record in objects for turn in turns_of(record, best) or []] if best.name == "turns" else []
    roles = Counter(str(turn[best.role_key]) for turn in turns if best.role_key in turn)
    parts = _parts(objects, best)
    lists = (name for name in parts if any(isinstance(one.get(name), list) and one[name] for one in objects))
    history = next(lists, None)
    return replace(
        best,
        parts=tuple(name for name in parts if name != history),
        history=history,
        columns=tuple(dict.fromkeys(str(key) for record in objects for key in record)),
        tools_are_text=all(isinstance(record.get("tools"), str | None) for record in objects),
        roles=tuple(word for word, _ in roles.most_common()),
        media=tuple(dict.fromkeys(name for record in objects for name in media_of(record))),
        inconsistent=bool(inconsistent_rows(records)),
        masks=_masks(turns),
    )


def shape_of(record: object) -> Shape:
    """The shape of one record, without the attributes that depend on the whole file."""
    if not isinstance(record, Mapping) or ("chosen" in record and "rejected" in record):
        return Shape("unknown")
    for key in LIST_KEYS:
        if isinstance(record.get(key), list):
            return _turns_shape(key, record[key])
    if "prompt" in record and "completion" in record:
        both_turns = isinstance(record["prompt"], list) and isinstance(record["completion"], list)
        return (
            Shape("prompt-completion-turns")
            if both_turns
            else Shape("prompt-completion", prompt="prompt", response="completion")
        )
    if "instruction" in record and ("output" in record or "response" in record):
        return Shape("alpaca", response="output" if "output" in record else "response")
    mapping = detect_columns(record)
    if mapping is not None:
        return Shape("alpaca", prompt=mapping.prompt, response=mapping.response)
    conversation = find_conversation(record)
    key = conversation.key if conversation is not None and conversation.is_list else ""
    if conversation is not None and key and conversation.field == key and is_turn_list(record[key]):
        return _turns_shape(key, record[key])
    return Shape("text") if isinstance(record.get("text"), str) else Shape("unknown")


def turns_of(record: object, shape: Shape) -> list[Mapping[str, object]] | None:
    """The turns of a record under the key of the file's shape; None if there is no list of objects."""
    turns = record.get(shape.turns) if isinstance(record, Mapping) else None
    if not isinstance(turns, list) or not all(isinstance(turn, Mapping) for turn in turns):
        return None
    return turns


def _turns_shape(key: str, turns: Iterable[object]) -> Shape:
    first = next(iter(turns), None)
    if first is None:
        return Shape("turns", turns=key)
    if not isinstance(first, Mapping):
        return Shape("unknown")
    if "role" not in first and "from" not in first:
        return Shape("unknown")
    return Shape(
        "turns",
        turns=key,
        role_key="role" if "role" in first else "from",
        text_key="value" if "value" in first else "content",
    )


def _parts(records: Sequence[Mapping[str, object]], shape: Shape) -> tuple[str, ...]:
    if shape.name not in ("alpaca", "prompt-completion"):
        return ()
    flat = map(flat_columns, records)
    found = dict.fromkeys(name for one in flat if one is not None for name in one.parts)
    return sort_parts(name for name in found if name not in (shape.prompt, shape.response))


def _masks(turns: Iterable[Mapping[str, object]]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found: dict[str, dict[str, None]] = {}
    for turn in turns:
        for name in turn_flags([turn]):
            value = turn[name]
            if isinstance(value, str | bool | int | float) and not is_missing(value) and not is_trained({name: value}):
                found.setdefault(name, {})[str(value).strip().lower()] = None
    return tuple((name, tuple(values)) for name, values in found.items())


def training_field(shape: Shape) -> str | None:
    """The training flag of turns that can be named to a trainer: true or 1 for trained, false or 0 for untrained."""
    untrained = {"false", "0", "0.0"}
    return next(
        (name for name, values in shape.masks if flag_means_trained(name) and untrained.issuperset(values)), None
    )
