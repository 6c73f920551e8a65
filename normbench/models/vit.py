"""Vision transformers for small images."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from normbench.errors import UsageError
from normbench.models.blocks import Activation, Bias, activation_layer, has_bias
from normbench.models.layer import Layer, Shape
from normbench.models.registry import register_model
from normbench.norms import Norms
from normbench.norms.contract import Reparametrizes
from normbench.spec.values import Count

if TYPE_CHECKING:
    from torch import nn


@register_model("vit", norm="layer", presets={"vit_tiny": {"width": 32, "depth": 2, "heads": 2}}, branches=True)
@dataclass(frozen=True)
class ViT:
    """Vision transformer: patches, [x + attention(Norm x), x + MLP(Norm x)] x depth, Norm, mean over tokens, Linear.

    Dosovitskiy et al. 2021 (arXiv 2010.11929), with the mean in place of a class token and a fixed table of sines as
    positions (Beyer et al. 2022, arXiv 2205.01580). The norm's input is (N, width, tokens); the norm of those papers is
    over the channels of each token. It takes `skip_init` and `fixup` in place of a norm.

    Args:
        patch: Side of the square patches, which must divide the image's.
        width: Channels of a token, a multiple of 4 and of heads.
        depth: Number of blocks.
        heads: Heads of attention.
        mlp_ratio: Width of the hidden layer of each MLP, in widths of a token.
        activation: Of the MLPs: relu, gelu, silu, tanh or sigmoid.
        bias: Where biases are: auto drops that of a layer only where a norm directly after it cancels it exactly;
            always keeps all; never drops those before a norm; nowhere has none at all, whatever the norm.
    """

    patch: Count = 4
    width: Count = 64
    depth: Count = 6
    heads: Count = 4
    mlp_ratio: Count = 4
    activation: Activation = "gelu"
    bias: Bias = "auto"

    def __post_init__(self) -> None:
        if self.width % 4 or self.width % self.heads:
            raise UsageError(
                f"model.width={self.width}: choose a multiple of 4 (for the positions) and of model.heads={self.heads}"
            )

    def layers(self, image: Shape, classes: int, norms: Norms) -> Iterator[Layer]:
        """The embedding of patches, the linear layers on tokens, and the last one."""
        _, height, width = image
        if height % self.patch or width % self.patch:
            raise UsageError(f"model.patch={self.patch} does not divide images of {height}x{width}: choose a divisor")
        rows, columns = height // self.patch, width // self.patch
        tokens = rows * columns
        # The positions are added between the patches and the first norm: a bias there is not cancelled by each norm.
        embedded = (self.width, rows, columns)
        bias = has_bias(self.bias, norms, self.width, True, False)
        yield Layer(
            "patches", image, embedded, self.patch, True, bias, stride=self.patch, layout="tokens", direct=False
        )
        for index in range(self.depth):
            name, hidden = f"block{index}", self.width * self.mlp_ratio
            products = 2 * tokens**2 * self.width  # query x key, and weights x value, over all heads
            mixed = index > 0
            yield self.linear(f"{name}.qkv", tokens, self.width, 3 * self.width, norms, False, mixed, products)
            yield self.linear(f"{name}.projection", tokens, self.width, self.width, norms, True)
            yield self.linear(f"{name}.up", tokens, self.width, hidden, norms, False)
            yield self.linear(f"{name}.down", tokens, hidden, self.width, norms, True)
        bias = has_bias(self.bias, norms, classes, False)
        yield Layer("output", (self.width, 1, 1), (classes, 1, 1), 0, False, bias, "logits")

    def linear(
        self,
        name: str,
        tokens: int,
        inputs: int,
        outputs: int,
        norms: Norms,
        normed: bool,
        mixed: bool = True,
        products: int = 0,
    ) -> Layer:
        """A linear layer on tokens. A norm after it follows a sum, so that its bias stays."""
        branch = norms.branch
        bias = has_bias(self.bias, norms, outputs, normed or branch is not None, False)
        # The norm's place before the first layer of a branch has that one's scalar.
        scalars = 0 if branch is None or name.endswith("qkv") else branch.parameters(last=normed)
        return Layer(
            name,
            (inputs, tokens, 1),
            (outputs, tokens, 1),
            0,
            normed,
            bias,
            layout="tokens",
            direct=False,
            mixes=mixed,
            product_macs=products,
            scalars=scalars,
        )

    def build(self, image: Shape, classes: int, norms: Norms) -> nn.Module:
        """The network: images (N, C, H, W) to logits (N, classes)."""
        from torch import nn

        from normbench.models.attention import Embedding, TokenMean, TokenNorm, TransformerBlock
        from normbench.models.scalars import build_branch, end_network

        walk = {layer.name: layer for layer in self.layers(image, classes, norms)}

        def norm_after(layer: nn.Module) -> nn.Module:
            norm = norms.build(self.width, spatial=True)
            if isinstance(norm, Reparametrizes):
                norm.reparametrize(layer)
            return TokenNorm(norm)

        def linear(layer: Layer) -> nn.Linear:
            return nn.Linear(layer.inputs[0], layer.outputs[0], bias=layer.bias)

        patches = walk["patches"]
        conv = nn.Conv2d(image[0], self.width, self.patch, stride=self.patch, bias=patches.bias)
        parts: OrderedDict[str, nn.Module] = OrderedDict(patches=Embedding(conv, patches.outputs))
        last: nn.Module = conv
        for index in range(self.depth):
            qkv, projection, up, down = (
                linear(walk[f"block{index}.{key}"]) for key in ("qkv", "projection", "up", "down")
            )
            if norms.branch is not None:
                branches = 2 * self.depth
                # Queries, keys, values and the projection: four layers that are multiplied with each other.
                build_branch((qkv, projection), norms.branch, branches, before=(projection,), depth=4)
                build_branch((up, down), norms.branch, branches, before=(down,), after=(up,))
            act = activation_layer(self.activation)
            parts[f"block{index}"] = TransformerBlock(
                norm_after(last), qkv, projection, norm_after(projection), up, act, down, self.heads
            )
            last = down
        parts["norm"] = norm_after(last)
        parts["pool"] = TokenMean()
        parts["output"] = output = linear(walk["output"])
        if norms.branch is not None:
            end_network(output, norms.branch, biased=False)  # the mean of what the last norm's place has shifted
        return nn.Sequential(parts)
