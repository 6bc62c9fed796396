"""What the paper prints, transcribed: its tables, and what it says of its figures."""

ARCHS = ("1L", "2L-a", "2L-b", "2L-c", "2L-d", "2L-e", "3L-a", "3L-b")

# The row "comment" of table 1 in three groups. A vanilla GMM is neither deep nor convolutional.
FLAT = ("1L",)
DEEP_CONVOLUTIONAL = ("2L-a", "2L-b", "2L-c", "2L-e", "3L-a")
DEEP_NON_CONVOLUTIONAL = ("2L-d", "3L-b")

# Table 1: layers from the image up, F(kernel height, width, stride down, right), P(kernel), G(K).
TABLE_1 = {
    "1L": "F(28,28,1,1) G(25)",
    "2L-a": "F(20,20,8,8) G(25) F(2,2,1,1) G(36)",
    "2L-b": "F(7,7,7,7) G(25) F(4,4,1,1) G(36)",
    "2L-c": "F(7,7,3,3) G(25) F(8,8,1,1) G(36)",
    "2L-d": "F(28,28,1,1) G(25) F(1,1,1,1) G(36)",
    "2L-e": "F(7,7,3,3) G(25) F(8,8,1,1) G(36)",
    "3L-a": "F(3,3,1,1) G(25) P(2,2) F(4,4,1,1) G(25) P(2,2) F(6,6,1,1) G(49)",
    "3L-b": "F(28,28,1,1) G(25) F(1,1,1,1) G(25) F(1,1,1,1) G(25)",
}

DATASETS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
METRICS = {"dunn": "Dunn index (higher is better)", "davies_bouldin": "Davies-Bouldin score (lower is better)"}

# Table 2, worst of 10 runs, in the order of ARCHS. None: not legible, or (1.35 or 2.35) not to be told apart.
TABLE_2 = {
    ("mnist", "dunn"): (0.14, 0.14, 0.13, 0.12, 0.19, None, 0.15, 0.15),
    ("mnist", "davies_bouldin"): (2.59, 2.73, 3.06, 2.62, 2.57, None, 2.65, 2.53),
    ("fashion_mnist", "dunn"): (0.14, 0.15, 0.16, 0.15, 0.11, 0.11, 0.096, 0.13),
    ("fashion_mnist", "davies_bouldin"): (2.37, 2.77, 2.62, 2.7, 2.40, 2.92, 3.2, None),
}
