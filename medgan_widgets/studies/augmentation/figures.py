"""Metrics of predictions: once for a row, or under thousands of weights for an interval."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def figures(truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> dict[str, Any]:
    """Return accuracy, balanced accuracy, macro F1 and the recall of each class.

    Classes without a test image have no recall and count in no mean.
    """
    weights = np.ones((1, len(truth)))
    found = weighted(truth, predicted[None], classes, weights)
    return {
        "accuracy": float(found["accuracy"][0, 0]),
        "balanced_accuracy": float(found["balanced_accuracy"][0, 0]),
        "macro_f1": float(found["macro_f1"][0, 0]),
        "recall": [float(one[0, 0]) for one in found["recall"]],
    }


def weighted(
    truth: NDArray[np.int64], predicted: NDArray[np.int64], classes: int, weights: Floats
) -> dict[str, Any]:
    """Return metrics [draws, seeds] of predictions [seeds, N] under weights [draws, N]."""
    right = (predicted == truth).astype(np.float64).T
    recalls, scores = [], []
    for one in range(classes):
        true = (truth == one).astype(np.float64)
        hits, have = weights @ (right * true[:, None]), (weights @ true)[:, None]
        said = weights @ (predicted == one).astype(np.float64).T
        with np.errstate(invalid="ignore", divide="ignore"):
            recalls.append(np.where(have > 0, hits / have, np.nan))
            # A class without a test image has no F1; one never said and never true has 0.
            f1 = np.where(have + said > 0, 2 * hits / (have + said), 0.0)
            scores.append(np.where(have > 0, f1, np.nan))
    return {
        "accuracy": weights @ right / weights.sum(axis=1, keepdims=True),
        "balanced_accuracy": np.nanmean(recalls, axis=0),
        "macro_f1": np.nanmean(scores, axis=0),
        "recall": recalls,
    }
