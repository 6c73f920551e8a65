"""What is measured of norms, and what follows from it."""

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from normbench.errors import UsageError
from normbench.norms import NORMS, Extent, build_norm, facts, known, register_norm
from normbench.norms.catalogue import written
from normbench.norms.claims import axes, scope
from normbench.norms.known import FILE, take_over, to_hand_over
from normbench.norms.words import shared_axes

from .cases import builtin

ONE, ALL = Extent("one"), Extent("all")


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))


@pytest.fixture
def plug() -> Iterator[Callable[..., str]]:
    """Registers a norm under the name "plugin" until the test ends."""

    def add(build: Any, **claims: Any) -> str:
        register_norm("plugin", **claims)(build)
        return "plugin"

    yield add
    if "plugin" in NORMS:
        NORMS.remove("plugin")


@pytest.mark.parametrize(
    ("name", "options", "extents", "devices", "same", "vectors"),
    [
        ("none", {}, (ONE, ONE, ONE), False, True, True),
        ("batch", {}, (ALL, ONE, ALL), False, False, True),
        ("batch", {"momentum": None, "eps": 0.1}, (ALL, ONE, ALL), False, False, True),
        ("sync_batch", {}, (ALL, ONE, ALL), True, False, True),
        ("ghost", {}, (Extent("fixed", 16), ONE, ALL), False, False, True),
        ("ghost", {"size": 24}, (Extent("fixed", 24), ONE, ALL), False, False, True),
        ("ghost", {"size": 1}, (ONE, ONE, ALL), False, False, False),
        ("layer", {}, (ONE, ALL, ALL), False, True, True),
        ("instance", {}, (ONE, ONE, ALL), False, True, False),
        ("group", {}, (ONE, Extent("parts", 8), ALL), False, True, True),
        ("group", {"groups": 1}, (ONE, ALL, ALL), False, True, True),
        ("group", {"groups": 3}, (ONE, Extent("parts", 3), ALL), False, True, True),
    ],
)
def test_builtin_norms(
    name: str, options: dict[str, Any], extents: tuple[Extent, ...], devices: bool, same: bool, vectors: bool
) -> None:
    found = facts(name, options)
    assert (found.images, found.channels, found.positions) == extents
    assert found.devices == devices
    assert found.same_in_eval == same
    assert ("vector" in found.layouts) == vectors
    assert found.has_statistics == (name != "none")
    assert found.parameters(12) == (0 if name == "none" else 24)
    assert found.constant == ("kept" if name == "none" else "beta")


@pytest.mark.parametrize(
    ("name", "shared", "devices", "same", "bias", "parameters", "constant"),
    [
        ("layer_channels", "(C)", "sample", True, "one channel", 24, "beta"),
        ("position", "(C)", "sample", True, "one channel", 0, "beta"),
        ("local_response", "(C)", "sample", True, "never", 0, "other"),
        ("rms", "(C, H, W)", "sample", True, "never", 12, "other"),
        ("simple", "(N, H, W)", "device", False, "never", 24, "other"),
        ("detached_batch", "(N, H, W)", "device", False, "always", 24, "beta"),
        ("detached_layer", "(C, H, W)", "sample", True, "one channel", 24, "beta"),
        ("dyt", "nothing", "none", True, "never", 25, "other"),
        ("derf", "nothing", "none", True, "never", 26, "other"),
        ("dyisru", "nothing", "none", True, "never", 25, "other"),
        ("skip_init", "nothing", "none", True, "never", 0, "kept"),
        ("fixup", "nothing", "none", True, "never", 1, "kept"),
        ("frozen_batch", "(N, H, W)", "device", False, "always", 24, "beta"),
        ("batch_renorm", "(N, H, W)", "device", False, "always", 24, "beta"),
        ("switchable", "(N, C, H, W)", "device", False, "one channel", 30, "beta"),
        ("batch_instance", "(N, H, W)", "device", False, "always", 36, "beta"),
        ("iter_norm", "(N, C, H, W)", "device", False, "always", 24, "beta"),
        ("online_norm", "(N, H, W)", "past", False, "never", 24, "other"),
        ("filter_response", "(H, W)", "sample", True, "never", 48, "other"),
        ("evonorm_s0", "(C, H, W)", "sample", True, "never", 36, "other"),
        ("evonorm_b0", "(N, H, W)", "device", False, "never", 36, "other"),
    ],
)
def test_further_norms(
    name: str, shared: str, devices: str, same: bool, bias: str, parameters: int, constant: str
) -> None:
    found = facts(name)
    assert (axes(found), scope(found)) == (shared, devices)
    assert (found.same_in_eval, found.bias, found.constant) == (same, bias, constant)
    assert found.parameters(12) == parameters


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({"decay": 0.5}, "(past N, H, W)"),  # of 64 images some 30 can be seen in the last, and 12 of 12
        ({"decay": 0.0}, "(past N, H, W)"),
        ({"decay": 0.99999, "decay_gradient": 0.2}, "(past N, H, W)"),
        ({"decay": 0.7, "guard": "layer_scaling"}, "(past N, C, H, W)"),
        ({"guard": "none"}, "(past N, H, W)"),
        ({"limit": 1.0}, "(past N, H, W)"),
    ],
)
def test_a_norm_of_the_past_is_one_at_every_decay(options: dict[str, Any], shared: str) -> None:
    found = facts("online_norm", options)
    assert (found.images, found.remembers, scope(found), shared_axes(found)) == (Extent("past"), True, "past", shared)
    assert (found.same_in_eval, found.bias, found.device_group) == (False, "never", 1)


