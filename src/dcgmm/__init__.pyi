from . import clustering as clustering
from . import datasets as datasets
from . import generation as generation
from . import model as model
from . import outliers as outliers
from . import sklearn as sklearn
from . import training as training
from .architectures import arch as arch
from .checkpoints import TrainedRun as TrainedRun
from .checkpoints import load as load
from .checkpoints import load_run as load_run
from .checkpoints import save as save
from .density import Density as Density
from .density import density as density
from .errors import InputError as InputError
from .errors import OptionError as OptionError
from .generation.sampling import Samples as Samples
from .generation.sampling import sample as sample
from .generation.sharpening import Sharpened as Sharpened
from .generation.sharpening import sharpen as sharpen
from .model.options import Architecture as Architecture
from .model.stack import DCGMM as DCGMM
from .outliers.detector import Detector as Detector
from .training.fit import History as History
from .training.fit import fit as fit

__version__: str
