"""`normbench norms`, `models`, `datasets`, `probes`: what there is, its options, and where it is defined."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from normbench.cli.check import add_check
from normbench.cli.measurements import add_measurements, measured_or
from normbench.cli.options import positive
from normbench.cli.tables import print_table
from normbench.spec.registry import DATASETS, MODELS, NORMS, OPTIMIZERS, PROBES, REQUIRED, Entry, Registry
from normbench.spec.values import shown_value


def add_commands(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Adds the commands to the parser."""
    norms = add("norms", _norms, "print the table of norms, with what is measured of each")
    norms.add_argument("--channels", type=positive, default=64, help="channels C of the input (default: 64)")
    norms.add_argument("--batch", type=positive, default=32, help="images of a batch (default: 32)")
    norms.add_argument("--model", default="digit_cnn", help="network whose sites are counted (default: digit_cnn)")
    norms.add_argument("--cost", action="store_true", help="time each norm beside batch, on this machine's CPU")
    lists = [norms]
    for name, registry in (
        ("models", MODELS),
        ("datasets", DATASETS),
        ("optimizers", OPTIMIZERS),
        ("probes", PROBES),
    ):
        also = "; with a study, write what they found" if registry is PROBES else ""
        show = _lister(registry)
        text = f"print the {name} that a configuration can name, with their options{also}"
        sub = add(name, measured_or(show) if registry is PROBES else show, text)
        if registry is PROBES:
            add_measurements(sub)
        lists.append(sub)
    for sub in lists:
        sub.add_argument(
            "--plugins", action="append", default=[], metavar="FILE", help="a Python file that registers more"
        )
    add_check(norms)


def _lister(registry: Registry) -> Callable[[argparse.Namespace], int]:
    def show(options: argparse.Namespace) -> int:
        from normbench.spec import load_plugins

        load_plugins(tuple(options.plugins))
        rows = [[name, entry.summary, _options(entry), _defined(entry)] for name, entry in _entries(registry)]
        print_table(
            registry.kind + "s", [registry.kind, "what it is", "options", "defined in"], rows, lines=True, width=180
        )
        return 0

    return show


def _norms(options: argparse.Namespace) -> int:
    from normbench.errors import NormbenchError
    from normbench.norms import facts
    from normbench.norms.words import shared_axes
    from normbench.spec import load_plugins

    load_plugins(tuple(options.plugins))
    MODELS.get(options.model)
    costs: dict[str, str] = {}
    if options.cost:
        from normbench.norms.timing import cost_ratios

        # What acts on weights or branches does next to nothing by itself: that would look like a measured cost.
        alone = [name for name, entry in _entries(NORMS) if not {"weights", "branch"} & entry.facts.keys()]
        costs = dict.fromkeys(alone, "") | {
            name: f"{ratio:.1f}" for name, ratio in cost_ratios(alone, options.batch, options.channels).items()
        }
    rows = []
    for name, entry in _entries(NORMS):
        try:
            found = facts(name)
            measured = [
                shared_axes(found),
                _values(name, options.model, options.batch),
                *("yes" if fact else "no" for fact in (found.same_in_eval, found.cancels_bias(options.channels))),
                *("yes" if fact else "no" for fact in (found.scale_invariant, found.shift_invariant)),
                str(found.parameters(options.channels)),
            ]
        except NormbenchError as error:
            measured = [str(error), *[""] * 6]
        cost = [costs.get(name, "-")] if options.cost else []
        rows.append([name, *measured, *cost, _options(entry), _defined(entry)])
    headings = ["norm", "one statistic is over", "values in it", "same in eval", "no bias", "no scale", "no shift"]
    headings += ["parameters", *(["cost"] if options.cost else []), "options", "defined in"]
    print_table(f"norms, for an input (N, {options.channels}, H, W)", headings, rows, lines=True, width=180)
    print(
        f"values in it: of one statistic, at the sites of {options.model} with {options.batch} images; the fewest, and"
    )
    print("the most. no bias, no scale, no shift: a bias for each channel, a positive factor, one number added to all")
    print(
        "has no effect. cost (--cost): seconds of forward and backward pass over those of batch; -: it acts on weights"
    )
    print("or branches, and `normbench cost` of a study with it tells what training costs; empty: input refused.")
    print("past N: of all images before, in earlier batches too, so no batch decides how many values there are.")
    return 0


def _values(norm: str, model: str, images: int) -> str:
    """Values of one statistic at the sites of a network: "98 to 6,272"; "-" where there is no number of them.

    That is where the norm does not fit there, or remembers earlier batches.
    """
    from normbench.errors import UsageError
    from normbench.models.registry import CLASSES, IMAGE, completed
    from normbench.norms import facts
    from normbench.spec.schema import ModelConfig

    config, found = completed(ModelConfig(model, norm=norm)), facts(norm)
    if found.remembers:
        return "-"
    try:
        sites = [layer.site for layer in MODELS.get(model).facts["layers"](config, IMAGE, CLASSES) or [] if layer.site]
        counts = [found.values_per_statistic(images, site.channels, site.positions) for site in sites]
    except UsageError:
        return "-"
    return " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)})) if counts else "-"


def _entries(registry: Registry) -> list[tuple[str, Entry]]:
    return [(name, registry.get(name)) for name in registry]


def _options(entry: Entry) -> str:
    shown = {
        option.name: "required" if option.default is REQUIRED else shown_value(option.default)
        for option in entry.options.values()
    }
    return "\n".join(f"{name}={value}" for name, value in shown.items())


def _defined(entry: Entry) -> str:
    return Path(entry.source).name
