from .loading import Listing as Listing
from .loading import load as load
from .options import NAMES as NAMES
from .options import DatasetOptions as DatasetOptions
from .split import ImageData as ImageData
from .split import Split as Split
