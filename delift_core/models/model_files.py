"""Check that a model exists, from its name and files alone, without loading it."""

import json
from pathlib import Path

from delift_core.errors import ModelError
from delift_core.models.bundled import BUNDLED, ensure_bundled
from delift_core.system.files import abbreviated, why_invalid_path, why_unreadable
from delift_core.system.hub import FOUND, Outcome, probe

_NEEDED = "it needs config.json, tokenizer files and safetensors weights"
_INDEX = "model.safetensors.index.json"
CONFIG, ADAPTER = "config.json", "adapter_config.json"


def check_model(name: str, *, ask_hub: bool = True) -> None:
    """Refuses a model that certainly does not exist; takes a second, or five if the hub is slow.

    Args:
        name: "bundled", a local folder, or a hub id.
        ask_hub: whether to ask the hub for an id that is not in the local cache.

    Raises:
        ModelError: the message says what is missing and what to do.
    """
    if name == BUNDLED:
        ensure_bundled()
        return
    if words := why_invalid_path(Path(name)):
        raise ModelError(f"model: {words}")
    if Path(name).is_dir():
        _check_folder(Path(name))
    elif Path(name).exists():
        raise ModelError(f"{abbreviated(Path(name))} is a file; give the folder of a model: {_NEEDED}")
    elif name.startswith(("/", ".", "~")) or name.count("/") > 1 or not name:
        raise ModelError(
            f"the folder {name!r} does not exist; check the path, give a hub id (owner/name), or use 'bundled'"
        )
    else:
        _check_hub(name, ask_hub)


def adapter_base(folder: str | Path) -> str | None:
    """The base model of the LoRA adapter in a folder; None if the folder holds no adapter, or a whole model.

    Raises:
        ModelError: the adapter's configuration cannot be read.
    """
    path = Path(folder)
    if (path / CONFIG).exists() or not (path / ADAPTER).exists():
        return None
    base = _read_json(path / ADAPTER).get("base_model_name_or_path")
    if not isinstance(base, str) or not base:
        raise ModelError(f"{path / ADAPTER} names no base model; save the adapter again")
    return base


def tokenizer_source(folder: str | Path) -> str | Path:
    """Where to load a model's tokenizer from: its own folder, or that of the base model for an adapter without one."""
    path = Path(folder)
    own = any((path / name).exists() for name in ("tokenizer.json", "tokenizer_config.json", "tokenizer.model"))
    return folder if own else adapter_base(folder) or folder


def _check_folder(folder: Path) -> None:
    if words := why_unreadable(folder):
        raise ModelError(words)
    base = adapter_base(folder)
    if base is not None:
        if not (folder / "adapter_model.safetensors").exists():
            raise ModelError(f"{abbreviated(folder)} holds no adapter_model.safetensors; save the adapter again")
        try:
            check_model(base)
        except ModelError as error:
            raise ModelError(
                f"{abbreviated(folder)} is a LoRA adapter of {base!r}, which is missing: {error}"
            ) from error
        return
    if not (folder / CONFIG).exists():
        raise ModelError(f"{abbreviated(folder)} holds no {CONFIG}: {_NEEDED}")
    _read_json(folder / CONFIG)
    if not any(folder.glob("*.safetensors")):
        other = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.gguf"))
        remedy = "; convert its weights, which are read as safetensors only" if other else ""
        raise ModelError(f"{abbreviated(folder)} holds no safetensors weights{remedy or f': {_NEEDED}'}")
    if (folder / _INDEX).exists():
        _check_shards(folder)


def _check_shards(folder: Path) -> None:
    weight_map = _read_json(folder / _INDEX).get("weight_map")
    names = sorted({str(name) for name in weight_map.values()}) if isinstance(weight_map, dict) else []
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{abbreviated(folder)} lacks {len(missing):,} of {len(names):,} weight files, such as {missing[0]}; "
            "download the model again"
        )


def _read_json(path: Path) -> dict[str, object]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(
            f"{abbreviated(path)} cannot be read ({' '.join(str(error).split())[:120]}); download the model again"
        ) from error
    if not isinstance(found, dict):
        raise ModelError(f"{abbreviated(path)} is not a JSON object; download the model again")
    return found


def _check_hub(name: str, ask: bool) -> None:
    """Refuses an id that neither the local cache nor the hub has."""
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        if any(isinstance(try_to_load_from_cache(name, file), str) for file in (CONFIG, ADAPTER)):
            return
    except HFValidationError as error:
        raise ModelError(f"{name!r} is neither a folder nor a hub id, which is written owner/name") from error
    answer = probe("model", name) if ask else FOUND
    if answer.found:
        return
    instead = "give a local folder, or use 'bundled'"
    refusals: dict[Outcome, str] = {
        "bad-id": f"{name!r} is neither a folder nor a hub id, which is written owner/name",
        "no-revision": f"the hub has no such revision of {name}; {instead}",
        "no-repo": f"the hub has no model {name!r} that you may read; check the id, set HF_TOKEN for a gated one, "
        f"{instead}",
        "refused": f"the hub refused {name} ({answer.reason}); try later, {instead}",
        "unreachable": f"the hub cannot be reached for model {name!r} ({answer.reason}), and it is not in the local "
        f"cache; {instead}",
    }
    raise ModelError(refusals[answer.outcome]) from answer.error
