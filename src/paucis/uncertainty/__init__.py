"""Uncertainty: probabilities in, maps out."""

from paucis.uncertainty.entropy import (
    confidence,
    entropy,
    expected_entropy,
    mutual_information,
    predictive_entropy,
)
from paucis.uncertainty.temperature import tempered

__all__ = ["confidence", "entropy", "expected_entropy", "mutual_information", "predictive_entropy", "tempered"]
