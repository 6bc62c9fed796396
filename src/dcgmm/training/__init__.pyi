from .fit import History as History
from .fit import fit as fit
from .layer import LayerReport as LayerReport
from .options import AnnealingOptions as AnnealingOptions
from .options import LearningRateOptions as LearningRateOptions
from .options import TrainerOptions as TrainerOptions
from .trainer import Trainer as Trainer
