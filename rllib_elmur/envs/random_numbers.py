"""Random numbers as a function of (seed, counter), with no generator to carry along.

The generator is splitmix64 in its counter form (Steele, Lea and Flood 2014): number k of a seed is
a fixed mixing of ``seed + k * GOLDEN``. So a value depends on its seed and place only, not on what
was drawn before or beside it, and one environment or a thousand side by side see the same episode.
"""

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTORS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_SHIFTS = np.uint64(30), np.uint64(27), np.uint64(31)
_HALF = np.uint64(32)


def _mix(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    bits = (bits ^ (bits >> _SHIFTS[0])) * _FACTORS[0]
    bits = (bits ^ (bits >> _SHIFTS[1])) * _FACTORS[1]
    return bits ^ (bits >> _SHIFTS[2])


def random_bits(seed: NDArray[np.uint64], counter: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Draws 64 random bits for each pair of seed and counter.

    Args:
        seed: Well-mixed seeds (N,): another hash, not 0, 1, 2 (see `episode_seeds`).
        counter: Which number of its seed to draw (N,).

    Returns:
        The bits (N,).
    """
    return _mix(seed + counter.view(np.uint64) * _GOLDEN)


def random_integers(
    seed: NDArray[np.uint64],
    counter: NDArray[np.int64],
    low: int,
    high: int | NDArray[np.int64],
) -> NDArray[np.int64]:
    """Draws a uniform integer from low..high, both included, for each pair.

    Args:
        seed: As in `random_bits` (N,).
        counter: As in `random_bits` (N,).
        low: Smallest value.
        high: Largest value, for all pairs or for each; at most ``2**32 - 1`` above `low`.

    Returns:
        The integers (N,).
    """
    # Multiply and shift instead of a remainder: no bias worth a name, and no division.
    upper = random_bits(seed, counter) >> _HALF
    return ((upper * np.uint64(high - low + 1)) >> _HALF).view(np.int64) + low


def random_reals(seed: NDArray[np.uint64], counter: NDArray[np.int64]) -> NDArray[np.float64]:
    """Draws a real number from [-1, 1) for each pair, uniformly.

    Args:
        seed: As in `random_bits` (N,).
        counter: As in `random_bits` (N,).

    Returns:
        The numbers (N,).
    """
    return (random_bits(seed, counter) >> _HALF).astype(np.float64) * 2.0**-31 - 1.0


def episode_seeds(env_seed: NDArray[np.uint64], episode: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Gives each episode of each environment a seed of its own.

    Args:
        env_seed: The seeds given by the user (N,); neighbouring ones are fine.
        episode: Number of episodes since that seed was given (N,).

    Returns:
        Well-mixed seeds (N,).
    """
    return random_bits(_mix(env_seed + _GOLDEN), episode)
