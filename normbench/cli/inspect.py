"""`normbench inspect`: what a network costs and sees, layer by layer, and which values share a statistic."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.cli.options import folder, positive
from normbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from normbench.models.inspection import Row
    from normbench.spec import RunConfig

CLASSIC: dict[str, dict[str, Any]] = {"batch": {}, "layer": {}, "instance": {}, "group": {"groups": 2}}


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add("inspect", _inspect, "print what a network costs and sees, layer by layer, without building it")
    sub.add_argument("--model", help="model or preset (default: digit_cnn)")
    sub.add_argument("--norm", help="normalization (default: the model's own)")
    sub.add_argument("--data", default="mnist", help="data set, for the size of its images (default: mnist)")
    sub.add_argument("--batch", type=positive, default=32, help="images of a batch (default: 32)")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key, e.g. model.width=8")
    sub.add_argument("--plugins", action="append", default=[], metavar="FILE", help="a Python file that registers more")
    sub.add_argument("--explain", metavar="LAYER", help="show the formulas of one layer with their numbers")
    sub.add_argument(
        "--figure",
        type=folder,
        metavar="FILE",
        help="draw which values share a statistic, measured, beside the four classic norms, as FILE.svg and FILE.png",
    )


def _inspect(options: argparse.Namespace) -> int:
    from normbench.cli.arguments import set_options
    from normbench.models.inspection import explanation, inspected
    from normbench.norms import Norms
    from normbench.spec import load_plugins, resolve, run_config
    from normbench.spec.counts import device_batch, devices_together, image_facts, layers

    load_plugins(tuple(options.plugins))
    keys = {"model.name": options.model, "model.norm": options.norm, "data.name": options.data}
    given = {key: value for key, value in keys.items() if value is not None}
    config = resolve(run_config({"data.batch_size": options.batch, **given, **set_options(options.set)}))
    norms = Norms(str(config.model.norm), config.model.norm_options)
    if options.figure is not None:
        return _figure(options.figure, norms)
    walk = layers(config)
    if walk is None:
        raise UsageError(f"model '{config.model.name}' yields no layers as plain data: see docs/extend.md, A model")
    image = image_facts(config.data).image
    together = devices_together(config)
    rows = inspected(walk, norms, image, device_batch(config) * together)
    if options.explain is None:
        _print(config, rows, image)
        return 0
    found = {row.layer.name: row for row in rows}
    if options.explain not in found:
        raise UsageError(f"--explain {unknown('layer', options.explain, found)}")
    row = found[options.explain]
    print(f"{row.layer.name}: {_shape(row.layer.inputs)} -> {_shape(row.layer.outputs)}")
    for line in [*explanation(row, image), *_statistic(row, norms, device_batch(config) * together)]:
        print(f"  {line}")
    return 0


def _statistic(row: Row, norms: Any, images: int) -> list[str]:
    site = row.layer.site
    if site is None or row.values is None:
        return []
    parts = norms.facts.extents(images, site.channels, site.positions)
    product = " x ".join(map(str, parts))
    return [f"values per statistic of {norms.name} = images x channels x positions = {product} = {row.values:,}"]


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _print(config: RunConfig, rows: list[Row], image: Sequence[int]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from normbench.models.inspection import totals

    unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    console = Console(width=None if sys.stdout.isatty() else 140, markup=False)
    model = config.model
    title = f"{model.name} with norm {model.norm}, images {_shape(image)}, batch {config.data.batch_size}"
    table = Table(title=title, box=box.SIMPLE_HEAD if unicode else box.ASCII)
    for heading in ("layer", "output", "site"):
        table.add_column(heading)
    for heading in ("parameters", "of the norm", "MACs", "bytes", "sees", "values per statistic", "bias"):
        table.add_column(heading, justify="right")
    for row in rows:
        layer, site = row.layer, row.layer.site
        table.add_row(
            layer.name,
            _shape(layer.outputs if layer.spatial else layer.outputs[: 1 + (layer.layout == "tokens")]),
            site.role if site else "",
            f"{row.parameters:,}",
            f"{row.norm_parameters:,}" if site else "",
            f"{layer.macs:,}",
            f"{row.bytes:,}",
            _shape(row.field),
            "" if row.values is None else f"{row.values:,}",
            "redundant" if row.redundant else ("yes" if layer.bias else "no"),
        )
    console.print(table)
    total = totals(rows)
    batch = config.data.batch_size
    print(f"parameters: {total.parameters:,} ({100 * total.linear_share:.1f} % of them in linear layers)")
    print(f"forward, an image: {total.macs:,} MACs = {2 * total.macs:,} FLOPs (norms and activations not counted)")
    print(f"training, an image: {total.training_macs:,} MACs = {2 * total.training_macs:,} FLOPs")
    print(f"outputs of these layers, a batch of {batch} in float32: {total.bytes * batch / 2**20:.1f} MiB")


def _figure(file: Path, norms: Any) -> int:
    from normbench.norms.sharing import shared_entries
    from normbench.report.sharing import drawing, png
    from normbench.store.files import replace_file

    if not file.parent.is_dir():
        raise UsageError(f"--figure {file}: no folder {file.parent}: make it first")
    shown = [(name, options) for name, options in CLASSIC.items() if name != norms.name]
    panels = [(_label(name, options), shared_entries(name, options)) for name, options in shown]
    if norms.name in CLASSIC and norms.facts.has_statistics:
        place = list(CLASSIC).index(norms.name)
        panels.insert(place, (_label(norms.name, norms.options), shared_entries(norms.name, norms.options)))
    else:
        panels.append((_label(norms.name, norms.options), shared_entries(norms.name, norms.options)))
    svg = drawing(panels)
    for suffix, content in ((".svg", svg.encode()), (".png", png(svg))):
        path = file.with_suffix(suffix)
        replace_file(path, partial(_write, content))
        print(path)
    return 0


def _label(name: str, options: Any) -> str:
    whole = [f"{key} {value}" for key, value in options.items() if isinstance(value, int) and value is not True]
    return f"{name} ({', '.join(whole)})" if whole else name


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
