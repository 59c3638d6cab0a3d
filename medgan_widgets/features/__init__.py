"""Images to feature vectors, by a named and versioned extractor.

::

    extractor.py     what an extractor is, and those known here: a new one is an entry there
    extraction.py    features_from_images, feature_batches: images in, features out or from disk
    canonical.py     canonical-1: texture, moments, spectrum, shape; no weights
    phantom_cnn.py   phantom-cnn-1: a small network that reads the phantoms' parameters
    published.py     Inception, RadImageNet, DINOv2: by weights that a person has
    weights.py       where published weights come from; nothing comes silently

Values of two extractors never compare.
"""

from medgan_widgets.features.canonical import canonical_names
from medgan_widgets.features.extraction import (
    clear_cache,
    feature_batches,
    features_from_images,
)
from medgan_widgets.features.extractor import (
    CANONICAL,
    DINOV2,
    INCEPTION,
    PHANTOM_CNN,
    RADIMAGENET,
    Extractor,
    extractor_name,
    extractors,
)
from medgan_widgets.features.weights import fetch_weights

__all__ = [
    "CANONICAL",
    "DINOV2",
    "INCEPTION",
    "PHANTOM_CNN",
    "RADIMAGENET",
    "Extractor",
    "canonical_names",
    "clear_cache",
    "extractor_name",
    "extractors",
    "feature_batches",
    "features_from_images",
    "fetch_weights",
]
