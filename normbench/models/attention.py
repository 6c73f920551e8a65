"""The parts of a vision transformer as modules. Tokens are (N, L, width)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from normbench.models.layer import Shape


def sine_positions(rows: int, columns: int, width: int) -> Tensor:
    """A vector for each place of a grid, (rows x columns, width): sines and cosines of its row and of its column.

    Source: Beyer et al. 2022 (arXiv 2205.01580), after Vaswani et al. 2017 (arXiv 1706.03762), section 3.5.
    """
    quarter = width // 4
    rates = 10_000.0 ** (-torch.arange(quarter) / max(1, quarter - 1))
    down, across = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    angles = [place.flatten()[:, None] * rates for place in (down, across)]
    return torch.cat([wave for angle in angles for wave in (angle.sin(), angle.cos())], 1)


class Embedding(nn.Module):
    """Patches as tokens, with their positions added: images (N, C, H, W) -> (N, L, width)."""

    positions: Tensor

    def __init__(self, conv: nn.Conv2d, grid: Shape) -> None:
        super().__init__()
        self.conv = conv
        width, rows, columns = grid
        self.register_buffer("positions", sine_positions(rows, columns, width), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        tokens: Tensor = self.conv(x).flatten(2).transpose(1, 2)
        return tokens + self.positions


class TokenNorm(nn.Module):
    """A norm of (N, C, L) on tokens (N, L, C)."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm

    def forward(self, tokens: Tensor) -> Tensor:
        y: Tensor = self.norm(tokens.transpose(1, 2).contiguous())
        return y.transpose(1, 2)


class TokenMean(nn.Module):
    """The mean over all tokens: (N, L, width) -> (N, width)."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1)


class TransformerBlock(nn.Module):
    """x + attention(norm1(x)), then x + MLP(norm2(x)).

    Attention is written out, since torch's fused kernels have no deterministic gradient on every device.
    """

    def __init__(
        self,
        norm1: nn.Module,
        qkv: nn.Linear,
        projection: nn.Linear,
        norm2: nn.Module,
        up: nn.Linear,
        act: nn.Module,
        down: nn.Linear,
        heads: int,
    ) -> None:
        super().__init__()
        self.norm1, self.qkv, self.projection = norm1, qkv, projection
        self.norm2, self.up, self.act, self.down = norm2, up, act, down
        self.heads = heads

    def attended(self, tokens: Tensor) -> Tensor:
        """softmax(q k / sqrt(width of a head)) v, over all heads: (N, L, width) -> (N, L, width)."""
        count, length, width = tokens.shape
        query, key, value = self.qkv(tokens).view(count, length, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (query @ key.transpose(-2, -1) / math.sqrt(width // self.heads)).softmax(-1)
        return (weights @ value).transpose(1, 2).reshape(count, length, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.projection(self.attended(self.norm1(x)))
        y: Tensor = x + self.down(self.act(self.up(self.norm2(x))))
        return y
