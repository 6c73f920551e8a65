"""A loop tuned by hand: every trick but an allocator's, in one process of one thread.

The images lie in memory as one standardised tensor and are taken by index; one thread, a fused optimizer, layers and
memory layout for speed, no bias that a norm takes away, no denormal numbers, nothing in a step that waits for a number.
"""

from __future__ import annotations

import torch
from common import MEAN, STD, TRAIN, Stopwatch, asked
from networks import network
from torch.nn import functional as F
from torchvision import datasets


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
        for start in range(0, TRAIN - batch + 1, batch):
            chosen = order[start : start + batch]
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images[chosen]), labels[chosen])
            loss.backward()
            optimizer.step()
            running_loss += loss.detach()
            if watch.enough():
                watch.tell(batch)
                return


if __name__ == "__main__":
    main()
