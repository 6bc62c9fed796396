from .agreement import (
    contingency_matrix as contingency_matrix,
)
from .agreement import (
    majority_accuracy as majority_accuracy,
)
from .agreement import (
    matched_accuracy as matched_accuracy,
)
from .agreement import (
    purity as purity,
)
from .assignment import Assigned as Assigned
from .assignment import assign as assign
from .centroids import (
    centroid_dunn_index as centroid_dunn_index,
)
from .centroids import (
    cluster_means as cluster_means,
)
from .centroids import (
    nearest_to_means as nearest_to_means,
)
from .comparison import Compared as Compared
from .comparison import compare as compare
from .dunn import DunnIndex as DunnIndex
from .dunn import dunn_index as dunn_index
from .figures import ClusterFigures as ClusterFigures
from .figures import cluster_figures as cluster_figures
from .merging import merge_ward as merge_ward
from .merging import torus_neighbours as torus_neighbours
from .peers import gaussian_mixture_labels as gaussian_mixture_labels
from .peers import kmeans_labels as kmeans_labels
