"""Judge a clustering: separation of the clusters, agreement with classes, merging of components, peers.

Shapes: N samples, F features of a sample (pixels or responsibilities), K components, M clusters, G classes.
A cluster is a label in use: labels are any integers, and gaps (components without samples) count nowhere.
"""

from dcgmm_cli.clustering.agreement import contingency_matrix, majority_accuracy, matched_accuracy, purity
from dcgmm_cli.clustering.centroids import centroid_dunn_index, cluster_means, nearest_to_means
from dcgmm_cli.clustering.dunn import DunnIndex, dunn_index
from dcgmm_cli.clustering.figures import ClusterFigures, cluster_figures
from dcgmm_cli.clustering.merging import merge_ward, torus_neighbours
from dcgmm_cli.clustering.peers import gaussian_mixture_labels, kmeans_labels

__all__ = [
    "ClusterFigures",
    "DunnIndex",
    "centroid_dunn_index",
    "cluster_figures",
    "cluster_means",
    "contingency_matrix",
    "dunn_index",
    "gaussian_mixture_labels",
    "kmeans_labels",
    "majority_accuracy",
    "matched_accuracy",
    "merge_ward",
    "nearest_to_means",
    "purity",
    "torus_neighbours",
]
