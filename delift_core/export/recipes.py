"""What each trainer needs to read an exported file: a TRL script, a dataset_info.json entry, an Axolotl stanza.

Made from the shape of the file alone; the check table of `trainers` holds for files that are read like this.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from delift_core.export.media import MEDIA
from delift_core.export.shapes import Shape
from delift_core.export.trainers import TRAINERS, Trainer, observation_word, refusal
from delift_core.formats.base import ROLES

SYSTEM_COLUMNS = ("system", "system_prompt")
_ENDINGS: dict[Trainer, str] = {"TRL": "trl.py", "LLaMA-Factory": "dataset_info.json", "Axolotl": "axolotl.yaml"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """A text file for one trainer; `file` is a name for it."""

    trainer: Trainer
    file: str
    text: str


def recipes(shape: Shape, data_file: str, limit: int, json_columns: Sequence[str] = ()) -> tuple[Recipe, ...]:
    """A recipe for each trainer that can read files of this shape.

    Args:
        data_file: name of the exported file, which is to lie beside the recipe.
        limit: longest row in tokens.
        json_columns: the columns of a table that hold JSON text.
    """
    needs = _what_datasets_is_needed(shape, json_columns)
    stem = Path(data_file).stem
    texts: dict[Trainer, str] = {
        "TRL": _trl(shape, data_file, limit, needs),
        "LLaMA-Factory": _llama_factory(shape, stem, data_file),
        "Axolotl": _axolotl(shape, data_file, limit, needs),
    }
    return tuple(
        Recipe(trainer, recipe_file(trainer, data_file), texts[trainer])
        for trainer in TRAINERS
        if not refusal(trainer, shape)
    )


def recipe_file(trainer: Trainer, data_file: str) -> str:
    """The name of a trainer's recipe for an exported file."""
    return f"{Path(data_file).stem}.{_ENDINGS[trainer]}"


def _what_datasets_is_needed(shape: Shape, json_columns: Sequence[str]) -> list[str]:
    """A comment, where the file needs a version of `datasets`."""
    if json_columns:
        names = ", ".join(json_columns)
        return [f"# Needs datasets 4.7 or later, which reads {names} as objects; elsewhere it is text for json.loads."]
    if shape.uneven:
        return [
            "# Needs datasets 4.7 or later: older ones stop at mixed types, and fill in arguments that a call lacks."
        ]
    return []


def _trl(shape: Shape, data_file: str, limit: int, needs: Sequence[str]) -> str:
    kind = "parquet" if data_file.endswith(".parquet") else "csv" if data_file.endswith(".csv") else "json"
    read = f'data = load_dataset("{kind}", data_files={json.dumps(data_file)}, split="train")'
    lines = ["from datasets import load_dataset", "from trl import SFTConfig, SFTTrainer", "", *needs, read]
    split = _trl_split(shape)
    if split:
        lines[3:3] = [*split, ""]
        mixed = ', on_mixed_types="use_json"' if shape.uneven else ""
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


def _trl_split(shape: Shape) -> list[str]:
    """A function that makes prompt and completion of a row; none where the file has them."""
    system = next((name for name in SYSTEM_COLUMNS if name in shape.columns), None)
    opening = (
        [f'    if row.get({system!r}) and (not turns or turns[0]["role"] != "system"):']
        + [f'        turns.insert(0, {{"role": "system", "content": row[{system!r}]}})']
        if system
        else []
    )
    if shape.name == "turns":
        names = {word: ROLES[word.strip().lower()] for word in shape.roles if word.strip().lower() in ROLES}
        role, text = shape.role_key, shape.text_key
        others = "" if (role, text) == ("role", "content") else f" if key not in {(role, text)!r}"
        return [
            f"ROLES = {names!r}",
            "",
            "def spell(turn):",
            f"    rest = {{key: value for key, value in turn.items(){others}}}",
            f"    return {{**rest, 'role': ROLES[turn[{role!r}]], 'content': turn.get({text!r})}}",
            "",
            "def split(row):",
            f"    turns = [spell(turn) for turn in row[{shape.turns!r}]]",
            *opening,
            '    last = max(at for at, turn in enumerate(turns) if turn["role"] == "assistant")',
            '    return {"prompt": turns[:last], "completion": turns[last:last + 1]}',
        ]
    if shape.name != "alpaca":
        return []
    parts = f"(row[{shape.prompt!r}], row.get({shape.query!r}))" if shape.query else f"(row[{shape.prompt!r}],)"
    history = (
        ['    for question, answer in row["history"] or []:']
        + ['        turns += [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]']
        if "history" in shape.columns
        else []
    )
    return [
        "def split(row):",
        "    turns = []",
        *history,
        *opening,
        f'    text = "\\n\\n".join(part for part in {parts} if part)',
        '    turns.append({"role": "user", "content": text})',
        f'    return {{"prompt": turns, "completion": [{{"role": "assistant", "content": row[{shape.response!r}]}}]}}',
    ]


def _llama_factory(shape: Shape, stem: str, data_file: str) -> str:
    entry: dict[str, object] = {"file_name": data_file}
    system = next((name for name in SYSTEM_COLUMNS if name in shape.columns), None)
    tools = "tools" in shape.columns and shape.tools_are_text
    if shape.name == "turns":
        columns = {"messages": shape.turns}
        entry["formatting"] = "sharegpt"
        entry["tags"] = {
            "role_tag": shape.role_key,
            "content_tag": shape.text_key,
            "user_tag": shape.word_of("user"),
            "assistant_tag": shape.word_of("assistant"),
            "observation_tag": observation_word(shape),
            "function_tag": "function_call",
            # Without it a row with a system turn is left out.
            "system_tag": shape.word_of("system"),
        }
    elif shape.name == "prompt-completion":
        columns = {"prompt": "prompt", "response": "completion"}
    elif shape.name == "text":
        columns = {"prompt": "text"}  # for `stage: pt`
    else:
        # A column that is not named is lost, and one that is named and not there stops the load.
        columns = {"prompt": shape.prompt, "response": shape.response}
        if shape.query:
            columns["query"] = shape.query
        if "history" in shape.columns:
            columns["history"] = "history"
    if system:
        columns["system"] = system
    if tools:
        columns["tools"] = "tools"
    columns |= {MEDIA[name]: name for name in shape.media}
    entry["columns"] = columns
    return json.dumps({stem: entry}, ensure_ascii=False, indent=2) + "\n"


def _axolotl(shape: Shape, data_file: str, limit: int, needs: Sequence[str]) -> str:
    lines = [*needs, "datasets:", f"  - path: {json.dumps(data_file)}"]
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
    elif shape.name == "text":
        lines += ["    type: completion", "    field: text"]
    else:
        prompt, response = (
            ("prompt", "completion") if shape.name == "prompt-completion" else (shape.prompt, shape.response)
        )
        system = next((name for name in SYSTEM_COLUMNS if name in shape.columns), None)
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
