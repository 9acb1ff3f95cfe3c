"""Find and load the causal language model that will be fine-tuned.

A model is named by a hub id, a local folder, or "bundled" (see `model_files`). Loading is safe: only safetensors are
read, and no code that comes with a model is run. This module knows nothing of prompts or scoring.
"""

import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from delift_core.errors import ModelError
from delift_core.models.devices import (
    NOT_QUANTISED,
    WEIGHT_BYTES,
    DeviceName,
    DtypeName,
    Precision,
    device_settings,
    devices_of,
    ensure_quantisation_known,
    expected_bytes,
    has_room,
    nf4_settings,
    quantisation,
    resolve_device,
    resolve_dtype,
    weights_on,
)
from delift_core.models.model_files import (
    BUNDLED,
    adapter_base,
    as_model_error,
    bundled_folder,
    check_model,
    embedding_rows,
    hash_files,
    tokenizer_source,
)
from delift_core.system.hub import probe

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Everything about a model that its numbers depend on."""

    name: str  # as given by the user
    revision: str  # hub commit, or a hash of the contents of a local folder or the bundled file
    # Of the forward pass: "mixed" is bfloat16 in matrix products and float32 elsewhere, "nf4" is bfloat16 with weights
    # that are quantised to 4 bits. Weights that come quantised belong to the revision.
    dtype: Precision
    context_length: int  # longest sequence, in tokens, that can be scored
    parameters: int  # number of weights, without those of an adapter

    @property
    def weight_bytes(self) -> int:
        """Memory of the weights."""
        return int(WEIGHT_BYTES[self.dtype] * self.parameters)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model in evaluation mode with its tokenizer."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    identity: ModelIdentity

    @property
    def devices(self) -> "tuple[torch.device, ...]":
        """The devices that compute; several if the weights are spread by layer."""
        return devices_of(self.model)

    @property
    def device(self) -> "torch.device":
        """The device that takes the token ids."""
        return self.devices[0]

    @property
    def is_spread(self) -> bool:
        """Whether the weights lie on several devices, or some of them wait in this computer's memory."""
        return len(weights_on(self.model)) > 1


def load_model(name: str = BUNDLED, *, device: DeviceName = "auto", dtype: DtypeName = "auto") -> LoadedModel:
    """Loads a causal language model for scoring.

    A model that does not fit one GPU is spread by layer over all of them and, if need be, this computer's memory.

    Args:
        name: "bundled", a local folder, or a hub id.
        device: "auto" takes CUDA, then MPS, then the CPU.
        dtype: "auto" is bfloat16 on a GPU that has it and float32 elsewhere; "nf4" quantises to 4 bits on CUDA.

    Raises:
        ModelError: not found, not loadable safely, not a causal language model, too large, or no such device.
    """
    where = resolve_device(device)
    return _load(name, where, resolve_dtype(dtype, where))


def load_on_every_device(
    name: str = BUNDLED, *, device: DeviceName = "auto", dtype: DtypeName = "auto"
) -> tuple[LoadedModel, ...]:
    """As `load_model`, once on each CUDA device that has room for the whole model if the device is CUDA."""
    import torch

    first = load_model(name, device=device, dtype=dtype)
    if first.device.type != "cuda" or first.is_spread:
        return (first,)
    needed = sum(weights_on(first.model).values())
    gpus = [torch.device("cuda", index) for index in range(torch.cuda.device_count())]
    others = (str(gpu) for gpu in gpus if gpu != first.device and has_room(needed, gpu))
    return (first, *(_load(name, gpu, first.identity.dtype) for gpu in others))


@dataclass(frozen=True, slots=True)
class ModelOutline:
    """A model without its weights, for a process that does not run it: tokenizer and identity."""

    tokenizer: "PreTrainedTokenizerBase"
    identity: ModelIdentity


def read_outline(name: str, precision: Precision) -> ModelOutline:
    """Reads a model's tokenizer and configuration but not its weights.

    Raises:
        ModelError: not found, not a causal language model, or its files do not fit each other.
    """
    opened = _open(name, precision)
    return ModelOutline(opened.tokenizer, opened.identity)


@dataclass(frozen=True, slots=True)
class _Opened:
    """A model whose weights are not read yet.

    Attributes:
        folder, base: a folder or hub id each: of the adapter and its base model, or twice of the model.
        empty: the base model on the device "meta".
    """

    folder: str | Path
    base: str | Path
    tokenizer: Any
    empty: Any
    identity: ModelIdentity


