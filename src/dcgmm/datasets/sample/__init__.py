"""The bundled sample of MNIST and FashionMNIST, for machines without a network; `cut.py` made it."""
