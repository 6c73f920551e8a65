"""The probe `layers`: what goes through each layer, and what comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from normbench.probes.contract import Measurement, Moment, Probe, register_probe

if TYPE_CHECKING:
    from torch import Tensor


@register_probe("layers")
class Layers(Probe):
    """Mean and standard deviation of every layer's outputs, and the norm of its gradient, on the last batch.

    A layer is a module that has parameters of its own. LAYER/mean and LAYER/std are over all its outputs;
    LAYER/gradient is the Euclidean norm of the gradient of the mean cross-entropy (nats) with respect to its
    parameters, in train mode. A layer that is not reached has no numbers. With several devices they are of rank 0's
    part of the batch. Cost: a forward and a backward pass of one batch; memory: the activations of one.

    Args:
        times: How many times, evenly spread over the budget, the last at its end.
        at: Optimizer steps after which to measure, instead.
    """

    def measure(self, moment: Moment) -> Measurement:
        from torch.nn import functional as F

        outputs: dict[str, tuple[float, float]] = {}
        layers = {
            name: module
            for name, module in moment.net.named_modules()
            if any(True for _ in module.parameters(recurse=False))
        }

        def note(name: str) -> Any:
            def hook(module: Any, inputs: Any, output: Tensor) -> None:
                first: Any = output[0] if isinstance(output, tuple) else output
                values = first.detach().double() if first.device.type != "mps" else first.detach().float()
                outputs[name] = (float(values.mean()), float(values.std(correction=0)))

            return hook

        for name, module in layers.items():
            module.register_forward_hook(note(name))
        F.cross_entropy(moment.net(moment.images).float(), moment.labels).backward()
        scalars: dict[str, float] = {}
        for name, (mean, std) in outputs.items():
            gradients = [p.grad.detach().float() for p in layers[name].parameters(recurse=False) if p.grad is not None]
            label = name or "net"
            scalars |= {f"{label}/mean": mean, f"{label}/std": std}
            scalars[f"{label}/gradient"] = sum(float(g.square().sum()) for g in gradients) ** 0.5
        return Measurement(scalars)
