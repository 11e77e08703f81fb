"""Which pairs to make when some cannot be made: the next best take their place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence


def next_best(
    groups: Sequence[str],
    quotas: Mapping[str, int],
    made: Collection[int],
    fallen: Collection[int],
) -> list[int]:
    """The candidates to make now, so that as many will be made as the quotas say together.

    Each group gets the number that it has among the chosen pairs, as far as its candidates go, and
    what is missing then goes to the best that are left. So neither replacements nor clips of an
    earlier choice undo a balance over classes. With one group for all, this is the plain order.

    Args:
        groups: of each candidate, in the order in which they are taken.
        quotas: group ─► how many of it were chosen.
        made: positions of those that are made; they use up their own group's quota, and count even
            where it is full.
        fallen: positions of those that cannot be made.

    Returns:
        Positions, ascending; [] when as many are made or nothing is left.
    """
    missing = sum(quotas.values()) - len(made)
    room = Counter(quotas)
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
