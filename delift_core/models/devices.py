"""Devices and precisions of this machine; how much memory the weights of a model take, and where they lie.

Weights that fit one device lie there whole. Others are spread by accelerate: layer after layer over all GPUs, and
what is left over in this computer's memory, from where it is copied to a GPU for every batch. Quantised weights stay on
GPUs.
"""

import importlib.util
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from delift_core.errors import ModelError
from delift_core.models.model_files import as_model_error
from delift_core.system.memory import LEAST_MEMORY, available_memory
from delift_core.system.texts import byte_size

if TYPE_CHECKING:
    import torch

DeviceName = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16", "mixed", "nf4"]
DtypeName = Literal["auto", Precision]
_BITSANDBYTES = "bitsandbytes>=0.50.2,<0.51"  # as in pyproject.toml
# Of a weight; a mixed model has float32 embeddings and a separate bfloat16 output layer.
WEIGHT_BYTES: Mapping[Precision, float] = {"float32": 4, "bfloat16": 2, "mixed": 3, "nf4": 2}
_NF4_BYTES = 0.5 + 4 / 64  # four bits, and a float32 scale for 64 weights
_SHARE_OF_GPU = 0.85  # of its free memory; the rest is for keys, values and activations of a batch
_HOST = "cpu"
NOT_QUANTISED = "install what it asks for, or use a checkpoint that is not quantised"


def resolve_precision(device: DeviceName, dtype: DtypeName) -> Precision:
    """The precision that `load_model` would use on this machine.

    Raises:
        ModelError: no such device or precision.
    """
    return resolve_dtype(dtype, resolve_device(device))


def device_or_auto(device: DeviceName) -> DeviceName:
    """A device of another machine's settings if this machine has it, else "auto"."""
    return device if device in _devices() else "auto"


def _devices() -> tuple[DeviceName, ...]:
    """The devices of this machine, fastest first."""
    import torch

    cuda, mps = torch.cuda.is_available(), torch.backends.mps.is_available()
    every: tuple[tuple[DeviceName, bool], ...] = (("cuda", cuda), ("mps", mps), ("cpu", True))
    return tuple(name for name, present in every if present)


def resolve_device(device: DeviceName) -> str:
    if device == "auto":
        return _devices()[0]
    if device not in _devices():
        raise ModelError(f"device {device!r} is not available here; use 'auto' or 'cpu'")
    return device


def resolve_dtype(dtype: DtypeName, device: str) -> Precision:
    import torch

    if dtype == "auto":
        return "bfloat16" if device == "cuda" and torch.cuda.is_bf16_supported() else "float32"
    if dtype not in get_args(DtypeName):  # it may come from a file
        raise ModelError(f"precision {dtype!r} is not known; use one of {', '.join(get_args(DtypeName))}")
    if dtype == "nf4":
        _ensure_nf4(device)
    return dtype


