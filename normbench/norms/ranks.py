"""One of two processes in which a norm is tried: `python -m normbench.norms.ranks FOLDER RANK`. See `outside`."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from normbench.norms.facts import Facts
from normbench.norms.known import HERE
from normbench.norms.subject import named_norm
from normbench.norms.trial import Trial
from normbench.spec.plugins import load_plugin

JOB = "job.json"
WAIT = timedelta(seconds=60)  # of one process for the other


@dataclass(frozen=True)
class Job:
    """What both processes try.

    Args:
        norm: The norm as a command line names it.
        plugins: Files that register what it names.
        options: All of its options.
        facts: What is measured of it.
    """

    norm: str
    plugins: list[str]
    options: Mapping[str, Any]
    facts: dict[str, Any]

    @classmethod
    def of(cls, trial: Trial) -> Job | str:
        """The job of a trial, or why another process cannot find its norm."""
        entry = trial.entry
        parts = entry.facts.get("parts", (entry,))
        files = [part.source for part in parts if Path(part.source).parent != HERE]
        if not all(files):
            return "it stands in no file that another process could read"
        norm = entry.name
        if files and len(parts) == 1:
            name = getattr(entry.build, "__qualname__", "")
            if "." in name or not name:
                return "its class stands inside another, where another process does not find it"
            norm = f"{entry.source}:{name}"
        return cls(norm, files if len(parts) > 1 else [], trial.options, trial.facts.to_dict())

    def write(self, path: Path) -> None:
        """Writes it for the processes."""
        path.write_text(json.dumps(dataclasses.asdict(self)), encoding="utf-8")

    def trial(self) -> Trial:
        """The trial, in another process."""
        for file in self.plugins:
            load_plugin(file)
        entry = named_norm(self.norm)
        return Trial(entry, entry.chosen(self.options, "options"), Facts.from_dict(self.facts))


def part_of(trial: Trial, layout: str, half: int | None) -> tuple[Tensor, Tensor]:
    """Input and weights of the loss of one process, or of both together."""
    found = trial.input(layout, times=2), trial.input(layout, 4, times=2)
    return found if half is None else (found[0].chunk(2)[half], found[1].chunk(2)[half])


def computed(net: nn.Module, x: Tensor, weights: Tensor) -> dict[str, Tensor]:
    """Output, gradients and state after one step of training without an optimizer; in a group of processes with DDP."""
    model = net
    if dist.is_initialized() and any(p.requires_grad for p in net.parameters()):
        model = DistributedDataParallel(net)
    x = x.clone().requires_grad_()
    y = model(x)
    found = {"output": y.detach()}
    if y.requires_grad:
        (y * weights).sum().backward()
        found["gradient of the input"] = torch.zeros_like(x) if x.grad is None else x.grad
    for name, parameter in net.named_parameters():
        if parameter.grad is not None:
            found[f"gradient of {name}"] = parameter.grad.clone()
    found |= {name: buffer.clone() for name, buffer in net.named_buffers()}
    if model is not net:
        model(x)  # says where a parameter took no part in the step before
    return found


def main(folder: Path, rank: int) -> None:
    """Tries the job of a folder as process 0 or 1; writes RANK.pt, or what went wrong as RANK.txt."""
    torch.set_num_threads(1)
    try:
        trial = Job(**json.loads((folder / JOB).read_text(encoding="utf-8"))).trial()
        nets = {layout: trial.net(layout) for layout in trial.layouts}
        store = f"file://{(folder / 'store').as_posix()}"
        dist.init_process_group("gloo", init_method=store, rank=rank, world_size=2, timeout=WAIT)
        found = {layout: computed(net, *part_of(trial, layout, rank)) for layout, net in nets.items()}
        torch.save(found, folder / f"{rank}.pt")
        dist.destroy_process_group()
    except Exception as error:  # a user's code may raise anything
        line = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        (folder / f"{rank}.txt").write_text(line, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
