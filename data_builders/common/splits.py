"""Which participant is in which split: decided by the id alone, or by a file.

A hash of the id needs no list and no random state: adding participants moves nobody.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mmpsy_jax.io import InputError, read_table

SPLITS = ("train", "validation", "test")

# Changing it moves people between splits: a new version of the dataset.
SALT = "mmpsy_jax/1"


def position(participant: str, salt: str = SALT) -> float:
    """Place of an id on [0, 1): uniform over ids, the same on every machine."""
    digest = hashlib.blake2b(f"{salt}\x00{participant}".encode(), digest_size=8).digest()
    # 53 bits are what a float holds; 64 could round up to 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def assign(
    participants: Iterable[str],
    fractions: Sequence[float] = (0.7, 0.1, 0.2),
    salt: str = SALT,
    split_file: str | os.PathLike | None = None,
    listed: Mapping[str, str] | None = None,
    may_rank: bool = False,
    clusters: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Split of every participant; those of a cluster are in one split.

    Args:
      participants: ids.
      fractions: shares of train, validation and test; they add up to 1. Unused with a split file.
      salt: another salt gives another assignment.
      split_file: CSV with the columns `participant,split`; it must name every participant once. Further ids in it are
        allowed, so that one file serves a corpus and its subsets.
      listed: {participant: split} where the source itself says so; a split file comes before it.
      may_rank: where the hash leaves a split of a small corpus empty, cut the participants in the order of their
        hashes instead. Then adding participants may move others.
      clusters: {participant: cluster}, whose name is hashed instead of the id; who is not in it is alone.

    Returns:
      {participant: "train" | "validation" | "test"}, in the order given.

    Raises:
      InputError: bad fractions, a bad split file, a cluster in two splits, or a split without participants.
    """
    participants = list(participants)
    cluster = {participant: (clusters or {}).get(participant, participant) for participant in participants}
    units = list(dict.fromkeys(cluster.values()))
    if split_file is not None:
        listed = read_split_file(split_file)
        missing = [participant for participant in participants if participant not in listed]
        if missing:
            raise InputError(
                f"{split_file}: {len(missing)} of {len(participants)} participants are not listed, the first is "
                f"{missing[0]!r}: give each one a split"
            )
        assigned = {participant: listed[participant] for participant in participants}
    elif listed is not None:
        assigned = {participant: listed[participant] for participant in participants}
    else:
        if len(fractions) != len(SPLITS) or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
            raise InputError(
                f"split fractions {tuple(fractions)}: give three positive shares, {', '.join(SPLITS)}, that add up to 1"
            )
        first, second = fractions[0], fractions[0] + fractions[1]
        places = {unit: position(unit, salt) for unit in units}
        split_of = {unit: SPLITS[0 if at < first else 1 if at < second else 2] for unit, at in places.items()}
        if may_rank and len(units) >= len(SPLITS) > len(set(split_of.values())):
            ranked = sorted(units, key=places.__getitem__)
            split_of = dict(zip(ranked, in_turn(len(ranked), fractions), strict=True))
        assigned = {participant: split_of[cluster[participant]] for participant in participants}
    divided = len({(cluster[participant], split) for participant, split in assigned.items()}) - len(units)
    if divided:
        raise InputError(
            f"{split_file or 'the splits of the source'}: {divided} clusters are in more than one split: give all "
            "participants of a cluster the same one"
        )
    empty = [split for split in SPLITS if split not in assigned.values()]
    if empty:
        raise InputError(
            f"no participant of {len(participants)} is in {', '.join(empty)}: every split needs at least one; use more "
            "participants or give a split file"
        )
    return assigned


def in_turn(count: int, fractions: Sequence[float]) -> list[str]:
    """Splits of so many in their order, the last ones for test; at least one is in each but train."""
    sizes = [max(1, round(share * count)) for share in fractions[1:]]
    sizes = [count - sum(sizes), *sizes]
    return [split for split, size in zip(SPLITS, sizes, strict=True) for _ in range(size)]


def read_split_file(path: str | os.PathLike) -> dict[str, str]:
    """Reads a CSV file with the columns `participant,split`.

    Raises:
      InputError: unreadable, wrong columns, an unknown split, a participant listed twice.
    """
    listed: dict[str, str] = {}
    for line, row in read_table(Path(path), ("participant", "split")).rows:
        participant, split = row["participant"], row["split"].casefold()
        if split not in SPLITS:
            raise InputError(f"{path}: line {line}: split must be one of: {', '.join(SPLITS)}: correct the cell")
        if participant in listed:
            raise InputError(f"{path}: line {line} lists a participant again: one person must be in one split")
        listed[participant] = split
    return listed


def across_splits(holders: Iterable[tuple[str, str]], split_of: Mapping[str, str]) -> dict[str, int]:
    """Counts content that several participants share.

    Args:
      holders: (digest of a content, participant) pairs.
      split_of: {participant: split}.

    Returns:
      {"shared": contents held by more than one participant, "across_splits": those of them in more than one split}.
    """
    owners: dict[str, set[str]] = {}
    for digest, participant in holders:
        owners.setdefault(digest, set()).add(participant)
    several = [people for people in owners.values() if len(people) > 1]
    return {
        "shared": len(several),
        "across_splits": sum(len({split_of[person] for person in people}) > 1 for people in several),
    }


def assert_disjoint(members: Mapping[str, Sequence[str]]) -> None:
    """Checks what was written: no id twice, neither within a split nor across splits.

    Args:
      members: {split: ids of its records}.

    Raises:
      InputError: an id is there twice.
    """
    seen: dict[str, str] = {}
    for split, ids in members.items():
        for participant in ids:
            if participant in seen:
                raise InputError(
                    f"participant {participant!r} is in {seen[participant]} and again in {split}: a person must be in "
                    "one record of one split; remove the dataset and build it again"
                )
            seen[participant] = split