def test_no_batch_decides_how_many_values_a_remembered_statistic_has() -> None:
    found = facts("online_norm")
    for site in ((1, 8, 1), (2, 8, 1), (512, 8, 784)):
        assert found.values_per_statistic(*site) == 0
        assert found.sentence(*site) is None
    assert found.has_statistics
    assert {name for name in builtin() if facts(name).remembers} == {"online_norm"}


def test_groups_of_devices_are_measured() -> None:
    found = facts("sync_batch", {"group_size": 2})
    assert (found.devices, found.device_group, [found.devices_of(n) for n in (2, 4, 6)]) == (True, 2, [2, 2, 2])
    with pytest.raises(
        UsageError, match="groups of 2 devices, which does not divide the 3 of the run: choose one of 1"
    ):
        found.devices_of(3)
    assert [facts("sync_batch").devices_of(n) for n in (1, 4)] == [1, 4]
    assert facts("batch").devices_of(4) == 1
    assert not facts("sync_batch", {"group_size": 1}).devices


def test_a_statistic_that_a_gate_hides_is_measured_and_counts() -> None:
    found = facts("batch_instance")
    assert found.within == (ONE, ONE, ALL)
    assert found.values_per_statistic(16, 8, 49) == 49
    sentence = found.sentence(16, 8, 1, "vector")
    assert sentence is not None
    assert sentence.endswith("so nothing of the input is left: choose another norm")
    assert (found.sentence(16, 8, 1) or "").endswith("choose a larger map or another norm")
    assert all(facts(name).within is None for name in NORMS if name != "batch_instance")


def test_a_mean_of_its_own_is_the_smallest_statistic_of_a_channel() -> None:
    """Iterative whitening shares its covariance over channels, but each of them is centred by itself."""
    found = facts("iter_norm")
    assert [found.degenerate(images, 12, positions) for images, positions in ((1, 1), (2, 1), (1, 2), (3, 1))] == [
        "one",
        "two",
        "two",
        None,
    ]
    with pytest.raises(ValueError, match="more than one value"):
        build_norm("iter_norm", 12).train()(torch.zeros(1, 12))
    assert facts("layer").values_per_statistic(1, 12, 1) == 12


