"""Advice as it is followed: simulated labels whose best threshold and F are known.

A label's logits are Normal(mu, spread), and it is true with the probability that they
say. mu is where the best F is the one asked for, and the number of rows is such that so
many positives are expected. A model shows these logits, or twice them.
"""

from functools import cache
from itertools import product

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logit
from scipy.stats import binom, norm

from helpers.decide import FALSE_ALARM, advise

BETAS, SPREADS = (0.5, 1, 2), (0.3, 1, 3)
BEST_F, POSITIVES = (0.3, 0.5, 0.7, 0.85, 0.95), (10, 30, 100, 300)
LABELS, CELLS = 150, 150_000  # labels of a cell, fewer where they would have more cells
NORMAL = norm.ppf((np.arange(2000) + 0.5) / 2000)
# Beta, spread, best F and positives where the rows tell too little of the scale.
IMPOSSIBLE = {(0.5, 0.3, 0.5, 100), (1, 0.3, 0.7, 100), (2, 0.3, 0.85, 100)}


def curve(mu, spread, beta):
    """Prevalence, logits, and the F of each as threshold, of infinitely many rows."""
    logits = mu + spread * NORMAL
    tp = expit(logits)[::-1].cumsum()[::-1]
    predicted = np.arange(len(logits), 0, -1)
    f = (1 + beta**2) * tp / (beta**2 * tp[0] + predicted)
    return tp[0] / len(logits), logits, np.append(f, 0)


def world(beta, spread, best_f, positives):
    """Its mu, and its number of rows."""
    mu = brentq(lambda mu: curve(mu, spread, beta)[2].max() - best_f, -40, 20)
    return mu, round(positives / curve(mu, spread, beta)[0])


def draw(mu, spread, n, labels):
    random = np.random.default_rng(0)
    logits = mu + spread * random.standard_normal((n, labels))
    return logits, random.random(logits.shape)


@cache
def simulate(beta, spread, best_f, positives):
    """For calibrated logits, and for twice them: the mean gain in F on fresh data where
    the advice is followed, how many labels are called uncalibrated, and of how many."""
    mu, n = world(beta, spread, best_f, positives)
    logits, uniform = draw(mu, spread, n, min(LABELS, max(20, CELLS // n)))
    _, grid, f = curve(mu, spread, beta)
    found = []
    for scale in (1, 2):
        table = advise(expit(scale * logits), uniform < expit(logits), beta=beta)
        thresholds = logit(table["threshold"].to_numpy()) / scale
        gain = f[np.searchsorted(grid, thresholds)] - f[np.searchsorted(grid, 0)]
        called = table["advice"].str.contains("uncalibrated")
        found.append((gain.mean(), called.sum(), len(called)))
    return found


CASES = list(product(BETAS, SPREADS, BEST_F, POSITIVES))


@pytest.mark.parametrize("beta", BETAS)
def test_followed_advice_is_never_worse_than_one_half(beta):
    gains = {
        case: min(gain for gain, *_ in simulate(*case))
        for case in CASES
        if case[0] == beta
    }
    assert {case: gain for case, gain in gains.items() if gain < -0.005} == {}
    assert np.mean([*gains.values()]) > 0.03  # and it is worth following


def test_calibrated_labels_are_seldom_called_uncalibrated():
    """At most 5 % in each cell, and what chance adds to that once in 10,000 cells."""
    called = {case: simulate(*case)[0][1:] for case in CASES}
    assert {
        case: found
        for case, found in called.items()
        if found[0] > binom.isf(1e-4, found[1], 0.05)
    } == {}
    total, labels = np.sum([*called.values()], 0)
    assert 0.007 < total / labels < 0.015


def test_logits_twice_too_large_are_called_uncalibrated():
    """At least 80 % in each cell with 100 or more positives, less what chance may take,
    but for those where it is impossible."""
    called = {case: simulate(*case)[1][1:] for case in CASES if case[3] >= 100}
    missed = {
        case
        for case, found in called.items()
        if found[0] < binom.ppf(1e-4, found[1], 0.8)
    }
    assert missed == IMPOSSIBLE


@pytest.mark.parametrize("case", sorted(IMPOSSIBLE))
def test_no_test_finds_it_there(case):
    """Not even Neyman and Pearson's, the best, which is told of the factor 2: with as
    few false alarms it calls fewer than 80 % uncalibrated."""
    mu, n = world(*case)
    logits, uniform = draw(mu, case[1], n, 4000)

    def evidence(true):
        sign = np.where(true, 1, -1)
        return (log_expit(sign * logits) - log_expit(sign * 2 * logits)).sum(0)

    limit = np.quantile(evidence(uniform < expit(2 * logits)), 1 - FALSE_ALARM)
    assert (evidence(uniform < expit(logits)) > limit).mean() < 0.8


@pytest.mark.filterwarnings("error")
def test_probabilities_of_exactly_0_and_1():
    random = np.random.default_rng(0)
    true = random.random((400, 2)) < 0.3
    sure = true.astype(float)
    for advice in advise(sure, true)["advice"]:
        assert advice == "0.5 is fine (F1 1.00, at best 1.00)"
    sometimes_wrong = np.where(random.random(true.shape) < 0.02, 1 - sure, sure)
    for advice in advise(sometimes_wrong, true)["advice"]:
        assert advice.endswith("look uncalibrated: they are too extreme")
