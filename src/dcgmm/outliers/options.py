"""Names of outlier scores. Imports nothing slow."""

LAYER_SCORES = ("log_prob", "standardised")  # of each GMM layer
MODEL_SCORES = ("ratio", "joint", "pixels", "worst")  # of the whole model
SCORES = (*LAYER_SCORES, *MODEL_SCORES)
