"""What is random in a step is a function of (seed, stage, rank, step): a resumed run draws what it would have drawn."""

from __future__ import annotations

import hashlib

import torch


def derive(*parts: int | str) -> int:
    """A 63-bit seed from the parts, the same on every machine and Python."""
    digest = hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def seed_step(seed: int, stage: str, rank: int, step: int) -> torch.Generator:
    """Seeds torch's global generators for one step (dropout, a method's own draws).

    Returns:
        a separate CPU generator for the base augmentation, so that adding a draw there moves nothing else.
    """
    torch.manual_seed(derive(seed, stage, rank, step, "method"))
    generator = torch.Generator()
    generator.manual_seed(derive(seed, stage, rank, step, "views"))
    return generator
