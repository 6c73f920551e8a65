"""Images a second of MNISTDataModule's indexing against torchvision's Dataset in a DataLoader, in one process.

Prints both rates and their ratio, alternating the two so that a machine whose speed drifts treats them alike.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable

import torch
from machine import data_folder, described
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from normbench.data import MNISTDataModule

BATCH = 128
SECONDS = 2.0
ROUNDS = 5


def rate(batches: Iterable[tuple[torch.Tensor, torch.Tensor]]) -> float:
    """Images a second that come out of `batches` within about SECONDS."""
    start, images = time.perf_counter(), 0
    for x, _ in batches:
        images += len(x)
        if time.perf_counter() - start > SECONDS:
            break
    return images / (time.perf_counter() - start)


def main() -> None:
    """Measures and prints."""
    torch.set_num_threads(1)
    data_dir, head = data_folder(), described()
    normalize = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    usual = DataLoader(datasets.MNIST(data_dir, transform=normalize), batch_size=BATCH, shuffle=True)
    data = MNISTDataModule(batch_size=BATCH)
    data.setup()
    indexed = data.train_dataloader()
    pairs = [(rate(indexed), rate(usual)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
    ratios = sorted(a / b for a, b in pairs)
    print(f"{head}\n")
    print(f"MNIST, batch {BATCH}, one thread, medians of {ROUNDS} rounds")
    print(f"indexing one tensor      {ours:10,.0f} images/s")
    print(f"torchvision + DataLoader {theirs:10,.0f} images/s")
    print(f"ratio {statistics.median(ratios):.0f} (from {ratios[0]:.0f} to {ratios[-1]:.0f})")


if __name__ == "__main__":
    main()
