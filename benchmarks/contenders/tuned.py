"""A loop tuned by hand: every trick but an allocator's, in one process of one thread.

The images lie in memory as one standardised tensor and are taken by index, several batches at a time; one thread, a
fused optimizer, layers and memory layout for speed, no bias that a norm takes away, no denormal numbers, nothing in a
step that waits for a number.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from common import MEAN, STD, TRAIN, Stopwatch, asked
from networks import network
from torch import Tensor
from torch.nn import functional as F
from torchvision import datasets

GATHERED, IMAGES = 16, 1024  # batches, and images, that are taken at a time, at most: as normbench does


def batches(images: Tensor, labels: Tensor, order: Tensor, batch: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The whole batches of an epoch, in its order; indexing costs as much for several as for one."""
    whole = len(order) // batch * batch
    for some in order[:whole].split(batch * max(1, min(GATHERED, IMAGES // batch))):
        yield from zip(images[some].split(batch), labels[some].split(batch), strict=True)


def main() -> None:
    ask = asked()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(ask.get("seed", 0))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    mnist = datasets.MNIST(ask["data"], train=True)
    images = mnist.data[:TRAIN].unsqueeze(1).float().div_(255).sub_(MEAN).div_(STD).to(device)
    labels = mnist.targets[:TRAIN].to(device)
    net = network(ask["model"], ask["norm"], fast=True).to(device, memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, fused=True)
    batch, watch = ask["batch"], Stopwatch(ask["seconds"])
    running_loss = torch.zeros((), device=device)
    while True:
        order = torch.randperm(TRAIN, device=device)
        for x, y in batches(images, labels, order, batch):
            optimizer.zero_grad()
            loss = F.cross_entropy(net(x), y)
            loss.backward()
            optimizer.step()
            running_loss += loss.detach()
            if watch.enough():
                watch.tell(batch)
                return


if __name__ == "__main__":
    main()
