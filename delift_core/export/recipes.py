"""Recipes to read an exported file: a TRL script, a LLaMA-Factory entry for dataset_info.json, an Axolotl stanza.

They depend on the shape of the file alone. The check table of `trainers` holds for files that are read with them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from delift_core.data.formats.base import known_role
from delift_core.export.shapes import MEDIA, Shape, training_field
from delift_core.export.trainer_rules import TRAINERS, Trainer, tool_role_word, why_unreadable

_ENDINGS: dict[Trainer, str] = {"TRL": "trl.py", "LLaMA-Factory": "dataset_info.json", "Axolotl": "axolotl.yaml"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A text file for one trainer, with its name."""

    trainer: Trainer
    file: str
    text: str


def recipes(
    shape: Shape, data_file: str, limit: int, json_columns: Sequence[str] = (), chosen: Sequence[Sequence[int]] = ()
) -> tuple[Recipe, ...]:
    """A recipe for each trainer that can read files of this shape.

    Args:
        data_file: name of the exported file, in the folder of the recipe.
        limit: longest row in tokens.
        json_columns: the columns of a table that hold JSON text.
        chosen: the positions of the answers to train among the turns of each record, if records hold several rows;
            without it the last answer is trained.
    """
    notes = _datasets_version_note(shape, json_columns)
    stem = Path(data_file).stem
    texts: dict[Trainer, str] = {
        "TRL": _trl(shape, data_file, limit, notes, chosen),
        "LLaMA-Factory": _llama_factory(shape, stem, data_file),
        "Axolotl": _axolotl(shape, data_file, limit, notes),
    }
    return tuple(
        Recipe(trainer, recipe_file(trainer, data_file), texts[trainer])
        for trainer in TRAINERS
        if not why_unreadable(trainer, shape)
    )


def recipe_file(trainer: Trainer, data_file: str) -> str:
    """The name of a trainer's recipe for an exported file."""
    return f"{Path(data_file).stem}.{_ENDINGS[trainer]}"


def _datasets_version_note(shape: Shape, json_columns: Sequence[str]) -> list[str]:
    """A comment about the version of `datasets` that the file needs, if any."""
    if json_columns:
        names = ", ".join(json_columns)
        return [f"# Needs datasets 4.7 or later, which reads {names} as objects; elsewhere it is text for json.loads."]
    if shape.inconsistent:
        return [
            "# Needs datasets 4.7 or later: older ones stop at mixed types, and fill in arguments that a call lacks."
        ]
    return []


def _trl(shape: Shape, data_file: str, limit: int, notes: Sequence[str], chosen: Sequence[Sequence[int]]) -> str:
    kind = "parquet" if data_file.endswith(".parquet") else "csv" if data_file.endswith(".csv") else "json"
    read = f'data = load_dataset("{kind}", data_files={json.dumps(data_file)}, split="train")'
    split = _trl_split(shape, several=bool(chosen))
    named = "Dataset, load_dataset" if chosen and split else "load_dataset"
    lines = [f"from datasets import {named}", "from trl import SFTConfig, SFTTrainer", "", *notes, read]
    mixed = ', on_mixed_types="use_json"' if shape.inconsistent else ""
    if split:
        lines[3:3] = [*split, ""]
    if split and chosen:
        lines += [
            "# Of each record, the positions of the answers that were chosen among its turns.",
            f"CHOSEN = {[list(ends) for ends in chosen]!r}",
            'kept = [name for name in data.column_names if name == "tools"]',
            "pairs = zip(data, CHOSEN, strict=True)",
            "rows = [{**{name: row[name] for name in kept}, **one} for row, ends in pairs for one in split(row, ends)]",
            f"data = Dataset.from_list(rows{mixed})",
        ]
    elif split:
        lines += ['others = [name for name in data.column_names if name != "tools"]']
        lines += [f"data = data.map(split, remove_columns=others{mixed})"]
    elif shape.media:
        lines += [f"data = data.remove_columns({list(shape.media)!r})"]
    loss = "# With a prompt and a completion the loss is on the completion only."
    only = ", completion_only_loss=True"
    if shape.name == "text":
        loss, only = "# The loss is on the whole text.", ""
    return "\n".join(
        [
            *lines,
            "",
            loss,
            f'config = SFTConfig(output_dir="out", max_length={limit}{only})',
            'SFTTrainer(model="your/model", args=config, train_dataset=data).train()',
            "",
        ]
    )


def _trl_split(shape: Shape, *, several: bool) -> list[str]:
    """The lines of a function that splits a row into prompt and completion; none if the file has these.

    Args:
        several: the function takes the answers of the row to train, and returns a list.
    """
    plain = shape.name == "prompt-completion" and not (shape.parts or shape.system or shape.history)
    if shape.name not in ("turns", "alpaca", "prompt-completion") or plain:
        return []
    before, turns = _turn_functions(shape) if shape.name == "turns" else ([], _flat_turns(shape))
    opening = (
        [f'    if row.get({shape.system!r}) and (not turns or turns[0]["role"] != "system"):']
        + [f'        turns.insert(0, {{"role": "system", "content": row[{shape.system!r}]}})']
        if shape.system
        else []
    )
    if several:
        end = ['    return [{"prompt": turns[:at], "completion": turns[at:at + 1]} for at in ends]']
        return [*before, "def split(row, ends):", *turns, *opening, *end]
    masked = " and is_trained(turn)" if shape.masks and shape.name == "turns" else ""
    end = [
        f'    last = max(at for at, turn in enumerate(turns) if turn["role"] == "assistant"{masked})',
        '    return {"prompt": turns[:last], "completion": turns[last:last + 1]}',
    ]
    return [*before, "def split(row):", *turns, *opening, *end]


