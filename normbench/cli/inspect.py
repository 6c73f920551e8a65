"""`normbench inspect`: what a network costs and sees, layer by layer; what shares a statistic; filters of a run."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normbench.cli.options import folder, new_file, number, positive, size
from normbench.cli.tables import print_table
from normbench.errors import UsageError, unknown

if TYPE_CHECKING:
    from normbench.models.inspection import Row
    from normbench.norms.sharing import Pattern
    from normbench.spec import RunConfig

CLASSIC: dict[str, dict[str, Any]] = {"batch": {}, "layer": {}, "instance": {}, "group": {"groups": 2}}
MOST_PATTERNS = 3  # of one norm that a figure shows
RARE = 0.05  # share of outputs below which a pattern is one of few values, not of a place


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the command to the parser."""
    sub = add("inspect", _inspect, "print what a network costs and sees, layer by layer, without building it")
    sub.add_argument("run", nargs="?", type=folder, help="with --filters or --maps: the folder of a trained run")
    sub.add_argument(
        "--filters", action="store_true", help="draw the filters of the first layer, as filters.svg and .png"
    )
    sub.add_argument(
        "--maps",
        type=int,
        metavar="CLASS",
        help="draw the feature maps of the first test image of a class, as maps_CLASS.svg and .png",
    )
    sub.add_argument("--out", type=folder, default=Path(), help="folder for both (default: here)")
    sub.add_argument("--model", help="model or preset (default: digit_cnn)")
    sub.add_argument("--norm", help="normalization (default: the model's own)")
    sub.add_argument("--data", default="mnist", help="data set, for the size of its images (default: mnist)")
    sub.add_argument("--batch", type=positive, default=32, help="images of a batch (default: 32)")
    sub.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key, e.g. model.width=8")
    sub.add_argument("--plugins", action="append", default=[], metavar="FILE", help="a Python file that registers more")
    sub.add_argument(
        "--memory", type=size, metavar="SIZE", help="measure what a training needs, and the largest batch in, say, 8GB"
    )
    sub.add_argument("--explain", metavar="LAYER", help="show the formulas of one layer (block.1; or conv2, linear1)")
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
    if options.run is not None or options.filters or options.maps is not None:
        return _pictures(options)
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
        if options.memory is not None:
            _print_memory(config, options.memory)
        return 0
    row = _named(options.explain, rows)
    print(f"{row.layer.name}: {_shape(row.layer.inputs)} -> {_shape(row.layer.outputs)}")
    for line in [*explanation(row, image, row is rows[0]), *_statistic(row, norms, device_batch(config) * together)]:
        print(f"  {line}")
    return 0


def _named(name: str, rows: list[Row]) -> Row:
    """The row of a layer by its name in the model, or as the second convolution (conv2) or first linear layer."""
    found = {row.layer.name: row for row in rows}
    for kind in ("conv", "linear"):
        of_kind = [row for row in rows if row.layer.spatial == (kind == "conv")]
        found = {f"{kind}{number}": row for number, row in enumerate(of_kind, start=1)} | found
    if name not in found:
        raise UsageError(f"--explain {unknown('layer', name, found)}")
    return found[name]


def _statistic(row: Row, norms: Any, images: int) -> list[str]:
    site = row.layer.site
    if site is not None and norms.facts.remembers:
        return [f"statistics of {norms.name} are of images before, in earlier batches too: no number of values"]
    if site is None or row.values is None:
        return []
    parts = norms.facts.extents(images, site.channels, site.positions)
    product = " x ".join(map(str, parts))
    return [f"values per statistic of {norms.name} = images x channels x positions = {product} = {row.values:,}"]


def _shape(shape: Sequence[int], times: str = " x ") -> str:
    return times.join(map(str, shape))


