"""Finite descriptions of memory tasks that others wrote; none of their packages is imported."""

from itertools import product
from typing import Any

import numpy as np

from rllib_elmur.envs.finite import END, FiniteTask


def repeat_first(env: Any) -> FiniteTask:
    """POPGym's RepeatFirst (Morad et al. 2023), of any number of decks and in any order of suits.

    At each step a card is seen, and the suit of the first one is to be said.
    """
    suits = range(int(env.action_space.n))
    edges = [(0, card, card, 1 + card) for card in suits]
    edges += [(1 + first, card, first, 1 + first) for first in suits for card in suits]
    source, card, answer, target = np.array(edges).T
    return FiniteTask(
        start=np.array([0]),
        source=source,
        observation=card,
        correct=np.eye(len(suits), dtype=np.bool_)[answer],
        target=target,
    )


def repeat_previous(env: Any) -> FiniteTask:
    """POPGym's RepeatPrevious: the suit of the card k - 1 steps before the one that is seen.

    Until there is one, any answer is correct. The number of decks and their order are any.
    """
    suits, back = range(int(env.action_space.n)), int(env.unwrapped.k) - 1
    number = {
        cards: place
        for place, cards in enumerate(
            cards for seen in range(back + 1) for cards in product(suits, repeat=seen)
        )
    }
    edges, correct = [], []
    for cards, here in number.items():
        for card in suits:
            after = (*cards, card)
            full = len(after) > back
            edges.append((here, card, number[after[-back:] if full else after]))
            correct.append([not full or suit == after[0] for suit in suits])
    source, card, target = np.array(edges).T
    return FiniteTask(
        start=np.array([0]),
        source=source,
        observation=card,
        correct=np.array(correct),
        target=target,
    )


def memory_chain(env: Any) -> FiniteTask:
    """Bsuite's memory_len (Osband et al. 2020): the bit of the first step is asked for at the end.

    One length, that of the environment, since what is seen tells the time.
    """
    length, edges = int(env.unwrapped.memory_length), []
    for bit in (0, 1):
        # The observation of time 0 comes twice; a situation is how many were seen, for each bit.
        for seen in range(length + 1):
            time = max(seen - 1, 0)
            here = 0 if seen == 0 else 2 * seen - 1 + bit
            last = seen == length
            target = END if last else 2 * seen + 1 + bit
            shown = 1 - time / length, 0.0, (2 * bit - 1) * (time == 0)
            edges.append((here, shown, [not last or each == bit for each in (0, 1)], target))
    source, shown, correct, target = zip(*edges, strict=True)
    return FiniteTask(
        start=np.array([0]),
        source=np.array(source),
        observation=np.array(shown, dtype=np.float32),
        correct=np.array(correct),
        target=np.array(target),
        entries=("time left", "index", "bit"),
    )
