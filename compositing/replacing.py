"""Which pairs to make when some cannot be made: the next best take their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence


def next_best(
    groups: Sequence[str], budget: int, made: Collection[int], fallen: Collection[int]
) -> list[int]:
    """The candidates to make now, so that `budget` of them will be made.

    The first `budget` candidates are those that were chosen; each group keeps the number that it
    has among them, as far as its candidates go, and what is missing then goes to the best that are
    left. So replacements do not undo a balance over classes. With one group for all, this is the
    plain order.

    Args:
        groups: of each candidate, best first: the chosen ones, then the spare ones.
        budget: how many are to be made in all.
        made: positions of those that are made; they count first, whatever their place.
        fallen: positions of those that cannot be made.

    Returns:
        Positions, ascending; [] when the budget is met or nothing is left.
    """
    missing = budget - len(made)
    room = Counter(groups[:budget])
    room.subtract(Counter(groups[position] for position in made))
    left = [i for i in range(len(groups)) if i not in made and i not in fallen]
    picked: list[int] = []
    others: list[int] = []
    for position in left:
        if len(picked) >= missing:
            break
        if room[groups[position]] > 0:
            room[groups[position]] -= 1
            picked.append(position)
        else:
            others.append(position)
    picked += others[: max(0, missing - len(picked))]
    return sorted(picked)
