"""Matrix products in bfloat16, and everything around them in float32.

A model that is wholly in bfloat16 rounds its residual stream after every layer; that costs accuracy and, on a CPU,
saves no time, since there the products alone have units of their own. Here each layer's input is rounded as it enters
a product, and what comes out joins a float32 stream (the idea of arXiv 1710.03740, for inference).
"""

from typing import Any

import torch
from torch import nn


class RoundedProduct(nn.Module):
    """A linear layer with bfloat16 weights, for float32 inputs and outputs."""

    def __init__(self, weight: torch.Tensor, bias: torch.Tensor | None) -> None:
        """Args:
        weight: (out, in), of any floating type.
        bias: (out,), added in float32.
        """
        super().__init__()
        self.weight = nn.Parameter(weight.detach().to(torch.bfloat16).contiguous(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().float(), requires_grad=False)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """(..., in) float32 to (..., out) float32; sums within the product are float32."""
        product = nn.functional.linear(inputs.to(torch.bfloat16), self.weight).float()
        return product if self.bias is None else product + self.bias


def mix_precision(model: Any) -> None:
    """Turns the linear layers of a model into rounded products, in place, and everything else into float32."""
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