@pytest.mark.parametrize(
    ("name", "one", "two"),
    [
        ("batch", "nothing of the input is left", "only which of the two is larger is left"),
        ("rms", "only its sign is left", "only the ratio of the two is left"),
        ("local_response", "a value is compared with itself alone", "two values are compared with each other"),
    ],
)
def test_the_sentence_says_what_is_left(name: str, one: str, two: str) -> None:
    found = facts(name)
    few = {"one": (1, 1, 1), "two": (2, 1, 1) if name == "batch" else (1, 2, 1)}
    assert f"so {one}: " in (found.sentence(*few["one"]) or "")
    assert f"so {two}: " in (found.sentence(*few["two"]) or "")


def test_which_norms_do_not_see_the_scale_or_a_shift_of_their_input() -> None:
    both = {"batch", "sync_batch", "ghost", "layer", "instance", "group", "layer_channels", "position", "iter_norm"}
    both |= {"detached_batch", "detached_layer", "frozen_batch", "batch_renorm", "switchable", "batch_instance"}
    assert {name for name in builtin() if facts(name).shift_invariant} == both
    alone = {"rms", "simple", "filter_response", "evonorm_b0"}
    assert {name for name in builtin() if facts(name).scale_invariant} == both | alone


def test_a_window_of_channels_is_measured_where_no_edge_cuts_it() -> None:
    for size in (1, 4, 5, 7):
        assert facts("local_response", {"size": size}).channels == (Extent("fixed", size) if size > 1 else ONE)


def test_the_catalogue_is_current() -> None:
    assert FILE.read_text(encoding="utf-8") == written(), "run: python -m normbench.norms.catalogue"


def test_default_options_are_planned_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from normbench.norms import NORMS, Norms, facts\n"
        "for name in NORMS: assert facts(name) and Norms(name).cancels_bias(8) in (True, False)\n"
        "assert facts('group', {'groups': 4}).values_per_statistic(2, 8, 9) == 18\n"
        "assert NORMS.get('ghost').chosen({'momentum': None}, 'k')['momentum'] is None\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
        "import normbench.norms.batch; assert facts('batch') and NORMS.get('batch').build.__name__ == 'BatchNorm'"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "XDG_CACHE_HOME": str(tmp_path)})


def test_what_the_catalogue_lacks_is_read_from_the_cache_without_torch(tmp_path: Path) -> None:
    code = "import sys; from normbench.norms import facts; facts('group', {'groups': 5}); print('torch' in sys.modules)"
    command = [sys.executable, "-c", code]
    told = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() for _ in range(2)]
    assert told == ["True", "False"]


def test_which_norms_cancel_a_bias() -> None:
    names = ("none", "batch", "sync_batch", "ghost", "layer", "instance", "group")
    cancelling = {name for name in names if facts(name).cancels_bias(8)}
    assert cancelling == {"batch", "sync_batch", "ghost", "instance", "group"}  # 8 groups of 8 channels
    assert not facts("group", {"groups": 2}).cancels_bias(8)
    assert not facts("group").cancels_bias(16)
    assert not facts("group").cancels_bias(12)  # cannot be built; said so elsewhere
    assert facts("layer").cancels_bias(1)


@pytest.mark.parametrize(
    ("name", "options", "site", "values", "advice"),
    [
        ("group", {"groups": 8}, (32, 8, 1), 1, "fewer groups, more channels, a larger map or another norm"),
        ("group", {"groups": 4}, (32, 8, 1), 2, "fewer groups, more channels, a larger map or another norm"),
        ("layer", {}, (32, 1, 1), 1, "more channels, a larger map or another norm"),
        ("instance", {}, (32, 8, 1), 1, "a larger map or another norm"),
        ("batch", {}, (1, 8, 1), 1, "a larger batch a device, a larger map or another norm"),
        ("batch", {}, (2, 8, 1), 2, "a larger batch a device, a larger map or another norm"),
        ("ghost", {"size": 2}, (32, 8, 1), 2, "more images a part, a larger map or another norm"),
    ],
)
def test_degenerate_statistics_are_refused_or_warned_about_alike(
    name: str, options: dict[str, Any], site: tuple[int, int, int], values: int, advice: str
) -> None:
    found = facts(name, options)
    assert found.values_per_statistic(*site) == values
    assert found.degenerate(*site) == {1: "one", 2: "two"}[values]
    sentence = found.sentence(*site)
    assert sentence is not None
    assert sentence.endswith(f": choose {advice}")


