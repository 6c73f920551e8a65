"""Without norm but built for it: entries that stand beside the norms, and change the branches of a residual network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from normbench.norms.contract import BranchRule
from normbench.norms.registry import register_norm

CLAIMS = {"axes": "nothing", "scope": "none", "same_in_eval": True, "cancels_bias": False}


@register_norm("skip_init", **CLAIMS)
class SkipInit(nn.Identity):
    """No norm, and a trained multiplier, at first 0, at the end of each residual branch: every block starts as x.

    y = shortcut(x) + alpha branch(x), one number alpha for each branch. Where a norm would stand there is the
    identity. For models whose branches are built for it: `resnet`, and `vit` (two branches a block) and `convnext`.

    Source: De & Smith 2020 (arXiv 2002.10444), section 5, of which `vit` and `convnext` are our own use. Layers keep
    their biases, as there. The paper's drop-out before the last layer is the model's business.

    Args:
        num_channels: C; not used.

    Example:
        >>> from normbench.models import build_model
        >>> from normbench.spec.schema import ModelConfig
        >>> net = build_model(ModelConfig("resnet8", norm="skip_init"))
        >>> net.stage0.block0.conv2.branch_scale.detach()
        tensor([0.])
    """

    branch = BranchRule(multiplier=0.0)

    def __init__(self, num_channels: int) -> None:
        super().__init__()


@register_norm("fixup", **CLAIMS)
class Fixup(nn.Module):
    """No norm, but residual branches whose first layers start small and whose last starts at zero, and scalar biases.

    Of L branches with m layers each, the first m - 1 layers of a branch are drawn as `model.init` says and multiplied
    by L^(-1/(2m - 2)), and the last is zero, as is the classifier. One scalar bias, at first 0, is added before each
    activation, each layer of a branch and the classifier (where a norm would stand it is this module: y = x + b); a
    scalar multiplier, at first 1, ends each branch. Scalars train at a tenth of the learning rate. With `bias` auto or
    never they take the place of the biases of layers in branches, and of those that a norm would follow.

    For models whose branches are built for it. `resnet`: m is 2. `vit`: m is 2 in the MLP and 4 in attention (queries,
    keys, values, projection), L twice the depth, as in the authors' transformer; the scalar before the projection is
    the paper's rule, which that code leaves out, and its last multiplier is left out here. `convnext` is our own
    reading: m is 3. Where the norm's place is directly before a layer (in both, also before the mean that goes into the
    classifier), the layer has no second scalar.

    Source: Zhang, Dauphin & Ma 2019 (arXiv 1901.09321), section 3; https://github.com/hongyi-zhang/Fixup, from which
    differ: the scaled draw is He's with the fan-out there in ResNets (here any `model.init`), a shortcut that changes
    the shape has the branch's first bias there too, and the classifier's biases learn at a tenth of the rate there too.

    Args:
        num_channels: C; not used.

    Example:
        >>> Fixup(1)(torch.tensor([[2.0]])).detach()
        tensor([[2.]])
    """

    branch = BranchRule(multiplier=1.0, scalar_biases=True, rescaled=True, rate=0.1)

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(1))
        self.rate_factors = {"bias": self.branch.rate}

    def forward(self, x: Tensor) -> Tensor:
        return x + self.bias.to(x.dtype)
