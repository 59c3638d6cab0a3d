"""The table of contents: every public name once, and where it lives."""

from . import datasets as datasets, exporting as exporting, features as features
from . import memorisation as memorisation, studies as studies

# in a notebook
from .panels import (
    GeneratorGrid as GeneratorGrid,
    MetricsPlot as MetricsPlot,
    ModelExplorer as ModelExplorer,
    ReaderStudy as ReaderStudy,
    Studio as Studio,
    TrainingMonitor as TrainingMonitor,
)

# what is known, and what is asked
from .catalogue import Catalogue as Catalogue
from .cards import (
    DataStatement as DataStatement,
    ModelCard as ModelCard,
)
from .requests import (
    Batch as Batch,
    GenerateRequest as GenerateRequest,
    Measured as Measured,
    Score as Score,
)

# medigan's packages
from .medigan.actions import (
    consent_text as consent_text,
    download as download,
    dry_run as dry_run,
    trust as trust,
)
from .medigan.trust import write_lock as write_lock

# what makes images
from .engine import (
    Engine as Engine,
    shared_engine as shared_engine,
)

# training: images, a look ahead, the loop, a process of its own
from .datasets import read_images as read_images
from .image_sources import open_images as open_images
from .phantoms import draw_phantoms as draw_phantoms
from .presets import Preset as Preset
from .training import (
    estimate_training as estimate_training,
    prepare_run as prepare_run,
    train as train,
)
from .runs import start_process as start_process

# how good: figures, anatomy, use
from .metrics.score import score as score
from .metrics.table import Scores as Scores
from .phantoms.anatomy import (
    compare_anatomy as compare_anatomy,
    measure_anatomy as measure_anatomy,
)
from .studies.augmentation import AugmentationStudy as AugmentationStudy

# files, from a run to a model, and from an image back
from .exporting import (
    check_model as check_model,
    export as export,
    import_checkpoint as import_checkpoint,
    make_model as make_model,
    models_trained_on as models_trained_on,
    restore as restore,
    trace as trace,
)
