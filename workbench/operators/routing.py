"""How a router's choices load the experts of one GPU: at random, all alike or by a power law, all in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import exp
from operator import mul

from ..common.arrays import Array, np

#: Of a power law that has fewer rows than experts, the busiest expert's load over the least busy one's [1].
SPARSE_RATIO = 200.0
#: Share of a batch that the busiest expert of a power law gets at most, were the least busy one to get one token [1].
BUSIEST_SHARE = 0.8
#: Of several draws, the quantile from the top at which the largest one is expected, times their number [1].
TOP_QUANTILE = 0.56
#: Numbers of rows that a power law's rounding is added up over, where there are fewer rows than experts [1].
ROUNDED_TO = range(1, 7)

#: Places and weights of Gauss-Hermite quadrature over a normal distribution, 9 of them [1].
NORMAL = (
    -4.512745863399781, -3.205429002856470, -2.076847978677830, -1.023255663789133, 0.0, 1.023255663789133,
    2.076847978677830, 3.205429002856470, 4.512745863399781,
)  # fmt: skip
NORMAL_WEIGHTS = (
    2.23458440077e-5, 2.78914132123e-3, 4.99164067653e-2, 0.244097502894939, 0.406349206349206, 0.244097502894939,
    4.99164067653e-2, 2.78914132123e-3, 2.23458440077e-5,
)  # fmt: skip


@dataclass(frozen=True)
class Routed:
    """How the rows of routed experts came to them: what a grouped GEMM's law needs beside the sizes of its GEMMs."""

    tokens: Array  #: that reach this GPU [token]
    experts: Array  #: routed experts on this GPU [1]
    experts_per_token: Array  #: on whichever GPU they are [1]
    first: bool = True  #: gate and up, after routing and permutation; else down, before the sum over a token's experts
    skew: Array = 0.0  #: exponent of the power law by which experts are loaded; 0: there is none [1]
    ratio: Array = 1.0  #: of that power law, the busiest expert's load over the least busy one's [1]
    #: Every expert gets the same, as in some benchmarks; without that and a skew, tokens choose at random.
    balanced: Array = False

    def spread(self, gpus: int, *, copies: int = 0, everywhere: bool = False) -> Routed:
        """On one of `gpus`, each with its share of the experts and of `copies` of them besides.

        Tokens none of whose experts it has stay away, unless every GPU has all tokens, `everywhere`.
        """
        reached = self.tokens if everywhere else self.tokens * (1 - (1 - 1 / gpus) ** self.experts_per_token)
        return replace(self, tokens=reached, experts=(self.experts + copies) / gpus)

    def row_tiles(self, rows: Array, touched: Array, height: Array) -> Array:
        """Tiles of `height` rows that cover the `rows` of every one of `touched` experts, each padded by itself [1].

        Experts of about equal load have (r + (t - 1) / 2) / t tiles of t rows on average, and at least one.
        """
        tiles = np.maximum(touched, rows / height + touched * (0.5 - 0.5 / height))
        if np.any(self.balanced):
            tiles = np.where(self.balanced, touched * np.ceil(rows / touched / height - 1e-9), tiles)
        if np.any(self.skew):
            tiles = np.where(np.greater(self.skew, 0), self._skewed_tiles(rows, touched, height), tiles)
        return tiles

    def _skewed_tiles(self, rows: Array, touched: Array, height: Array) -> Array:
        """One for each expert touched, and for the larger of them r / t - 1/2 more."""
        law = PowerLaw(np.where(np.greater(self.skew, 0), self.skew, 1.0), np.maximum(self.ratio, 1.0 + 1e-9))
        unit = rows / (self.experts * law.mean)
        larger = unit * law.above(height / unit, 1) / height - law.above(height / unit) / 2
        return touched + self.experts * larger


@dataclass(frozen=True)
class PowerLaw:
    """Loads between 1 and `ratio`, with a density that falls as x^-exponent."""

    exponent: Array
    ratio: Array

    def above(self, load: Array, moment: int = 0) -> Array:
        """Mean of x^moment over the loads above one, the others counting nothing; the share of them for moment 0."""
        least = np.minimum(np.maximum(load, 1.0), self.ratio)
        return _integral(moment + 1 - self.exponent, least, self.ratio) / _integral(1 - self.exponent, 1.0, self.ratio)

    @property
    def mean(self) -> Array:
        """Mean load."""
        return self.above(1.0, 1)

    def largest(self, draws: Array, after: Array = 0) -> Array:
        """About the largest of some draws, or the one after some that are larger."""
        q, part = 1 - self.exponent, (after + TOP_QUANTILE) / draws
        q = np.where(np.abs(q) < 1e-6, 1e-6, q)
        load: Array = (self.ratio**q + (1 - self.ratio**q) * np.minimum(part, 1.0)) ** (1 / q)
        return load


