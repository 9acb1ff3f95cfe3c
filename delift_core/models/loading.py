"""Find and load the causal language model that will be fine-tuned.

A model is named by a hub id, a local folder, or "bundled" (see `model_files`). Loading is safe: only safetensors are
read, and no code that comes with a model is run. This module knows nothing of prompts or scoring.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from delift_core.errors import ModelError
from delift_core.models.model_files import BUNDLED, adapter_base, bundled_folder, hash_files, tokenizer_source
from delift_core.system.hub import probe
from delift_core.system.memory import LEAST_MEMORY, available_memory
from delift_core.system.texts import byte_size

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16", "mixed"]
DtypeName = Literal["auto", Precision]
# Of a weight; a mixed model has float32 embeddings and a separate bfloat16 output layer.
_WEIGHT_BYTES: dict[Precision, int] = {"float32": 4, "bfloat16": 2, "mixed": 3}


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Everything about a model that its numbers depend on."""

    name: str  # as given by the user
    revision: str  # hub commit, or a hash of the contents of a local folder or the bundled file
    dtype: Precision  # precision of the forward pass; "mixed" is bfloat16 in matrix products and float32 elsewhere
    context_length: int  # longest sequence, in tokens, that can be scored
    parameters: int  # number of weights

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights."""
        return _WEIGHT_BYTES[self.dtype] * self.parameters


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    identity: ModelIdentity

    @property
    def device(self) -> "torch.device":
        """The device of the weights."""
        return self.model.device


def load_model(name: str = BUNDLED, *, device: DeviceName = "auto", dtype: DtypeName = "auto") -> LoadedModel:
    """Loads a causal language model for scoring.

    Args:
        name: "bundled", a local folder, or a hub id.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" is bfloat16 on a GPU that has it and float32 elsewhere.

    Raises:
        ModelError: not found, not loadable safely, not a causal language model, or no such device.
    """
    where = _resolve_device(device)
    return _load(name, where, _resolve_dtype(dtype, where))


def load_on_every_device(
    name: str = BUNDLED, *, device: DeviceName = "auto", dtype: DtypeName = "auto"
) -> tuple[LoadedModel, ...]:
    """As `load_model`, once on each CUDA device if the device is CUDA."""
    import torch

    where = _resolve_device(device)
    precision = _resolve_dtype(dtype, where)
    count = torch.cuda.device_count() if where == "cuda" else 1
    devices = [f"cuda:{index}" for index in range(count)] if count > 1 else [where]
    return tuple(_load(name, one, precision) for one in devices)


@dataclass(frozen=True, slots=True)
class ModelOutline:
    """A model without its weights, for a process that does not run it: tokenizer and identity."""

    tokenizer: "PreTrainedTokenizerBase"
    identity: ModelIdentity


def read_outline(name: str, precision: Precision) -> ModelOutline:
    """Reads a model's tokenizer and configuration but not its weights.

    Raises:
        ModelError: not found, or not a causal language model.
    """
    from transformers import AutoTokenizer

    folder = bundled_folder() if name == BUNDLED else name
    tokens, base = tokenizer_source(folder), adapter_base(folder) or folder
    local_only = {source: _local_only(source) for source in (tokens, base)}
    with _as_model_error(name):
        tokenizer = AutoTokenizer.from_pretrained(tokens, trust_remote_code=False, local_files_only=local_only[tokens])
        config, parameters = _read_config(base, local_only[base])
    return ModelOutline(tokenizer, _identity(name, folder, precision, config, parameters))


def _read_config(base: str | Path, local_only: bool) -> tuple[Any, int]:
    """A model's configuration and the number of its weights."""
    import torch
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=local_only)
    with torch.device("meta"):
        return config, _auto_class(config).from_config(config).num_parameters()


def _load(name: str, device: str, precision: Precision) -> LoadedModel:
    from delift_core.models.mixed_precision import use_mixed_precision

    folder = bundled_folder() if name == BUNDLED else name
    model, tokenizer = _from_pretrained(folder, name, precision)
    parameters = model.num_parameters()
    model = model.to(device).eval().requires_grad_(False)
    if precision == "mixed":
        use_mixed_precision(model)
    return LoadedModel(model, tokenizer, _identity(name, folder, precision, model.config, parameters))


def _identity(name: str, folder: str | Path, precision: Precision, config: Any, parameters: int) -> ModelIdentity:
    return ModelIdentity(name, _revision(folder), precision, context_length(config), parameters)


def context_length(config: Any) -> int:
    """Longest sequence in tokens that a model was made for; attention windows are shorter, and masked."""
    text = config.get_text_config(decoder=True)
    lengths = (
        getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    )
    return int(next((length for length in lengths if length), 2048))