def _print(config: RunConfig, rows: list[Row], image: Sequence[int]) -> None:
    from normbench.models.inspection import totals

    model = config.model
    title = f"{model.name} with norm {model.norm}, images {_shape(image)}, batch {config.data.batch_size}"
    numbers = ["parameters", "of norm", "MACs", "bytes", "sees", "values per statistic"]
    cells = [
        [
            layer.name,
            _shape(layer.outputs if layer.spatial else layer.outputs[: 1 + (layer.layout == "tokens")], "x"),
            layer.site.role if layer.site else "",
            f"{row.parameters:,}",
            f"{row.norm_parameters:,}" if layer.site else "",
            f"{layer.macs:,}",
            f"{row.bytes:,}",
            _shape(row.field, "x"),
            "" if row.values is None else f"{row.values:,}",
            "redundant" if row.redundant else ("yes" if layer.bias else "no"),
        ]
        for row, layer in ((row, row.layer) for row in rows)
    ]
    print_table(title, ["layer", "output", "site", *numbers, "bias"], cells, right=numbers)
    total = totals(rows)
    batch = config.data.batch_size
    print(f"parameters: {total.parameters:,} ({100 * total.linear_share:.1f} % of them in linear layers)")
    print(f"forward, an image: {total.macs:,} MACs = {2 * total.macs:,} FLOPs (norms and activations not counted)")
    print(f"training, an image: {total.training_macs:,} MACs = {2 * total.training_macs:,} FLOPs")
    print(f"outputs of these layers, a batch of {batch} in float32: {total.bytes * batch / 2**20:.1f} MiB")


def _print_memory(config: RunConfig, budget: int) -> None:
    from normbench.spec.counts import device_batch
    from normbench.train.footprint import footprint

    found, batch = footprint(config), device_batch(config)
    parts = {"weights": found.weights, "gradients": found.gradients, config.optimizer.name: found.states}
    said = ", ".join(f"{name} {count / 2**20:.1f} MiB" for name, count in parts.items())
    print(f"memory of a training, measured in float32 (what libraries and drivers take comes on top): {said}")
    print(f"peak of the activations of a batch of {batch}: {found.activations(batch) / 2**20:.1f} MiB")
    largest = found.largest(budget)
    most = f"{number(largest, 'image')}, {found.total(largest) / 2**20:,.1f} MiB" if largest else "none"
    print(f"largest batch of a device with {budget / 2**20:,.1f} MiB: {most}")


def _pictures(options: argparse.Namespace) -> int:
    """Filters and feature maps of a trained run."""
    from normbench.cli.evaluate import trained_run
    from normbench.report.maps import filter_figure, map_figure
    from normbench.train.seen import filters, maps

    if options.run is None or not (options.filters or options.maps is not None):
        raise UsageError("inspect RUN draws a trained run: give its folder, and --filters or --maps CLASS")
    if not options.out.is_dir():
        raise UsageError(f"--out {options.out}: no such folder: make it first")
    run = trained_run(options.run)
    model = run.config()["model"]
    label = f"{model['name']} with norm {model['norm']}, run {run.id}"
    if options.filters:
        found = filters(run)
        _draw(options.out / "filters", filter_figure(f"{label}: {found.layer}", found.weights))
    if options.maps is not None:
        seen = maps(run, options.maps)
        title = f"{label}: test image {seen.number} of class {seen.label}, taken for {seen.predicted}"
        _draw(options.out / f"maps_{options.maps}", map_figure(title, seen.image, seen.layers))
    return 0


def _figure(file: Path, norms: Any) -> int:
    from normbench.norms.sharing import patterns
    from normbench.report.sharing import drawing

    new_file("--figure", file.with_suffix(".svg") if file.name else file)
    panels: list[tuple[str, Pattern]] = []
    for name, options in {**CLASSIC, norms.name: norms.options}.items():
        for pattern in [one for one in patterns(name, options) if one.share >= RARE][:MOST_PATTERNS]:
            # At the edge of a window, say, fewer values count than in its middle.
            part = f": {100 * pattern.share:.0f} % of the outputs" if pattern.share < 1 - RARE else ""
            panels.append((f"{_label(name, options)}{part}", pattern))
    _draw(file, drawing(panels))
    return 0


def _draw(file: Path, svg: str) -> None:
    """Writes a figure as SVG and PNG."""
    from normbench.report.sharing import png
    from normbench.store.files import replace_file

    for suffix, content in ((".svg", svg.encode()), (".png", png(svg))):
        path = file.with_suffix(suffix)
        replace_file(path, partial(_write, content))
        print(path)


def _label(name: str, options: Any) -> str:
    whole = [f"{key} {value}" for key, value in options.items() if isinstance(value, int) and value is not True]
    return f"{name} ({', '.join(whole)})" if whole else name


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)