def _integral(power: Array, low: Array, high: Array) -> Array:
    """Integral of x^(power - 1)."""
    power = np.where(np.abs(power) < 1e-6, 1e-6, power)
    area: Array = low**power * np.expm1(power * np.log(high / low)) / power
    return area


def experts_drawn(tokens: Array, n_experts: Array, experts_per_token: Array, spread: float = 0.0) -> Array:
    """Expected experts of which some tokens choose at least one, each k of E at random: E (1 - (1 - k/E)^T) [1].

    With a spread s, experts are chosen with chances p = min(c exp(s z), 1), z normally distributed, of mean k/E: the
    mean of 1 - (1 - p)^T over z takes the place of that of k/E.
    """
    chance = experts_per_token / n_experts
    if not spread:
        return n_experts * (1 - (1 - chance) ** tokens)
    missed: Array = 0.0
    for weight, each in zip(NORMAL_WEIGHTS, _popularity(chance, spread), strict=True):
        missed = missed + weight * (1 - np.minimum(chance * each, 1.0)) ** tokens
    return n_experts * (1 - missed)


def _popularity(chance: Array, spread: float) -> list[Array]:
    """Of experts at the places of `NORMAL`, how much more than the mean each is chosen, up to always [1]."""
    free = [np.minimum(exp(spread * z - spread**2 / 2), 1 / chance) for z in NORMAL]
    mean = sum(map(mul, NORMAL_WEIGHTS, free))
    return [each / mean for each in free]


def random_load(tokens: Array, n_experts: Array, experts_per_token: Array, ep: Array) -> tuple[Array, Array]:
    """Rows of one of `ep` GPUs and experts that they touch, where tokens choose at random: those expected of each.

    The busiest of them has more, of 8 GPUs with 512 rows each about 6 %.
    """
    return tokens * experts_per_token / ep, experts_drawn(tokens, n_experts, experts_per_token) / ep


def top_of(gpus: Array) -> Array:
    """Standard deviations that the largest of g sums is above their mean, sqrt(2) (sqrt(1 + log2 g) - 1) [1]."""
    above: Array = np.sqrt(2) * (np.sqrt(1 + np.log2(gpus)) - 1)
    return above


def busiest_load(
    tokens: Array,
    n_experts: Array,
    experts_per_token: Array,
    ep: Array,
    *,
    skew: Array = 0.0,
    copies: Array = 0,
    spread: float = 0.0,
    drawn: Array | None = None,
) -> tuple[Array, Array]:
    """Rows of the busiest of `ep` GPUs and experts that they touch, where tokens choose at random or by a power law.

    Parameters
    ----------
    tokens, n_experts, experts_per_token, ep : float or ndarray
        In the batch [token]; experts, without copies, and those of a token [1]; GPUs that share them [1].
    skew : float
        Exponent of the power law; 0: at random [1].
    copies : float
        Second copies of the experts that have most, one each, which take half of what comes to them [1].
    spread : float
        How much more popular some experts are than others, as for `experts_drawn`; second copies even that out [1].
    drawn : float or ndarray, optional
        Experts that the batch touches on all GPUs, where some are more popular; None: `experts_drawn` [1].

    Returns
    -------
    tuple of float or ndarray
        [1], [1]

    Notes
    -----
    At random, a token has k (1 - 1 / ep) (E - k) / (E - 1) / ep of variance of its rows on one GPU, and a spread s of
    the experts' popularity adds its variance times (ep - 1) / E of the squared mean. A power law without
    copies is `skewed_load`. With copies, the fullest GPU has at least the most loaded copy, or the most loaded expert
    that has no second one, beside the least loaded ones: experts are placed by their loads.
    """
    local, pairs = (n_experts + copies) / ep, tokens * experts_per_token
    if np.any(skew) and not np.any(copies):
        return skewed_load(
            tokens, n_experts, experts_per_token, ep, law=power_law(tokens, n_experts, experts_per_token, skew)
        )
    mean = pairs / ep
    apart = (n_experts - experts_per_token) / np.maximum(n_experts - 1, 1)
    variance: Array = 0.0
    if spread:
        squares = (each**2 for each in _popularity(experts_per_token / n_experts, spread))
        variance = sum(map(mul, NORMAL_WEIGHTS, squares)) - 1
    uneven = np.where(np.greater(copies, 0), 0.0, variance) * (np.asarray(ep) - 1) / n_experts
    rows = mean + top_of(ep) * np.sqrt(mean * (1 - 1 / np.asarray(ep)) * apart + mean**2 * uneven)
    if np.any(skew):
        law = power_law(tokens, n_experts, experts_per_token, skew)
        heaviest = np.maximum(law.largest(n_experts) / 2, law.largest(n_experts, copies))
        rows = np.maximum(rows, pairs / n_experts / law.mean * (heaviest + local - 1))
    rows = np.maximum(rows, np.minimum(pairs, 1.0))
    rows = np.minimum(rows, tokens * np.minimum(experts_per_token, local))
    chosen = experts_drawn(tokens, n_experts, experts_per_token) if drawn is None else drawn
    missed = np.maximum(1 - chosen / n_experts, 0.0) ** (n_experts / (n_experts + copies))
    touched = np.maximum(local * (1 - missed ** (rows / mean)), np.minimum(rows, 1.0))
    return rows, np.minimum(touched, rows)


