"""What a user writes in plain PyTorch: torchvision's data set, a DataLoader, a loop. Threads are torch's default."""

from __future__ import annotations

import torch
from common import EVALUATION_BATCH, MEAN, STD, TRAIN, VALIDATION, Stopwatch, asked
from networks import network
from torch.nn import functional as F
from torch.utils.data import DataLoader, random_split
from torchvision import datasets, transforms


def accuracy(net: torch.nn.Module, loader: DataLoader, device: torch.device) -> float:
    """The share of images that the network gets right."""
    net.eval()
    right = seen = 0
    with torch.no_grad():
        for images, labels in loader:
            answers = net(images.to(device)).argmax(1)
            right += (answers == labels.to(device)).sum().item()
            seen += len(labels)
    net.train()
    return right / seen


def main() -> None:
    ask = asked()
    torch.manual_seed(ask.get("seed", 0))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((MEAN,), (STD,))])
    train, val = random_split(datasets.MNIST(ask["data"], train=True, transform=transform), [TRAIN, VALIDATION])
    test = datasets.MNIST(ask["data"], train=False, transform=transform)
    workers = ask["workers"]
    loader = DataLoader(train, batch_size=ask["batch"], shuffle=True, num_workers=workers)
    val_loader = DataLoader(val, batch_size=EVALUATION_BATCH, num_workers=workers)
    test_loader = DataLoader(test, batch_size=EVALUATION_BATCH, num_workers=workers)
    net = network(ask["model"], ask["norm"]).to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    watch = Stopwatch(ask["seconds"]) if "seconds" in ask else None
    steps = ask["samples"] // ask["batch"] if watch is None else 0
    step, running_loss = 0, 0.0
    while watch is not None or step < steps:
        for images, labels in loader:
            optimizer.zero_grad()
            loss = F.cross_entropy(net(images.to(device)), labels.to(device))
            loss.backward()
            optimizer.step()
            running_loss += loss.item()
            step += 1
            if watch is not None:
                if watch.enough():
                    watch.tell(ask["batch"])
                    return
            elif step % (steps // ask["validations"]) == 0:
                print(
                    f"step {step}: loss {running_loss / step:.4f}, validation {accuracy(net, val_loader, device):.4f}"
                )
            if step == steps:
                break
    print(f"test {accuracy(net, test_loader, device):.4f}")


if __name__ == "__main__":
    main()
