"""Test inputs that sit where wrong programs differ: on and next to every constant."""

from random import Random


def near(*constants: int) -> list[int]:
    """Return each constant with its two neighbours, in ascending order without repeats."""
    return sorted({c + offset for c in constants for offset in (-1, 0, 1)})


def calls(numbers: list[int]) -> list[list[int]]:
    """Make one test per number, each a call with that single argument."""
    return [[n] for n in dict.fromkeys(numbers)]


def range_ends(a: int, b: int) -> list[int]:
    """Ends of a range from 1 on which counts multiples of a on one side of b.

    On, before and after the multiples of a next to b, so that a range one longer or shorter shows.
    """
    below, above = b // a * a, (b // a + 2) * a
    ends = [0, b - 1, b, below - 1, below, below - a, above - 1, above, 2 * b + 1, 60]
    return sorted({n for n in ends if n >= 0})


def lists(rng: Random, *constants: int) -> list[list[list[int]]]:
    """Make argument lists of one list each: boundaries alone, together, shuffled and mixed."""
    edges = near(*constants)
    top = max(edges) + 10
    mixed = [rng.sample([*edges, *(rng.randint(-3, top) for _ in range(4))], k=7)]
    mixed += [[rng.randint(0, top) for _ in range(6)], [-4, top, 0, 2]]
    shuffled = rng.sample(edges, k=len(edges))
    alone = [[c] for c in constants]
    return [[xs] for xs in ([], *alone, edges, edges[::-1], shuffled, *mixed)]


def words(rng: Random, letters: str) -> list[list[str]]:
    """Make argument lists of one string each: every letter alone, all of them, and mixtures."""
    others = [c for c in "abcdefghijklmnopqrstuvwxyz" if c not in letters]
    texts = ["", *letters, letters + letters[0]]
    for length in (5, 8, 12):
        pool = [rng.choice(letters) for _ in range(length // 2 + 1)]
        pool += rng.sample(others, k=length // 2)
        texts.append("".join(rng.sample(pool, k=len(pool))))
    return [[text] for text in dict.fromkeys(texts)]