def balanced_load(tokens: Array, n_experts: Array, experts_per_token: Array, ep: Array) -> tuple[Array, Array]:
    """Rows of the busiest GPU and experts that they touch, where all experts get the same."""
    pairs = tokens * experts_per_token
    rows = np.where(pairs < n_experts, np.ceil(pairs / ep), pairs / ep)
    return rows, np.minimum(rows, n_experts / ep)


def skewed_load(
    tokens: Array, n_experts: Array, experts_per_token: Array, ep: Array, *, law: PowerLaw
) -> tuple[Array, Array]:
    """Rows of the busiest of `ep` GPUs and experts that they touch, loads being drawn from a power law and rounded.

    What rounding leaves over goes to all GPUs alike, and to untouched experts first. The largest of ep sums is
    sqrt(2) (sqrt(1 + log2 ep) - 1) of their standard deviation above the mean, and has the largest load of all. Where
    there are fewer rows than experts, the rounding lets more tokens touch a little fewer experts here and there.
    """
    pairs, local = tokens * experts_per_token, n_experts / ep
    mean, sparse = pairs / n_experts, pairs <= n_experts
    unit = mean / law.mean
    share = [law.above((count - 0.5) / unit) for count in ROUNDED_TO]
    kept = np.where(sparse, sum(share), unit * law.above(0.5 / unit, 1))
    square = sum((2 * count - 1) * part for count, part in zip(ROUNDED_TO, share, strict=True))
    square = np.where(sparse, square, unit**2 * law.above(0.5 / unit, 2))
    busy = local * kept + top_of(ep) * np.sqrt(local * np.maximum(square - kept**2, 0.0))
    largest = unit * law.largest(n_experts)
    others = (local - 1) * (n_experts * kept - largest) / np.maximum(n_experts - 1, 1)
    busy = np.where(sparse | (np.asarray(ep) == 1), busy, np.maximum(busy, largest + others))
    left = local * np.maximum(mean - kept, 0.0)
    dealt = np.where(sparse, np.ceil(left - 1e-6), left)
    rows = np.where(sparse, np.maximum(busy + left, local * kept + dealt), busy + left)
    rows = np.minimum(np.maximum(rows, pairs / ep), tokens * np.minimum(experts_per_token, local))
    more = busy / np.maximum(local * kept, 1e-9)
    touched = local * (1 - (1 - share[0]) ** more) + dealt
    return rows, np.minimum(np.minimum(touched, local), rows)


def power_law(tokens: Array, n_experts: Array, experts_per_token: Array, skew: Array) -> PowerLaw:
    """The power law of a batch, as AIConfigurator draws it (github.com/ai-dynamo/aiconfigurator 095f58a)."""
    sparse = tokens * experts_per_token <= n_experts
    ratio = np.where(sparse, SPARSE_RATIO, np.maximum(BUSIEST_SHARE * tokens, 1.0 + 1e-9))
    return PowerLaw(np.where(np.greater(skew, 0), skew, 1.0), ratio)
