"""The configuration's public names, for scripts of your own: `from normbench.config import ModelConfig`."""

from normbench.spec import (
    BudgetConfig,
    DataConfig,
    LoggerConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainerConfig,
    from_dict,
    replace,
    run_config,
    run_id,
    to_dict,
)

__all__ = [
    "BudgetConfig",
    "DataConfig",
    "LoggerConfig",
    "ModelConfig",
    "OptimizerConfig",
    "RunConfig",
    "TrainerConfig",
    "from_dict",
    "replace",
    "run_config",
    "run_id",
    "to_dict",
]