def free_bytes(device: "torch.device") -> int:
    """Free memory of a device."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    if device.type == "mps":
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return available_memory()


def has_nvidia_driver() -> bool:
    """Whether an NVIDIA driver is installed; asks no library, which would take seconds to import."""
    return shutil.which("nvidia-smi") is not None


def _ensure_nf4(device: str) -> None:
    """Refuses 4-bit weights where they cannot run.

    Raises:
        ModelError: the device is not a CUDA device, or bitsandbytes is not installed.
    """
    if device != "cuda":
        raise ModelError(
            f"4-bit weights (nf4) need an NVIDIA GPU and the device here is {device!r}; use another precision"
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(f'4-bit weights (nf4) need bitsandbytes: run pip install "{_BITSANDBYTES}"')


def nf4_settings() -> dict[str, Any]:
    """The settings of transformers' `from_pretrained` for 4-bit weights with products in bfloat16."""
    import torch
    from transformers import BitsAndBytesConfig

    config: Any = BitsAndBytesConfig
    chosen = config(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return {"quantization_config": chosen, "dtype": torch.bfloat16}


def quantisation(config: Any) -> str | None:
    """The method that a checkpoint is quantised with, such as "awq"; None if its weights are plain numbers."""
    found = getattr(config, "quantization_config", None)
    if found is None:
        return None
    method = found.get("quant_method") if isinstance(found, dict) else getattr(found, "quant_method", None)
    return str(getattr(method, "value", method) or "quantised")


def ensure_quantisation_known(name: str, config: Any) -> None:
    """Refuses a quantised checkpoint whose method is not known: its weights would be read as plain numbers.

    Raises:
        ModelError: the method is not known, or a package that it needs is not installed.
    """
    from transformers.quantizers.auto import AutoHfQuantizer, AutoQuantizationConfig

    if (method := quantisation(config)) is None:
        return
    found, known = config.quantization_config, False
    with as_model_error(name, f"{method} weights", NOT_QUANTISED):
        known = bool(
            cast(Any, AutoHfQuantizer).supports_quant_method(found) and AutoQuantizationConfig.from_dict(found)
        )
    if not known:
        raise ModelError(
            f"{name!r} is quantised with {method!r}, which is not known here; use a checkpoint that is not"
        )


def expected_bytes(name: str, outline: Any, precision: Precision, device: str) -> int:
    """Memory of a model's weights before they are loaded.

    Args:
        name: a folder, or a hub id.
        outline: the model without weights, on the device "meta".
    """
    import torch

    parameters = int(outline.num_parameters())
    if precision == "nf4":
        output = outline.get_output_embeddings()
        linear = sum(
            layer.weight.numel()
            for layer in outline.modules()
            if isinstance(layer, torch.nn.Linear) and layer is not output
        )
        return int(_NF4_BYTES * linear + 2 * (parameters - linear))
    if quantisation(outline.config) and device != _HOST:  # on a CPU, what can be loaded at all is made plain numbers
        return sum(file.stat().st_size for file in Path(name).glob("*.safetensors")) or parameters
    return int(WEIGHT_BYTES[precision] * parameters)


def device_settings(name: str, needed: int, device: str, *, quantised: bool) -> dict[str, Any]:
    """The settings of transformers' `from_pretrained` that say where weights of `needed` bytes go.

    Args:
        device: where they go if they fit it; "cuda" is the first GPU.
        quantised: such weights are not kept in this computer's memory.

    Raises:
        ModelError: they fit nowhere.
    """
    import torch

    if not device.startswith("cuda"):  # the weights for another device pass through this memory too
        _ensure_fits(name, needed + LEAST_MEMORY, available_memory(), "free memory")
        return {} if device == _HOST else {"device_map": {"": device}}
    where = torch.device(device if ":" in device else "cuda:0")
    if has_room(needed, where):
        return {"device_map": {"": where}}
    gpus: dict[int | str, int] = {
        index: int(_SHARE_OF_GPU * free_bytes(torch.device("cuda", index)))
        for index in range(torch.cuda.device_count())
    }
    host = 0 if quantised else max(0, available_memory() - LEAST_MEMORY)
    _ensure_fits(name, needed, sum(gpus.values()) + host, "GPU memory" if quantised else "memory of GPUs and computer")
    return {"device_map": "auto", "max_memory": {**gpus, _HOST: host} if host else gpus}


def has_room(needed: int, gpu: "torch.device") -> bool:
    """Whether a GPU has room for `needed` bytes of weights and for batches."""
    return needed <= _SHARE_OF_GPU * free_bytes(gpu)


def _ensure_fits(name: str, needed: int, available: int, what: str) -> None:
    """Refuses weights that do not fit: the system would end the process while it reads them."""
    if needed > available:
        raise ModelError(
            f"loading {name!r} needs {byte_size(needed)} of {what} and there are {byte_size(available)}; "
            "use a smaller model, close other programs, or give this machine or container more memory"
        )


def devices_of(model: Any) -> tuple["torch.device", ...]:
    """The devices that compute a model, in the order of its layers; weights may wait elsewhere."""
    import torch

    placed = getattr(model, "hf_device_map", None) or {}
    if len(set(placed.values())) < 2:
        return (model.device,)
    computing = [torch.device(_name(where)) for where in placed.values() if where not in (_HOST, "disk")]
    return tuple(dict.fromkeys(computing)) or (torch.device(_HOST),)


def weights_on(model: Any) -> dict[str, int]:
    """Bytes of a loaded model's weights by the device on which they lie, or wait for their layer's turn."""
    placed = getattr(model, "hf_device_map", None) or {"": model.device}
    found: dict[str, int] = {}
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        parts = name.split(".")
        prefixes = (".".join(parts[:length]) for length in range(len(parts), -1, -1))
        where = _name(next((placed[prefix] for prefix in prefixes if prefix in placed), model.device))
        found[where] = found.get(where, 0) + tensor.numel() * tensor.element_size()
    return found


def offloaded_bytes(model: Any) -> int:
    """Bytes of the weights that wait in this computer's memory for their layer's turn."""
    return weights_on(model).get(_HOST, 0)


def _name(where: Any) -> str:
    return f"cuda:{where}" if isinstance(where, int) else str(where)


def weights_words(model: Any, precision: Precision, copies: int = 1) -> str:
    """Where the weights of a model lie, in a few words, such as "14.9 GiB of weights (bfloat16) on cuda:0"."""
    parts, method = weights_on(model), quantisation(model.config)
    kind = f"{precision}, {method}" if method and precision != "nf4" else precision
    total = sum(parts.values())
    if len(parts) == 1:
        where = next(iter(parts)) if copies == 1 else f"each of {copies} GPUs"
        return f"{byte_size(total)} of weights ({kind}) on {where}"
    named = [f"{byte_size(count)} on {where}" for where, count in parts.items() if where not in (_HOST, "disk")]
    if waiting := offloaded_bytes(model):
        named.append(
            f"{byte_size(waiting)} ({waiting / total:.0%}) in this computer's memory, which are copied to the GPU for "
            "every batch, so that scoring is slow"
        )
    return f"{byte_size(total)} of weights ({kind}), spread by layer: {', '.join(named[:-1])} and {named[-1]}"