def _turn_functions(shape: Shape) -> tuple[list[str], list[str]]:
    """The lines of functions that convert a turn, and the line that converts all turns of a row."""
    names = {word: known_role(word) for word in shape.roles if known_role(word)}
    role, text = shape.role_key, shape.text_key
    others = "" if (role, text) == ("role", "content") else f" if key not in {(role, text)!r}"
    numbers = {"0": ["0", "0.0"], "0.0": ["0", "0.0"], "1": ["1", "1.0"], "1.0": ["1", "1.0"]}
    masks = {name: [word for value in values for word in numbers.get(value, [value])] for name, values in shape.masks}
    trained = [
        "# The values with which a turn is marked as not to be trained.",
        f"MASKED = {masks!r}",
        "",
        "def is_trained(turn):",
        "    return not any(str(turn.get(name)).strip().lower() in words for name, words in MASKED.items())",
        "",
    ]
    before = [
        f"ROLES = {names!r}",
        "",
        *(trained if masks else []),
        "def spell(turn):",
        f"    rest = {{key: value for key, value in turn.items(){others}}}",
        f"    return {{**rest, 'role': ROLES[turn[{role!r}]], 'content': turn.get({text!r})}}",
        "",
    ]
    return before, [f"    turns = [spell(turn) for turn in row[{shape.turns!r}]]"]


def _flat_turns(shape: Shape) -> list[str]:
    """The lines that make turns from the columns of a flat record."""
    columns = [f"row[{shape.prompt!r}]", *(f"row.get({name!r})" for name in shape.parts)]
    history = (
        [f"    for question, answer in row[{shape.history!r}] or []:"]
        + ['        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]']
        if shape.history
        else []
    )
    return [
        "    turns = []",
        *history,
        f'    text = "\\n\\n".join(part for part in ({", ".join(columns)},) if part)',
        '    turns.append({"role": "user", "content": text})',
        f'    turns.append({{"role": "assistant", "content": row[{shape.response!r}]}})',
    ]


def _llama_factory(shape: Shape, stem: str, data_file: str) -> str:
    entry: dict[str, object] = {"file_name": data_file}
    tools = "tools" in shape.columns and shape.tools_are_text
    if shape.name == "turns":
        columns = {"messages": shape.turns}
        entry["formatting"] = "sharegpt"
        entry["tags"] = {
            "role_tag": shape.role_key,
            "content_tag": shape.text_key,
            "user_tag": shape.role_word("user"),
            "assistant_tag": shape.role_word("assistant"),
            "observation_tag": tool_role_word(shape),
            "function_tag": "function_call",
            # Without it a row with a system turn is left out.
            "system_tag": shape.role_word("system"),
        }
    elif shape.name == "text":
        columns = {"prompt": "text"}  # for `stage: pt`
    else:
        # A column that is not named is lost, and one that is named and not there stops the load.
        columns = {"prompt": shape.prompt, "response": shape.response}
        if shape.query:
            columns["query"] = shape.query
        if shape.history:
            columns["history"] = shape.history
    if shape.system:
        columns["system"] = shape.system
    if tools:
        columns["tools"] = "tools"
    columns |= {MEDIA[name]: name for name in shape.media}
    entry["columns"] = columns
    return json.dumps({stem: entry}, ensure_ascii=False, indent=2) + "\n"


def _axolotl(shape: Shape, data_file: str, limit: int, notes: Sequence[str]) -> str:
    lines = [*notes, "datasets:", f"  - path: {json.dumps(data_file)}"]
    if not data_file.endswith((".parquet", ".csv")):
        lines.append("    ds_type: json")
    if shape.name == "turns":
        lines += [
            "    type: chat_template",
            f"    field_messages: {json.dumps(shape.turns)}",
            "    message_property_mappings:",
            f"      role: {json.dumps(shape.role_key)}",
            f"      content: {json.dumps(shape.text_key)}",
            '    roles_to_train: ["assistant"]',
        ]
        mask = training_field(shape)
        lines += [f"    message_field_training: {json.dumps(mask)}"] if mask else []
    elif shape.name == "text":
        lines += ["    type: completion", "    field: text"]
    else:
        prompt, response, system = shape.prompt, shape.response, shape.system
        if (prompt, response, system) == ("instruction", "output", None):
            lines.append("    type: alpaca")
        else:
            lines += ["    type:", f"      field_instruction: {json.dumps(prompt)}"]
            lines += [f"      field_input: {json.dumps(shape.query)}"] if shape.query else []
            lines += [f"      field_output: {json.dumps(response)}"]
            lines += [f"      field_system: {json.dumps(system)}"] if system else []
            lines += ['      format: "{instruction}\\n\\n{input}"', '      no_input_format: "{instruction}"']
    lines += [
        f"sequence_len: {limit}",
        "# The default leaves longer rows out without stopping.",
        "excess_length_strategy: raise",
    ]
    return "\n".join(lines) + "\n"
