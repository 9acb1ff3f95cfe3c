"""Mixed precision: matrix products in bfloat16, everything else in float32.

A model entirely in bfloat16 rounds its residual stream after every layer. That costs accuracy and, on a CPU, saves no
time, since only products have bfloat16 instructions. Here a layer's input is rounded as it enters a product, and the
result is added to a float32 stream (arXiv 1710.03740, for inference).

Where oneDNN has bfloat16 kernels for the CPU (AVX-512, or AVX2 with conversions), the weights are stored in the layout
of these kernels instead of being reordered for every product: 5 % less time, the same sums in another order. There the
three products of a gated feed-forward block also pass bfloat16 to each other, since the next product would round its
input anyway: the widest activations are not converted to float32 and back.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn

_onednn: Any = torch.ops.mkldnn  # nn.functional.linear takes no packed weights

_MAX_DIFFERENCE = 0.03  # relative to the largest value: a few roundings to bfloat16 more or less


def can_pack_weights() -> bool:
    """Whether oneDNN has bfloat16 kernels for this processor; without them, packing weights fails."""
    return bool(cast(Any, torch.backends.mkldnn).is_available() and _onednn._is_mkldnn_bf16_supported())


class Bf16Linear(nn.Module):
    """A linear layer with bfloat16 weights, and float32 inputs and outputs."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, float32_output: bool = True) -> None:
        """Args:
        weight: (out, in), of any floating type.
        bias: (out,), added in float32.
        float32_output: whether to convert the result to float32; the logits are converted in parts instead.
        """
        super().__init__()
        rounded = weight.detach().to(torch.bfloat16).contiguous()
        self.in_features = rounded.shape[1]
        self.packed = rounded.device.type == "cpu" and can_pack_weights()
        stored = _onednn._reorder_linear_weight(rounded) if self.packed else rounded
        self.weight = nn.Parameter(stored, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)
        self._float32_output = float32_output

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out) float32, summed in float32; bfloat16 without `float32_output` and bias."""
        product = self.matmul(inputs.to(torch.bfloat16))
        if self.bias is not None:
            return product + self.bias  # float32
        return product.float() if self._float32_output else product

    def matmul(self, inputs: torch.Tensor, activation: "_Activation" = ("none", "")) -> torch.Tensor:
        """(..., in) bfloat16 to (..., out) bfloat16, without bias; packed weights apply the activation first."""
        if self.packed:
            name, variant = activation
            return cast(torch.Tensor, _onednn._linear_pointwise(inputs, self.weight, None, name, [], variant))
        if inputs.device.type == "cpu":  # bfloat16 without bfloat16 kernels is many times slower
            return nn.functional.linear(inputs.float(), self.weight.float()).to(torch.bfloat16)
        return nn.functional.linear(inputs, self.weight)


class GatedMlp(nn.Module):
    """The feed-forward block of most families, down(activation(gate(x)) * up(x)), from bfloat16 layers."""

    def __init__(self, gate: Bf16Linear, up: Bf16Linear, down: Bf16Linear, activation: "_Activation") -> None:
        """Args:
        gate, up, down: layers with packed weights and no bias.
        activation: in oneDNN's terms.
        """
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate, up, down
        self._activation = activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., d) float32 to (..., d) float32."""
        rounded = inputs.to(torch.bfloat16)
        hidden = self.gate_proj.matmul(rounded, self._activation).mul_(self.up_proj.matmul(rounded))
        return cast(torch.Tensor, self.down_proj(hidden))


_Activation = tuple[str, str]  # name and variant
_ACTIVATIONS: tuple[tuple[_Activation, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    (("swish", ""), nn.functional.silu),
    (("gelu", "none"), nn.functional.gelu),
    (("gelu", "tanh"), partial(nn.functional.gelu, approximate="tanh")),
)


def use_mixed_precision(model: Any) -> None:
    """Converts a model in place: linear layers to bfloat16, everything else to float32.

    The model must already be on its device: packed weights cannot be moved.
    """
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, Bf16Linear(layer.weight, layer.bias, float32_output=layer is not output))
            elif type(layer) is Conv1D:  # GPT-2 stores (in, out)
                setattr(parent, name, Bf16Linear(layer.weight.T, layer.bias))
    for module in model.modules():
        if not isinstance(module, Bf16Linear):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.float()
    for parent in list(model.modules()):
        for name, block in list(parent.named_children()):
            if gated := _as_gated_mlp(block):
                setattr(parent, name, gated)


def float32_output_weights(model: Any) -> torch.Tensor | None:
    """(vocabulary, d) float32 weights of a bfloat16 output layer that is tied to the embeddings; else None.

    Rounding changes a logit of 20 by up to 0.06. In the sum over the vocabulary such errors average out; in the logit
    of the scored token they do not, and one exact product per token costs next to nothing.
    """
    output, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    tied = isinstance(output, Bf16Linear) and output.bias is None and model.config.tie_word_embeddings
    return cast(torch.Tensor, embeddings.weight).detach() if tied else None


def _as_gated_mlp(block: Any) -> GatedMlp | None:
    """A feed-forward block as a `GatedMlp`; None where it is of another form or a trial gives different numbers."""
    products = [getattr(block, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if not all(isinstance(product, Bf16Linear) and product.packed and product.bias is None for product in products):
        return None
    gate, up, down = cast(list[Bf16Linear], products)
    trial = torch.linspace(-8, 8, 257)
    matching = [
        name for name, function in _ACTIVATIONS if torch.allclose(block.act_fn(trial), function(trial), atol=1e-6)
    ]
    if not matching:
        return None
    gated = GatedMlp(gate, up, down, matching[0])
    inputs = torch.randn(4, gate.in_features, generator=torch.Generator().manual_seed(0))
    expected, got = block(inputs), gated(inputs)
    return gated if torch.allclose(got, expected, rtol=0, atol=_MAX_DIFFERENCE * float(expected.abs().max())) else None
