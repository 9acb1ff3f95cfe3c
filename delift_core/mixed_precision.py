"""Matrix products in bfloat16, and everything around them in float32.

A model that is wholly in bfloat16 rounds its residual stream after every layer; that costs accuracy and, on a CPU,
saves no time, since there the products alone have units of their own. Here each layer's input is rounded as it enters
a product, and what comes out joins a float32 stream (the idea of arXiv 1710.03740, for inference).

On a CPU the weights are kept in the layout that its matrix kernels want (oneDNN), instead of being brought into it for
every product: 5 % less time, and the same bits.
"""

from typing import Any, cast

import torch
from torch import nn

_onednn: Any = torch.ops.mkldnn  # what torch.compile calls on a CPU; nn.functional.linear takes no packed weights


class RoundedProduct(nn.Module):
    """A linear layer with bfloat16 weights, for float32 inputs and outputs."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Args:
        weight: (out, in), of any floating type.
        bias: (out,), added in float32.
        """
        super().__init__()
        rounded = weight.detach().to(torch.bfloat16).contiguous()
        self._packed = rounded.device.type == "cpu" and bool(cast(Any, torch.backends.mkldnn).is_available())
        kept = _onednn._reorder_linear_weight(rounded) if self._packed else rounded
        self.weight = nn.Parameter(kept, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) float32 to (..., out) float32; sums within the product are float32."""
        product = self._product(inputs.to(torch.bfloat16)).float()
        return product if self.bias is None else product + self.bias

    def _product(self, inputs: torch.Tensor) -> torch.Tensor:
        if self._packed:
            return cast(torch.Tensor, _onednn._linear_pointwise(inputs, self.weight, None, "none", [], ""))
        return nn.functional.linear(inputs, self.weight)


def mix_precision(model: Any) -> None:
    """Turns the linear layers of a model into rounded products, in place, and everything else into float32.

    The model has to be on its device already: packed weights stay where they are.
    """
    from transformers.pytorch_utils import Conv1D

    for parent in list(model.modules()):
        for name, layer in list(parent.named_children()):
            if type(layer) is nn.Linear:
                setattr(parent, name, RoundedProduct(layer.weight, layer.bias))
            elif type(layer) is Conv1D:  # GPT-2 keeps (in, out)
                setattr(parent, name, RoundedProduct(layer.weight.T, layer.bias))
    for module in model.modules():
        if not isinstance(module, RoundedProduct):
            for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
                if tensor.is_floating_point():
                    tensor.data = tensor.data.float()
