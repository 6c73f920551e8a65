"""Floating-point operations a second of a product of two float32 matrices on one thread: what the machine can do."""

from __future__ import annotations

import torch
from common import Stopwatch, asked

SIDE = 1024


def main() -> None:
    ask = asked()
    torch.set_num_threads(1)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    one, two = torch.randn(SIDE, SIDE, device=device), torch.randn(SIDE, SIDE, device=device)
    out, watch = torch.empty(SIDE, SIDE, device=device), Stopwatch(ask["seconds"])
    while not watch.enough():
        torch.mm(one, two, out=out)
    watch.tell(2 * SIDE**3)


if __name__ == "__main__":
    main()