def test_enough_values_are_no_matter() -> None:
    assert facts("group").sentence(1, 8, 3) is None
    assert facts("none").sentence(1, 1, 1) is None
    with pytest.raises(UsageError, match=r"group \(groups=3\).* 3 does not divide 8: choose one of 1, 2, 4, 8$"):
        facts("group", {"groups": 3}).values_per_statistic(4, 8, 9)


class RMSNorm(nn.Module):
    """A user's norm."""

    def __init__(self, num_channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(num_channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        scale = x.square().mean(tuple(range(1, x.dim())), keepdim=True).add(self.eps).rsqrt()
        return x * scale * self.weight.view(1, -1, *[1] * (x.dim() - 2))


class Thresholded(nn.Module):
    """A user's norm with a threshold at zero, which is no closed gate, and a gamma at zero, which is one."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(num_channels))
        self.threshold = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        y = x - x.mean((0, *range(2, x.dim())), keepdim=True)
        return torch.maximum(y * self.gamma.view(1, -1, *[1] * (x.dim() - 2)), self.threshold)


class Detached(RMSNorm):
    """A user's norm whose statistic has no gradient."""

    def forward(self, x: Tensor) -> Tensor:
        return x * x.detach().square().mean(1, keepdim=True).add(self.eps).rsqrt()


def tracking(num_channels: int, spatial: bool = True) -> nn.Module:
    """Instance norm with running statistics."""
    return nn.InstanceNorm2d(num_channels, affine=True, track_running_stats=True)


def tanh(num_channels: int) -> nn.Module:
    """No statistics at all."""
    return nn.Tanh()


class Remembering(nn.Module):
    """A user's norm of running means that the batch moves: before it is normalised, or after."""

    mean: Tensor

    def __init__(self, num_channels: int, first: bool = True) -> None:
        super().__init__()
        self.first = first
        self.register_buffer("mean", torch.zeros(num_channels))

    def forward(self, x: Tensor) -> Tensor:
        across = (1, -1, *[1] * (x.dim() - 2))
        now = 0.9 * self.mean + 0.1 * x.mean((0, *range(2, x.dim())))
        y = x - (now if self.first else self.mean).view(across)
        if self.training:
            self.mean.copy_(now.detach())
        return y


class Causal(nn.Module):
    """A user's norm whose images are centred by the mean of those up to them in the batch: nothing is remembered."""

    def __init__(self, num_channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        count = torch.arange(1, len(x) + 1, dtype=x.dtype).view(-1, *[1] * (x.dim() - 1))
        return x - x.cumsum(0) / count


def test_what_is_remembered_is_told_apart_from_what_the_batch_has(plug: Callable[..., str]) -> None:
    name = plug(Remembering)
    found = facts(name)
    assert (found.images, found.remembers, scope(found)) == (ALL, True, "device")
    assert found.values_per_statistic(2, 8, 1) == 0
    lagging = facts(name, {"first": False})  # of the batches before alone
    assert (lagging.images, lagging.remembers, lagging.has_statistics) == (ONE, True, False)
    NORMS.remove(name)
    found = facts(plug(Causal))
    assert (found.images, found.remembers, scope(found)) == (ALL, False, "device")


def test_a_users_norm_declares_nothing(plug: Callable[..., str]) -> None:
    state = torch.random.get_rng_state()
    hook = sys.excepthook
    found = facts(plug(RMSNorm))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert sys.excepthook is hook
    assert not dist.is_initialized()
    assert (axes(found), scope(found), found.same_in_eval) == ("(C, H, W)", "sample", True)
    assert not found.cancels_bias(8)
    assert found.parameters(5) == 5
    assert found.constant == "other"


def test_a_statistic_without_gradient_is_one_too(plug: Callable[..., str]) -> None:
    found = facts(plug(Detached))
    assert (found.images, found.channels, found.positions) == (ONE, ALL, ONE)


def test_a_threshold_is_no_gate(plug: Callable[..., str]) -> None:
    found = facts(plug(Thresholded))
    assert (found.images, found.channels, found.positions) == (ALL, ONE, ALL)
    assert found.cancels_bias(8)


def test_a_function_of_one_value_has_no_statistics(plug: Callable[..., str]) -> None:
    found = facts(plug(tanh, scope="none", axes="nothing"))
    assert not found.has_statistics
    assert found.values_per_statistic(1, 1, 1) == 0


@pytest.mark.parametrize(
    ("build", "claims", "said"),
    [
        (tracking, {"same_in_eval": True}, "claims same_in_eval=True, but evaluation computes another function"),
        (RMSNorm, {"same_in_eval": False}, "claims same_in_eval=False, but evaluation computes the same"),
        (RMSNorm, {"scope": "device"}, "claims scope='device', but its scope is measured as 'sample'"),
        (RMSNorm, {"scope": "batch"}, "a scope is one of none, sample, past, device, global"),
        (RMSNorm, {"scope": "past"}, "claims scope='past', but its scope is measured as 'sample'"),
        (RMSNorm, {"axes": "(H, W)"}, r"values share a statistic over \(C, H, W\)"),
        (RMSNorm, {"cancels_bias": True}, "a bias on 2 channels before it changes its output"),
        (
            RMSNorm,
            {"cancels_bias": lambda count, options: count > 4},
            "cancels_bias=a function of channels and options, but a bias on 6",
        ),
        (tracking, {"cancels_bias": False}, "a bias on 12 channels before it has no effect"),
        (tracking, {"linear": True}, r"it refuses inputs \(N, C\)"),
    ],
)
def test_a_false_claim_is_refused(plug: Callable[..., str], build: Any, claims: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        facts(plug(build, **claims))


def test_options_that_belie_a_claim_are_told() -> None:
    said = r"claims same_in_eval=False, but with eps=1e\+30 evaluation computes the same: choose other options, correct"
    with pytest.raises(UsageError, match=said):
        facts("batch", {"eps": 1e30})


def test_true_claims_pass(plug: Callable[..., str]) -> None:
    found = facts(plug(tracking, axes="(H, W)", scope="sample", same_in_eval=False, linear=False, cancels_bias=True))
    assert not found.same_in_eval


def test_what_cannot_be_registered_is_named(plug: Callable[..., str]) -> None:
    with pytest.raises(UsageError, match="unknown claim 'scop': did you mean 'scope'"):
        plug(RMSNorm, scop="sample")
    with pytest.raises(UsageError, match="its first parameter is num_channels, not width"):
        plug(lambda width: nn.Tanh())
    with pytest.raises(UsageError, match=r"norm 'batch' is registered already by batch\.py"):
        register_norm("batch")(RMSNorm)


def test_nothing_is_measured_among_connected_processes(plug: Callable[..., str], tmp_path: Path) -> None:
    name = plug(RMSNorm)
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with pytest.raises(UsageError, match=r"call normbench.norms.facts\('\w+', \{'eps': 1e-05\}\) before"):
            facts(name)
        assert facts("batch").images == ALL
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("joined", ["", "weight_std + "])
def test_what_one_process_measured_another_takes_over(
    plug: Callable[..., str], joined: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the ranks of a run do where no cache can be written."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null/cache")
    monkeypatch.setattr(known, "_handed", {})
    name = joined + plug(RMSNorm)
    before = facts(name, {"eps": 0.1})
    sent = pickle.loads(pickle.dumps(to_hand_over(name)))
    NORMS.get(name.removeprefix(joined)).facts["measured"].known.clear()  # as in a new process
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        with pytest.raises(UsageError, match="was not measured yet"):
            facts(name, {"eps": 0.1})
        take_over(sent)
        assert facts(name, {"eps": 0.1}) == before
    finally:
        dist.destroy_process_group()


def test_without_a_home_nothing_is_kept_anywhere(
    plug: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_home: None
) -> None:
    """A folder named `~` was made where the command was given."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    assert facts(plug(RMSNorm)).has_statistics
    assert sorted(tmp_path.iterdir()) == before
