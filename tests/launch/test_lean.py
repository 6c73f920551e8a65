"""A training imports no more than it uses."""

import subprocess
import sys
from pathlib import Path


def test_torchmetrics_comes_without_what_no_training_uses() -> None:
    code = (
        "import sys, importlib.metadata, importlib.util\n"
        "from normbench.launch.lean import UNUSED, import_torchmetrics\n"
        "before = importlib.metadata.version, importlib.util.find_spec\n"
        "import_torchmetrics()\n"
        "assert not {'matplotlib', 'scipy', 'torchvision'} & sys.modules.keys()\n"
        "assert before == (importlib.metadata.version, importlib.util.find_spec)\n"
        "from lightning_utilities.core.imports import RequirementCache, package_available\n"
        "for name in UNUSED: assert RequirementCache(name) and package_available(name), name\n"
        "import torch\n"
        "from normbench.train.module import NormClassifier\n"
        "assert not {'matplotlib', 'scipy', 'torchvision'} & sys.modules.keys()\n"
        "from torchmetrics.classification import MulticlassAccuracy\n"
        "right = MulticlassAccuracy(2, average='micro')(torch.tensor([0, 1, 1, 1]), torch.tensor([0, 1, 1, 0]))\n"
        "assert right == 0.75\n"
        "import scipy.signal, matplotlib.pyplot, torchvision"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_where_it_is_imported_it_stays_whole() -> None:
    import torchmetrics

    from normbench.launch.lean import import_torchmetrics

    import_torchmetrics()
    assert sys.modules["torchmetrics"] is torchmetrics


def test_a_run_trains_without_what_reports_need(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from normbench.cli.main import run_command\n"
        "words = ['--data.name=mnist_5k', '--budget.samples=128', '--logger.wandb=off', '--runs', sys.argv[1]]\n"
        "assert run_command(['train', *words]) == 0\n"
        "unused = {'altair', 'matplotlib', 'pandas', 'pyarrow', 'scipy', 'torchvision', 'wandb'} & sys.modules.keys()\n"
        "assert not unused, unused"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=True, timeout=300)
