"""Several contrasts of a study, and what they cannot mean."""

from typing import Any

import pytest

from normbench.errors import UsageError
from normbench.study import changed_study, load_study

from .conftest import Write

FIRST = {"factor": "model.norm", "baseline": "batch", "margin": 0.01, "error": "paired"}
LAYOUTS = {"1x32": {"trainer.virtual_devices": 1}, "4x8": {"trainer.virtual_devices": 4}}
GRID = {"model.norm": ["none", "batch", "group"], "data.batch_size": [32, 64], "layout": LAYOUTS}
WITHIN = {"kind": "within", "level": "batch", "along": "layout"}


def test_a_list_of_contrasts(write: Write) -> None:
    more: list[dict[str, Any]] = [
        {"name": "dividing", "kind": "within", "level": "batch", "along": "layout", "start": "1x32", "stops": "4x8"},
        {
            "kind": "change",
            "baseline": "group",
            "along": "layout",
            "family": "second",
            "where": {"data.batch_size": 64},
        },
        {"kind": "slope", "along": "data.batch_size"},
    ]
    compare = load_study(write(grid=GRID, compare=[FIRST, *more])).compare
    assert (compare.factor, compare.baseline, compare.margin, compare.error) == ("model.norm", "batch", 0.01, "paired")
    assert (compare.name, compare.family, compare.across) == ("levels", "study", ("data.batch_size", "layout"))
    within, change, slope = compare.contrasts
    assert (within.name, within.kind, within.level, within.start, within.stops) == (
        "dividing",
        "within",
        "batch",
        "1x32",
        ("4x8",),
    )
    assert (change.name, change.family, change.level) == ("change 2", "second", "group")
    assert (change.start, change.stops, change.where) == ("1x32", ("4x8",), {"data.batch_size": (64,)})
    assert (slope.name, slope.level, slope.along, slope.family) == ("slope 3", "batch", "data.batch_size", "study")
    assert load_study(write(grid=GRID, compare=FIRST)).compare == load_study(write(grid=GRID, compare=[FIRST])).compare


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"kind": "withn"}, r"compare\[1\]\.kind: unknown kind of contrast 'withn': did you mean 'within'\?"),
        ({}, r"compare\[1\]\.kind is missing: one of levels, within, change, slope"),
        ({**WITHIN, "along": "layuot"}, r"compare\[1\]\.along: unknown axis to follow 'layuot': did you mean 'layout'"),
        ({**WITHIN, "along": "model.norm"}, r"compare\[1\]\.along: unknown axis to follow 'model\.norm'"),
        ({"kind": "within", "level": "batch"}, r"along is missing: give the axis to follow, one of data\.batch_size"),
        ({"kind": "within", "along": "layout"}, r"level is missing: give a label of model\.norm, one of none, batch"),
        (
            {**WITHIN, "level": "bach"},
            r"compare\[1\]\.level: unknown label of model\.norm 'bach': did you mean 'batch'",
        ),
        ({**WITHIN, "start": "1x23"}, r"compare\[1\]\.start: unknown label of layout '1x23': did you mean '1x32'"),
        ({**WITHIN, "stops": ["4x9"]}, r"compare\[1\]\.stops: unknown label of layout '4x9': did you mean '4x8'"),
        ({**WITHIN, "stops": ["1x32"]}, r"stops: give other labels of layout than its start '1x32', each once"),
        ({**WITHIN, "stop": "4x8"}, r"unknown key of a contrast of kind within 'stop': did you mean 'stops'"),
        ({**WITHIN, "baseline": "none"}, r"unknown key of a contrast of kind within 'baseline'"),
        ({**WITHIN, "margin": 0.1}, r"compare\[1\]\.margin: it holds for all contrasts: say it in the first"),
        ({**WITHIN, "where": {"layuot": 1}}, r"compare\[1\]\.where: unknown other axis 'layuot'"),
        ({**WITHIN, "where": {"data.batch_size": 65}}, r"unknown label of data\.batch_size '65': did you mean '64'"),
        ({**WITHIN, "name": "levels"}, r"two contrasts are called 'levels': give one another name"),
        ({**WITHIN, "family": 3}, r"compare\.family: 3 is no name"),
        ({"kind": "slope", "along": "layout"}, r"a slope needs an axis of numbers above 0, and layout has 1x32, 4x8"),
        ({"kind": "change", "factor": "layout", "along": "data.batch_size"}, r"baseline is missing: give a label of l"),
    ],
)
def test_what_a_contrast_cannot_mean(write: Write, more: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        load_study(write(grid=GRID, compare=[FIRST, more]))
    assert "\n" not in str(caught.value)


def test_the_first_contrast_is_of_levels_and_the_error_term_is_known(write: Write) -> None:
    with pytest.raises(UsageError, match="the first contrast compares levels with a baseline"):
        load_study(write(grid=GRID, compare=[{**FIRST, "kind": "change"}]))
    with pytest.raises(UsageError, match=r"compare\.error: unknown error term 'pairde': did you mean 'paired'"):
        load_study(write(compare={**FIRST, "error": "pairde"}))


def test_a_smaller_study_keeps_the_contrasts_of_its_labels(write: Write) -> None:
    more = [WITHIN, {"kind": "slope", "along": "data.batch_size"}, {**WITHIN, "name": "none", "level": "none"}]
    study = load_study(write(grid=GRID, compare=[FIRST, *more]))
    kept = changed_study(study, {}, only={"layout": ["4x8"]}).compare
    assert [contrast.kind for contrast in kept.contrasts] == ["slope"]
    kept = changed_study(study, {}, only={"model.norm": ["none", "group"]}).compare
    assert (kept.baseline, [contrast.name for contrast in kept.contrasts]) == ("none", ["none"])