def _open(name: str, precision: Precision) -> _Opened:
    import torch
    from transformers import AutoConfig, AutoTokenizer
    from transformers.utils import logging as transformers_logging

    cast(Any, transformers_logging).set_verbosity_error()
    cast(Any, transformers_logging).disable_progress_bar()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    folder = bundled_folder() if name == BUNDLED else name
    if Path(folder).is_dir():
        check_model(str(folder), ask_hub=False)
    tokens, base = tokenizer_source(folder), adapter_base(folder) or folder
    local_only = {source: _local_only(source) for source in {tokens, base}}
    with as_model_error(name, "config.json"):
        config = AutoConfig.from_pretrained(base, trust_remote_code=False, local_files_only=local_only[base])
    with as_model_error(name, "tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(tokens, trust_remote_code=False, local_files_only=local_only[tokens])
    ensure_quantisation_known(name, config)
    with as_model_error(name, "config.json"), torch.device("meta"):
        empty = _auto_class(name, config).from_config(config)
        identity = ModelIdentity(
            name, _revision(folder, base), precision, context_length(config), int(empty.num_parameters())
        )
    _ensure_tokens_embedded(name, tokenizer, empty, folder)
    return _Opened(folder, base, tokenizer, empty, identity)


def _ensure_tokens_embedded(name: str, tokenizer: Any, empty: Any, folder: str | Path) -> None:
    """Refuses a tokenizer that writes tokens for which the model has no embedding.

    Special tokens are left out: a model for text alone may share the tokenizer of its sibling for images.
    """
    rows = max(empty.get_input_embeddings().weight.shape[0], embedding_rows(folder))
    special = set(tokenizer.all_special_ids) | {
        token for token, added in tokenizer.added_tokens_decoder.items() if added.special
    }
    beyond = [token for token in tokenizer.get_vocab().values() if token >= rows and token not in special]
    if beyond:
        raise ModelError(
            f"the tokenizer of {name!r} has {max(beyond) + 1:,} tokens and the model embeds {rows:,}: it belongs to "
            "another model, or tokens were added and the embeddings not resized; give the model its own tokenizer"
        )


def _load(name: str, device: str, precision: Precision) -> LoadedModel:
    from delift_core.models.mixed_precision import use_mixed_precision

    opened = _open(name, precision)
    method = quantisation(opened.empty.config)
    if method and precision in ("nf4", "mixed"):
        raise ModelError(
            f"{name!r} is quantised already ({method}), so precision {precision!r} does not apply; use 'auto'"
        )
    needed = expected_bytes(str(opened.base), opened.empty, precision, device)
    settings = device_settings(name, needed, device, quantised=bool(method) or precision == "nf4")
    loaded = LoadedModel(_read_weights(opened, settings), opened.tokenizer, opened.identity)
    if precision == "mixed":
        if loaded.is_spread:
            raise ModelError(f"{name!r} does not fit one device, which mixed precision needs; use bfloat16")
        use_mixed_precision(loaded.model)
    return loaded


def _read_weights(opened: _Opened, settings: dict[str, Any]) -> Any:
    """The model with its weights on their devices, and with its adapter if it has one."""
    import torch

    name, precision, local_only = opened.identity.name, opened.identity.dtype, _local_only(opened.base)
    # Mixed precision rounds the weights itself, so they are loaded as stored and rounded only once.
    kind = nf4_settings() if precision == "nf4" else {"dtype": getattr(torch, precision, "auto")}
    method = quantisation(opened.empty.config)
    what = (f"{method} weights", NOT_QUANTISED) if method else ("weights",)
    with as_model_error(name, *what):
        model, found = _auto_class(name, opened.empty.config).from_pretrained(
            opened.base,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=local_only,
            adapter_kwargs={"local_files_only": local_only},  # else peft asks the hub for an adapter
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # reported below
            **kind,
            **settings,
        )
    missing = {*found["missing_keys"], *(entry[0] for entry in found["mismatched_keys"])}
    if missing:  # transformers fills them with random numbers
        raise ModelError(
            f"{name!r} lacks weights that its config.json asks for ({len(missing):,}, among them {min(missing)}): "
            "it is not a causal language model, or incomplete; download it again or use another model"
        )
    if "disk" in weights_on(model):
        raise ModelError(
            f"{name!r} does not fit the memory of this machine's GPUs and of the computer; use a smaller model"
        )
    if opened.folder != opened.base:
        from delift_core.models.lora import add_adapter

        with as_model_error(name, "adapter"):
            model = add_adapter(model, Path(opened.folder), merge=precision == "float32")
    return model.eval().requires_grad_(False)


def context_length(config: Any) -> int:
    """Longest sequence in tokens that a model was made for; attention windows are shorter, and masked."""
    text = config.get_text_config(decoder=True)
    lengths = (
        getattr(text, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length")
    )
    return int(next((length for length in lengths if length), 2048))


def _auto_class(name: str, config: Any) -> Any:
    """The loader of the class that a checkpoint was saved from; many models ship as image-and-text classes."""
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM

    kinds: list[Any] = [AutoModelForCausalLM, AutoModelForImageTextToText, AutoModelForMultimodalLM]
    saved_as = set(config.architectures or ())
    fitting = [kind for kind in kinds if type(config) in kind._model_mapping]
    if not fitting:
        raise ModelError(
            f"{name!r} does not hold a causal language model, but one of the family {config.model_type!r}; "
            "use a model that generates text from left to right"
        )
    exact = (kind for kind in fitting if kind._model_mapping[type(config)].__name__ in saved_as)
    return next(exact, fitting[0])


def _local_only(folder: str | Path) -> bool:
    """Whether to read local files only: for a folder, or if the hub is out of reach and a second try takes a minute."""
    return Path(folder).is_dir() or not probe("model", str(folder)).found


def _revision(folder: str | Path, base: str | Path) -> str:
    """A hash of a folder's contents, or the commit of a hub model in the local cache; a hash of both of an adapter."""
    if folder != base:
        both = f"{_revision(folder, folder)} {_revision(base, base)}"
        return hashlib.sha256(both.encode()).hexdigest()
    path = Path(folder)
    if path.is_dir():
        suffixes = {".safetensors", ".json", ".model", ".jinja", ".txt"}
        return hash_files(sorted(file for file in path.iterdir() if file.suffix in suffixes))
    from huggingface_hub import try_to_load_from_cache

    config = try_to_load_from_cache(str(folder), "config.json")
    if not isinstance(config, str):
        raise ModelError(f"the commit of model {folder!r} is not in the hub's cache; give a local folder instead")
    return Path(config).parent.name  # snapshots/COMMIT/config.json
