"""What a run is: its schema, dotted keys, YAML, checks and identity. No torch.

values.py     a value against its type
document.py   YAML 1.2
registry.py   what can be named, with the options that it declares
schema.py     the sections of a configuration
keys.py       nested mappings to a configuration, and back
plugins.py    files that register more; neighbours.py: what they import from beside them
resolve.py    everything filled in, contradictions named
identity.py   the run's id
"""

from normbench.spec.counts import (
    device_batch,
    devices,
    epoch_samples,
    images_per_statistic,
    layers,
    steps,
    train_images,
    validates,
    values_per_statistic,
)
from normbench.spec.degenerate import DegenerateStatisticWarning
from normbench.spec.document import parse_yaml, read_yaml, yaml_text
from normbench.spec.identity import identity_tree, run_id
from normbench.spec.keys import flatten, from_dict, replace, run_config, to_dict, typed
from normbench.spec.plugins import load_plugins
from normbench.spec.resolve import resolve
from normbench.spec.schema import (
    BudgetConfig,
    DataConfig,
    LoggerConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainerConfig,
)

__all__ = [
    "BudgetConfig",
    "DataConfig",
    "DegenerateStatisticWarning",
    "LoggerConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RunConfig",
    "TrainerConfig",
    "device_batch",
    "devices",
    "epoch_samples",
    "flatten",
    "from_dict",
    "identity_tree",
    "images_per_statistic",
    "layers",
    "load_plugins",
    "parse_yaml",
    "read_yaml",
    "replace",
    "resolve",
    "run_config",
    "run_id",
    "steps",
    "to_dict",
    "train_images",
    "typed",
    "validates",
    "values_per_statistic",
    "yaml_text",
]
