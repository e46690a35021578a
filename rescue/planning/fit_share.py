"""Sharing room among partitions in proportion to their sizes, each between its bounds."""

from __future__ import annotations

from collections.abc import Sequence


def share(weights: Sequence[int], floors: Sequence[int], caps: Sequence[int], total: int) -> list[int]:
    """Shares of ``total`` in proportion to ``weights``, none below its floor nor above its cap; in whole units.

    As much as the caps allow is shared out. ``sum(floors) <= total``, every weight above 0 and every floor at most its cap.
    """
    shares = list(floors)
    free = [index for index in range(len(weights)) if floors[index] < caps[index]]
    left = total - sum(floors[index] for index in range(len(weights)) if floors[index] == caps[index])
    while free:
        # As boxes are sized in CSS (flexible box layout, §9.7): what breaks its bound in the direction that the sum of all
        # breaches has is settled there, and the rest is shared again.
        weight = sum(weights[index] for index in free)
        ideal = {index: left * weights[index] // weight for index in free}
        held = {index: min(max(ideal[index], floors[index]), caps[index]) for index in free}
        breach = sum(held.values()) - sum(ideal.values())
        settled = [i for i in free if (breach > 0 and held[i] > ideal[i]) or (breach < 0 and held[i] < ideal[i])] or free
        for index in settled:
            shares[index] = held[index]
            left -= held[index]
        free = [index for index in free if index not in settled]
    # Divisions left less than one unit for each; those that are cut furthest below what they had come first.
    rest = total - sum(shares)
    for index in sorted(range(len(weights)), key=lambda i: shares[i] / weights[i]):
        more = min(max(rest, 0), caps[index] - shares[index])
        shares[index] += more
        rest -= more
    return shares
