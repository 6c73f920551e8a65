"""What a network costs and sees, layer by layer, from its layers as plain data. No torch.

A multiply-add (MAC) is two floating-point operations (FLOPs).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from normbench.models.layer import Layer, Shape
from normbench.norms import Norms


@dataclass(frozen=True)
class Row:
    """One layer.

    Args:
        layer: The layer.
        parameters: Its weights and biases.
        norm_parameters: Those of the norm after it.
        bytes: Of its outputs, for one image.
        field: Height and width of the part of the image that a central output can depend on, norms aside: statistics
            let every output depend on more.
        values: Values that share a statistic of the norm after it; None without a norm or without statistics.
        redundant: Whether it has a bias that the norm after it cancels.
    """

    layer: Layer
    parameters: int
    norm_parameters: int
    bytes: int
    field: tuple[int, int]
    values: int | None
    redundant: bool


@dataclass(frozen=True)
class Totals:
    """Of a whole network.

    Args:
        parameters: Of all layers and norms.
        linear_share: Share of the parameters that linear layers have.
        macs: Multiply-adds of one image's forward pass, without norms, activations and pooling.
        training_macs: Of forward and backward pass: the gradient of the weights costs as much as the forward pass, and
            so does that of the inputs, which the first layer does not need.
        bytes: Of the outputs of all layers, for one image.
    """

    parameters: int
    linear_share: float
    macs: int
    training_macs: int
    bytes: int


def inspected(layers: Sequence[Layer], norms: Norms, image: Shape, images: int, value_bytes: int = 4) -> list[Row]:
    """A row for each layer.

    Args:
        layers: The network.
        norms: The norm with its options.
        image: Shape (C, H, W) of an image.
        images: Images of one device at a time, for the values that share a statistic.
        value_bytes: Bytes of one activation.
    """
    fields = receptive_fields(layers, image)
    facts = norms.facts
    rows = []
    for layer in layers:
        site = layer.site
        values = None
        if site is not None and facts.has_statistics and not facts.remembers:
            values = facts.values_per_statistic(images, site.channels, site.positions)
        rows.append(
            Row(
                layer,
                layer.parameters,
                facts.parameters(site.channels) if site else 0,
                math.prod(layer.outputs) * value_bytes,
                fields[layer.name],
                values,
                bool(site and layer.bias and layer.direct and norms.cancels_bias(layer.outputs[0])),
            )
        )
    return rows


def totals(rows: Sequence[Row]) -> Totals:
    """The sums over all layers."""
    parameters = sum(row.parameters + row.norm_parameters for row in rows)
    linear = sum(row.parameters + row.norm_parameters for row in rows if not row.layer.spatial)
    macs = sum(row.layer.macs for row in rows)
    first = rows[0].layer.macs if rows else 0
    return Totals(parameters, linear / max(1, parameters), macs, 3 * macs - first, sum(row.bytes for row in rows))


def receptive_fields(layers: Sequence[Layer], image: Shape) -> dict[str, tuple[int, int]]:
    """Height and width, in pixels of the image, that a central output of each layer can depend on; at most the image.

    A layer with kernel k and stride s behind steps of j pixels adds (k - 1) j, and makes the steps j s.

    Example:
        >>> three = [Layer(f"conv{i}", (1, 9, 9), (1, 9, 9), 3, False, True) for i in range(3)]
        >>> [field for field, _ in receptive_fields(three, (1, 9, 9)).values()]
        [3, 5, 7]
    """
    whole = max(image[1:])
    seen: dict[str, tuple[int, int]] = {}  # (field, step) after the pooling of each layer
    found: dict[str, tuple[int, int]] = {}
    field, step = 1, 1
    for layer in layers:
        if layer.source is not None:
            field, step = seen[layer.source]
        if layer.mixes or (not layer.spatial and layer.layout != "tokens"):
            field = whole
        elif layer.spatial:
            field += (layer.kernel - 1) * step
            step *= layer.stride
        found[layer.name] = (min(field, image[1]), min(field, image[2]))
        field += (layer.pool - 1) * step
        step *= layer.pool
        seen[layer.name] = field, step
    return found


def explanation(row: Row, image: Shape, first: bool = False) -> list[str]:
    """The formulas behind a row, with its numbers.

    Args:
        row: The layer.
        image: Shape (C, H, W) of an image.
        first: Whether the images themselves are its input, whose gradient nobody needs.
    """
    layer = row.layer
    (inputs, *before), (outputs, *after) = layer.inputs, layer.outputs
    lines = []
    if layer.spatial:
        for axis, old, new in zip(("height", "width"), before, after, strict=True):
            lines.append(_side(axis, old, new, layer))
        kernel = f"{layer.kernel} x {layer.kernel}"
        per_group = f"{inputs}" if layer.groups == 1 else f"{inputs} / {layer.groups}"
        weights = f"{outputs} x {per_group} x {kernel}"
        positions = f"{after[0]} x {after[1]}"
    else:
        weights, positions = f"{outputs} x {inputs}", f"{after[0] * after[1]}"
    bias = f" + {outputs}" if layer.bias else ""
    scalars, of_scalars = (f" + {layer.scalars}", " + scalars") if layer.scalars else ("", "")
    what = f"weights{' + biases' if bias else ', no biases'}{of_scalars}"
    lines.append(f"parameters = {weights}{bias}{scalars} = {row.parameters:,}  ({what})")
    products = f" + {layer.product_macs:,} (attention's two products)" if layer.product_macs else ""
    at = "" if positions == "1" else f" x {positions} positions"
    lines.append(f"multiply-adds = {weights}{at}{products} = {layer.macs:,}  (biases are not counted)")
    lines.append(f"FLOPs = 2 x {layer.macs:,} = {2 * layer.macs:,}")
    passes = 2 if first else 3
    what = f"forward, gradient of the weights{'' if first else ', gradient of the inputs'}"
    lines.append(f"multiply-adds in training = {passes} x {layer.macs:,} = {passes * layer.macs:,}  ({what})")
    lines.append(f"FLOPs in training = 2 x {passes * layer.macs:,} = {2 * passes * layer.macs:,}")
    lines.append(f"bytes of its outputs = {' x '.join(map(str, layer.outputs))} x 4 = {row.bytes:,} an image")
    lines.append(f"receptive field = {row.field[0]} x {row.field[1]} of {image[1]} x {image[2]} pixels")
    return lines


def _side(axis: str, old: int, new: int, layer: Layer) -> str:
    result = f"floor(({old} - {layer.kernel} + {layer.padding}) / {layer.stride}) + 1 = {new}"
    return f"{axis} = {result}  (input - kernel + padding of both sides, over the stride, rounded down, + 1)"
