"""Landmarks: from a map of similarity to a point, how sure it is, how often points lie right; sheets of them."""

from paucis.evaluation.landmarks.points import THRESHOLDS, Peak, accuracy, find_peak, share_of_window

__all__ = ["THRESHOLDS", "Peak", "accuracy", "find_peak", "share_of_window"]
