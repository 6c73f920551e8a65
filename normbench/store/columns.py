"""The columns of the tables that runs fill."""

from __future__ import annotations

# Of results.csv in every study, in this order; the axes of a study that are not among them follow.
RESULT_COLUMNS = (
    "study",
    "run_id",
    "dataset",
    "model",
    "norm",
    "parameters",
    "batch_size",
    "devices",
    "virtual_devices",
    "device_batch",
    "images_per_statistic",
    "values_per_statistic",
    "lr",
    "seed",
    "steps",
    "samples",
    "test_accuracy",
    "test_nll",
    "test_calibration_error",
    "val_accuracy",
    "val_nll",
    "val_calibration_error",
    "test_accuracy_precise",
    "test_nll_precise",
    "val_accuracy_precise",
    "val_nll_precise",
    "test_accuracy_contrast",
    "test_accuracy_brightness",
    "test_accuracy_noise",
    "test_accuracy_blur",
    "test_accuracy_shift",
    "train_loss",
    "seconds",
    "samples_per_second",
    "wall_seconds",
    "diverged_at_step",
    "code_digest",
    "commit",
    "device",
)
CURVE_COLUMNS = ("step", "samples", "epoch", "seconds", "split", "metric", "value")  # of metrics.csv
MEASUREMENT_COLUMNS = ("run_id", "probe", "step", "samples", "layer", "unit", "quantity", "value")
