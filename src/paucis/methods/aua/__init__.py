"""AUA: aleatoric uncertainty for pseudo-labels, then retraining with features drawn to class prototypes."""

from paucis.methods.aua.method import Aua

__all__ = ["Aua"]
