"""What W&B files a run under: its id, and the studies that use it, each with the run's place in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

from normbench.privacy import without_places
from normbench.spec import LoggerConfig, RunConfig, run_id, to_dict

PROJECT = "normbench"
LONGEST_TAG = 64  # what W&B takes
LONGEST_GROUP = 128
REPORT_JOB = "report"  # job type of the W&B run that carries a report's figures
AXES = "axes"  # the key of a W&B configuration that holds the labels of a run: axes.STUDY.AXIS

Labels = Mapping[str, Any]  # of a study's axes
Places = Mapping[str, Labels]  # a study's name to the run's labels in it; without labels where no plan gave them


def project_of(logger: LoggerConfig, asked: str | None = None) -> str:
    """The W&B project: `asked`, the configuration's, WANDB_PROJECT, or normbench."""
    return asked or logger.project or os.environ.get("WANDB_PROJECT", "").strip() or PROJECT


def entity_of(logger: LoggerConfig, asked: str | None = None) -> str | None:
    """The W&B user or team: `asked`, the configuration's, WANDB_ENTITY, or None, which is the account's default."""
    return asked or logger.entity or os.environ.get("WANDB_ENTITY", "").strip() or None


def study_tag(study: str) -> str:
    """The tag of all runs of a study; the end of a long name is its digest, so that no two studies share one."""
    tag = f"study:{study}"
    return tag if len(tag) <= LONGEST_TAG else f"{tag[: LONGEST_TAG - 9]}-{_digest(study)}"


def axis_name(axis: str) -> str:
    """The key of an axis among its study's labels: W&B takes dots for levels.

    Example:
        >>> axis_name("model.norm"), axis_name("groups")
        ('model_norm', 'groups')
    """
    return "".join(c if c.isalnum() or c in " _-" else "_" for c in axis)


def axis_names(axes: Sequence[str]) -> dict[str, str]:
    """The key of each axis of a study; two that would have the same are told apart."""
    names: dict[str, str] = {}
    for axis in axes:
        name = axis_name(axis)
        names[axis] = name if name not in names.values() else f"{name}_{_digest(axis)}"
    return names


def axis_config(places: Places) -> dict[str, dict[str, Any]]:
    """The labels of a run in each study that has some, for the configuration that W&B shows."""
    found = {}
    for study, labels in places.items():
        names = axis_names(list(labels))
        if labels:
            found[study] = {names[axis]: _plain(label) for axis, label in labels.items()}
    return found


def tags(config: RunConfig, studies: Sequence[str]) -> list[str]:
    """Tags of a run: its studies, model, norm, data set, and the configuration's own."""
    own = [config.model.name, config.model.norm or "none", config.data.name, *config.logger.tags]
    return sorted({study_tag(study) for study in studies} | {tag[:LONGEST_TAG] for tag in own if tag})


def identity(config: RunConfig, studies: Sequence[str], project: str | None, entity: str | None) -> dict[str, Any]:
    """What `wandb.init` is given: the run's id, name, project, group (the first study), job type (the norm), config.

    Args:
        config: The resolved run.
        studies: The studies that use it; the first one is the group.
        project: W&B project; None: see `project_of`.
        entity: W&B user or team; None: see `entity_of`.
    """
    model = config.model
    return {
        "id": run_id(config),
        "name": f"{model.norm} {model.name} batch {config.data.batch_size} seed {config.seed}",
        "project": project_of(config.logger, project),
        "entity": entity_of(config.logger, entity),
        "group": studies[0][:LONGEST_GROUP] if studies else None,
        "job_type": (model.norm or "none")[:LONGEST_TAG],
        "config": without_places(to_dict(config)),
    }


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _plain(label: Any) -> Any:
    return label if label is None or isinstance(label, str | bool | int | float) else str(label)
