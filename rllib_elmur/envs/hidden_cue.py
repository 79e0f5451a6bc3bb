"""What a hint becomes on its way: kinds of runes, and what each of them does."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RUNES = ("invert", "cancel", "reset", "repeat")
"""Kinds of runes; elsewhere a rune is its place among them."""

INVERT, CANCEL, RESET, REPEAT = range(len(RUNES))
NO_RUNE = -1

Integers = NDArray[np.int64] | int


class HiddenCue(NamedTuple):
    """What the runes so far have made of the hint, in N episodes or in one.

    Attributes:
        hint: What was shown at the start (N,), +1 up or -1 down.
        value: What counts now (N,).
        before: What counted before the last update (N,).
        update: The last update: the place of "invert" or "reset" in `RUNES`, or -1 if there was
            none or it was cancelled (N,).
    """

    hint: Integers
    value: Integers
    before: Integers
    update: Integers

    @classmethod
    def of_hint(cls, hint: Integers) -> "HiddenCue":
        """Before any rune."""
        return cls(hint, hint, hint, np.full_like(hint, NO_RUNE))

    def after(self, rune: Integers) -> "HiddenCue":
        """After the rune of each episode (N,), by its place in `RUNES`; -1 is none."""
        update = np.where(rune == REPEAT, self.update, rune)
        inverts, resets, cancels = (update == kind for kind in (INVERT, RESET, CANCEL))
        value = np.where(inverts, -self.value, np.where(resets, self.hint, self.value))
        value = np.where(cancels, self.before, value)
        updates = inverts | resets
        return HiddenCue(
            hint=self.hint,
            value=value,
            before=np.where(updates, self.value, np.where(cancels, value, self.before)),
            update=np.where(updates, update, np.where(cancels, NO_RUNE, self.update)),
        )
