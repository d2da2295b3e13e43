"""One published method = one file."""

from paucis.methods import mean_teacher, supervised

__all__ = ["mean_teacher", "supervised"]
