import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar

from normbench.stats import crossed_interval, disagreement, disputed_images, mcnemar_by_seed

pytestmark = pytest.mark.filterwarnings("error")


def drawn(rng, seeds, images, effect=0.0, seed_sd=0.3, image_sd=1.5, own_sd=0.4):
    """Correctness of two sides: an image's difficulty, each side's view of it, a seed's luck, and chance."""
    difficulty = 2.5 + image_sd * rng.normal(size=(1, images))
    sides = []
    for side in (0, 1):
        view = own_sd * rng.normal(size=(1, images)) + seed_sd * rng.normal(size=(seeds, 1))
        p = 1 / (1 + np.exp(-(difficulty + view + side * effect)))
        sides.append(rng.uniform(size=(seeds, images)) < p)
    return sides[1], sides[0]


@pytest.mark.parametrize(
    ("seeds", "images", "spreads"),
    [
        (3, 400, {}),
        (5, 400, {}),
        (5, 400, {"seed_sd": 0.0}),  # images alone
        (5, 400, {"own_sd": 0.0}),  # seeds alone
        (10, 100, {"own_sd": 1.0}),
    ],
)
def test_coverage_over_new_seeds_and_new_images(seeds, images, spreads):
    """Both sides have the same accuracy in the population of seeds and images: 0 must lie inside."""
    rng, trials = np.random.default_rng(seeds + images), 500
    covered = []
    for _ in range(trials):
        found = crossed_interval(*drawn(rng, seeds, images, **spreads))
        covered.append(found.low <= 0 <= found.high)
    assert 0.92 <= np.mean(covered) <= 1.0


def test_seeds_alone_would_be_too_sure():
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(300):
        treatment, baseline = drawn(rng, 10, 200, seed_sd=0.0, own_sd=1.5)
        d = (treatment * 1.0 - baseline).mean(axis=1)
        interval = stats.ttest_1samp(d, 0).confidence_interval()
        covered.append(interval.low <= 0 <= interval.high)
    assert np.mean(covered) < 0.85


def test_without_an_image_effect_it_is_the_interval_of_the_seeds():
    rng = np.random.default_rng(3)
    # Every image alike: each seed's difference is spread evenly.
    treatment, baseline = rng.uniform(size=(2, 4, 5000)) < np.array([0.9, 0.85])[:, None, None]
    found = crossed_interval(treatment, baseline)
    by_seed = (treatment * 1.0 - baseline).mean(axis=1)
    expected = stats.ttest_1samp(by_seed, 0)
    assert found.diff == pytest.approx(by_seed.mean())
    assert found.se_seeds == pytest.approx(by_seed.std(ddof=1) / 2)
    if found.se_images == 0:
        assert (found.low, found.high) == pytest.approx(tuple(expected.confidence_interval()))
    else:
        assert found.low < expected.confidence_interval().low


def test_a_difference_is_found_and_a_family_widens():
    treatment, baseline = drawn(np.random.default_rng(5), 5, 4000, effect=0.8, seed_sd=0.1)
    one, many = crossed_interval(treatment, baseline), crossed_interval(treatment, baseline, family=20)
    assert 0 < one.low < one.diff < one.high
    assert many.low < one.low


def test_a_large_family_of_few_seeds_keeps_its_level():
    """At the level of 44 rows, .11 %: degrees of freedom that the images lend to three seeds would make it 1 %."""
    rng, trials = np.random.default_rng(1), 1500
    outside = 0
    for _ in range(trials):
        found = crossed_interval(*drawn(rng, 3, 2000), family=44)
        outside += not found.low <= 0 <= found.high
    assert outside <= 6


def test_it_is_never_narrower_than_that_of_the_seeds():
    rng = np.random.default_rng(4)
    for _ in range(50):
        treatment, baseline = drawn(rng, 3, 400)
        by_seed = (treatment * 1.0 - baseline).mean(axis=1)
        low, high = stats.ttest_1samp(by_seed, 0).confidence_interval(1 - 0.05 / 8)
        found = crossed_interval(treatment, baseline, family=8)
        assert found.high - found.low >= (high - low) * (1 - 1e-9)
        wide = crossed_interval(treatment, baseline, family=8, seeds=0.5)
        assert wide.high - found.diff >= 0.5
        assert wide.low == pytest.approx(2 * found.diff - wide.high)


def test_nothing_to_say():
    same = np.ones((3, 10), dtype=bool)
    assert crossed_interval(same, same).diff == 0
    assert np.isnan(crossed_interval(same, same)[1:]).all()
    assert np.isnan(crossed_interval(same[:1], ~same[:1]).low)
    with pytest.raises(ValueError, match="give the same seeds x images of both"):
        crossed_interval(same, same[:2])


def test_mcnemar_within_the_seed():
    treatment, baseline = drawn(np.random.default_rng(2), 3, 500, effect=0.5)
    table = mcnemar_by_seed(treatment, baseline)
    for seed, row in enumerate(table.itertuples()):
        a, b = treatment[seed], baseline[seed]
        fields = [[(a & b).sum(), (a & ~b).sum()], [(~a & b).sum(), (~a & ~b).sum()]]
        assert [[row.both, row.only_treatment], [row.only_baseline, row.neither]] == fields
        assert row.p == pytest.approx(mcnemar(fields, exact=True).pvalue)


def test_disagreement_of_classes_and_the_images_that_are_disputed():
    first, second = np.array([[1, 2, 3, 4], [1, 2, 3, 4]]), np.array([[1, 2, 3, 5], [1, 0, 0, 4]])
    assert disagreement(first, second).tolist() == [0.25, 0.5]
    treatment = np.array([[1, 1, 0, 0], [1, 1, 0, 1]], dtype=bool)
    baseline = np.array([[1, 0, 0, 1], [1, 0, 0, 1]], dtype=bool)
    table = disputed_images(treatment, baseline)
    assert table.to_numpy().tolist() == [[1, 2, 0, 2], [3, 0, 1, -1]]
