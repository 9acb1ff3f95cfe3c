"""Matrix products in bfloat16, and everything around them in float32.

A model that is wholly in bfloat16 rounds its residual stream after every layer; that costs accuracy and, on a CPU,
saves no time, since there the products alone have units of their own. Here each layer's input is rounded as it enters
a product, and what comes out joins a float32 stream (the idea of arXiv 1710.03740, for inference).

On a CPU for which oneDNN has bfloat16 kernels (AVX-512, or AVX2 with conversions), the weights are kept in the layout
that these kernels want, instead of being brought into it for every product: 5 % less time, and the same sums, in an
order of their own. There the three products of a gated feed-forward part also hand each other bfloat16, which the next
one would round its input to anyway: its widest values are not widened, read and rounded again.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
from torch import nn

_onednn: Any = torch.ops.mkldnn  # what torch.compile calls on a CPU; nn.functional.linear takes no packed weights


def can_pack() -> bool:
    """Whether this machine's processor has oneDNN's bfloat16 kernels; without them packing is an error."""
    return bool(cast(Any, torch.backends.mkldnn).is_available() and _onednn._is_mkldnn_bf16_supported())


class RoundedProduct(nn.Module):
    """A linear layer with bfloat16 weights, for float32 inputs and outputs."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None, *, widens: bool = True) -> None:
        """Args:
        weight: (out, in), of any floating type.
        bias: (out,), added in float32.
        widens: whether the result is made float32 at once; else it is left to the reader, who takes it in parts.
        """
        super().__init__()
        rounded = weight.detach().to(torch.bfloat16).contiguous()
        self.in_features = rounded.shape[1]
        self.packed = rounded.device.type == "cpu" and can_pack()
        kept = _onednn._reorder_linear_weight(rounded) if self.packed else rounded
        self.weight = nn.Parameter(kept, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)
        self._widens = widens

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) to (..., out) float32 (bfloat16 if not to be widened, without a bias); sums are float32."""
        product = self.rounded(inputs.to(torch.bfloat16))
        if self.bias is not None:
            return product + self.bias  # float32
        return product.float() if self._widens else product

    def rounded(self, inputs: torch.Tensor, then: "_Activation" = ("none", "")) -> torch.Tensor:
        """(..., in) bfloat16 to (..., out) bfloat16, without the bias; `then`, of packed weights, precedes rounding."""
        if self.packed:
            name, variant = then
            return cast(torch.Tensor, _onednn._linear_pointwise(inputs, self.weight, None, name, [], variant))
        if inputs.device.type == "cpu":  # without kernels of its own a product in bfloat16 takes many times longer
            return nn.functional.linear(inputs.float(), self.weight.float()).to(torch.bfloat16)
        return nn.functional.linear(inputs, self.weight)


class GatedProducts(nn.Module):
    """The feed-forward part of most families, down(activation(gate(x)) * up(x)), from rounded products."""

    def __init__(
        self, gate: RoundedProduct, up: RoundedProduct, down: RoundedProduct, activation: "_Activation"
    ) -> None:
        """Args:
        gate, up, down: with packed weights and no bias.
        activation: as oneDNN names it.
        """
        super().__init__()
        self.gate_proj, self.up_proj, self.down_proj = gate, up, down
        self._activation = activation

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., d) float32 to (..., d) float32."""
        rounded = inputs.to(torch.bfloat16)
        between = self.gate_proj.rounded(rounded, self._activation).mul_(self.up_proj.rounded(rounded))
        return cast(torch.Tensor, self.down_proj(between))


_Activation = tuple[str, str]  # name and variant
_ACTIVATIONS: tuple[tuple[_Activation, Callable[[torch.Tensor], torch.Tensor]], ...] = (
    (("swish", ""), nn.functional.silu),
    (("gelu", "none"), nn.functional.gelu),
    (("gelu", "tanh"), partial(nn.functional.gelu, approximate="tanh")),
)


def mix_precision(model: Any) -> None:
    """Turns the linear layers of a model into rounded products, in place, and everything else into float32.

    The model has to be on its device already: packed weights stay where they are.
    """
    from transformers.pytorch_utils import Conv1D

    output = model.get_output_embeddings()
    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, RoundedProduct(layer.weight, layer.bias, widens=layer is not output))
            elif type(layer) is Conv1D:  # GPT-2 keeps (in, out)
                setattr(parent, name, RoundedProduct(layer.weight.T, layer.bias))
    for module in model.modules():
        if not isinstance(module, RoundedProduct):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.float()
    for parent in list(model.modules()):
        for name, part in list(parent.named_children()):
            if gated := _gated(part):
                setattr(parent, name, gated)


def unrounded_output(model: Any) -> torch.Tensor | None:
    """(vocabulary, d) float32 weights of an output layer that is a rounded product, where the embeddings hold them too.

    Rounding moves a logit of 20 by up to 0.06. For the others of a row that averages out; for the one token whose
    probability is asked it does not, and a product for that one alone costs next to nothing.
    """
    output, embeddings = model.get_output_embeddings(), model.get_input_embeddings()
    shared = isinstance(output, RoundedProduct) and output.bias is None and model.config.tie_word_embeddings
    return cast(torch.Tensor, embeddings.weight).detach() if shared else None


def _gated(part: Any) -> GatedProducts | None:
    """The same as a feed-forward part, in fewer passes; None where its products, or its answer to a trial, differ."""
    products = [getattr(part, name, None) for name in ("gate_proj", "up_proj", "down_proj")]
    if not all(isinstance(product, RoundedProduct) and product.packed and product.bias is None for product in products):
        return None
    gate, up, down = cast(list[RoundedProduct], products)
    trial = torch.linspace(-8, 8, 257)
    same = [name for name, function in _ACTIVATIONS if torch.allclose(part.act_fn(trial), function(trial), atol=1e-6)]
    if not same:
        return None
    gated = GatedProducts(gate, up, down, same[0])
    inputs = torch.randn(4, gate.in_features, generator=torch.Generator().manual_seed(0))
    expected, got = part(inputs), gated(inputs)
    return gated if torch.allclose(got, expected, rtol=0, atol=_AS_ROUNDED * float(expected.abs().max())) else None


_AS_ROUNDED = 0.03  # of the largest value: a few roundings to bfloat16 more or less