def _from_pretrained(folder: str | Path, name: str, precision: Precision) -> tuple[Any, Any]:
    import torch
    from transformers import AutoTokenizer
    from transformers.utils import logging as transformers_logging

    cast(Any, transformers_logging).set_verbosity_error()
    cast(Any, transformers_logging).disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    tokens, local_only = tokenizer_source(folder), _local_only(folder)
    tokens_local = local_only if tokens == folder else _local_only(tokens)
    base = adapter_base(folder)
    # Mixed precision rounds the weights itself, so they are loaded as stored and rounded only once.
    dtype = "auto" if precision == "mixed" else getattr(torch, precision)
    with _as_model_error(name):
        tokenizer = AutoTokenizer.from_pretrained(tokens, trust_remote_code=False, local_files_only=tokens_local)
        config, parameters = _read_config(base or folder, _local_only(base) if base else local_only)
        _ensure_weights_fit(name, _WEIGHT_BYTES[precision] * parameters)
        model, found = _auto_class(config).from_pretrained(
            folder,
            dtype=dtype,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=local_only,
            adapter_kwargs={"local_files_only": local_only},  # else peft asks the hub for an adapter
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below
        )
    missing = {*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])}
    if missing:  # transformers fills them with random numbers
        raise ModelError(
            f"{name!r} lacks weights that its config.json asks for ({len(missing):,}, among them {min(missing)}): "
            "it is not a causal language model, or incomplete; download it again or use another model"
        )
    return model, tokenizer


def _ensure_weights_fit(name: str, weights: int) -> None:
    """Refuses a model that does not fit into memory: the system would end the process while it reads the weights.

    Args:
        weights: in bytes; those of a GPU pass through this memory too.
    """
    needed, available = weights + LEAST_MEMORY, available_memory()
    if needed > available:
        raise ModelError(
            f"loading {name!r} needs {byte_size(needed)} of free memory and there are {byte_size(available)}; "
            "use a smaller model, close other programs, or give this machine or container more memory"
        )


def _auto_class(config: Any) -> Any:
    """The loader of the class that a checkpoint was saved from; many models ship as image-and-text classes."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM

    kinds: list[Any] = [AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM]
    saved_as = set(config.architectures or ())
    fitting = [kind for kind in kinds if type(config) in kind._model_mapping]
    exact = (kind for kind in fitting if kind._model_mapping[type(config)].__name__ in saved_as)
    return next(exact, fitting[0] if fitting else AutoModelForCausalLM)


def _local_only(folder: str | Path) -> bool:
    """Whether to read local files only: for a folder, or if the hub is out of reach and a second try takes a minute."""
    return Path(folder).is_dir() or not probe("model", str(folder)).found


@contextmanager
def _as_model_error(name: str) -> Iterator[None]:
    """Converts the errors of the libraries that read a model into a ModelError of one line."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, SafetensorError) as error:
        raise ModelError(_load_failure(name, error)) from error


def _load_failure(name: str, error: Exception) -> str:
    if Path(name).is_dir() or not isinstance(error, OSError):
        reason = " ".join(str(error).split())[:200]
        return (
            f"{name!r} does not hold a causal language model that can be loaded ({reason}); "
            "it needs config.json, tokenizer files and safetensors weights"
        )
    return (
        f"model {name!r} could not be loaded: it is neither in the local cache nor on the hub; "
        "check the id and the network (HF_TOKEN for gated models), give a local folder, or use 'bundled'"
    )


def resolve_precision(device: DeviceName, dtype: DtypeName) -> Precision:
    """The precision that `load_model` would use on this machine.

    Raises:
        ModelError: no such device or precision.
    """
    return _resolve_dtype(dtype, _resolve_device(device))


def device_or_auto(device: DeviceName) -> DeviceName:
    """A device of another machine's settings if this machine has it, else "auto"."""
    return device if device in _devices() else "auto"


def _devices() -> tuple[DeviceName, ...]:
    """The devices of this machine, fastest first."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    every: tuple[tuple[DeviceName, bool], ...] = (("cuda", cuda), ("mps", mps), ("cpu", True))
    return tuple(name for name, present in every if present)


def _resolve_device(device: DeviceName) -> str:
    if device == "auto":
        return _devices()[0]
    if device not in _devices():
        raise ModelError(f"device {device!r} is not available here; use 'auto' or 'cpu'")
    return device


def _resolve_dtype(dtype: DtypeName, device: str) -> Precision:
    import torch

    if dtype == "auto":
        return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if dtype not in get_args(DtypeName):  # it may come from a file
        raise ModelError(f"precision {dtype!r} is not known; use one of {', '.join(get_args(DtypeName))}")
    return dtype


def _revision(folder: str | Path) -> str:
    """A hash of a folder's contents, or the commit of a hub model in the local cache."""
    path = Path(folder)
    if path.is_dir():
        suffixes = {".safetensors", ".json", ".model", ".jinja", ".txt"}
        return hash_files(sorted(file for file in path.iterdir() if file.suffix in suffixes))
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(str(folder), "config.json")
    if not isinstance(config, str):
        raise ModelError(f"the commit of model {folder!r} is not in the hub's cache; give a local folder instead")
    return Path(config).parent.name  # snapshots/COMMIT/config.json
