"""What the estimators share: parameters, checks of the data, scaling of features, training.

Shapes: N samples, F features; an image's are its H x W x C pixel values.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from numbers import Integral, Real
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from dcgmm.architectures import arch as named_architecture
from dcgmm.density import why_no_density
from dcgmm.errors import InputError, OptionError
from dcgmm.images import as_images, image_batches
from dcgmm.model.annealing import grid_side
from dcgmm.model.options import Architecture, LayerOptions
from dcgmm.model.scored import Scored
from dcgmm.model.stack import DCGMM
from dcgmm.options import plain
from dcgmm.runtime import choose_device
from dcgmm.sklearn.recipes import FEATURES, IMAGES
from dcgmm.training.fit import History, fit

Arch = str | Architecture | Sequence[LayerOptions | Mapping[str, Any]] | None
Floats = NDArray[np.float64]
FARTHEST = 1e100  # ranges from the training minimum: squares of what lies beyond would be no numbers, all as far away


class ModelEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """An estimator with a DCGMM inside: its data as images, the model trained on them, the top layer's scores."""

    model_: DCGMM
    history_: History
    n_features_in_: int
    data_min_: Floats  # (F,); without image_shape only
    data_range_: Floats  # (F,)

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "image_shape": ["array-like", None],
        "arch": [str, Architecture, list, tuple, None],
        "n_components": [Interval(Integral, 1, None, closed="left")],
        "epochs": [Interval(Integral, 1, None, closed="left"), None],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "learning_rate": [Interval(Real, 0, None, closed="neither")],
        "precision_limit": [Interval(Real, 0, None, closed="neither"), None],
        "device": [str],
        "random_state": ["random_state"],
    }

    def __init__(
        self,
        *,
        image_shape: Sequence[int] | None = None,
        arch: Arch = None,
        n_components: int = 9,
        epochs: int | None = None,
        batch_size: int = 100,
        learning_rate: float = 0.05,
        precision_limit: float | None = None,
        device: str = "cpu",
        random_state: int | np.random.RandomState | None = None,
    ) -> None:
        self.image_shape = image_shape
        self.arch = arch
        self.n_components = n_components
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.precision_limit = precision_limit
        self.device = device
        self.random_state = random_state

    def _fit_model(self, X: Any) -> NDArray[Any]:  # (N, F) -> (N, F), checked
        """Check parameters and data, then train a new model."""
        self._validate_params()
        rows: NDArray[Any] = self._rows(X, reset=True)
        self._train(rows)
        return rows

    def _train(self, rows: NDArray[Any]) -> None:  # (N, F), checked
        recipe = FEATURES if self.image_shape is None else IMAGES
        shape = self._shape()
        model = DCGMM.build(shape, self._architecture(shape), recipe.gmm_options(self.precision_limit))
        # Features may differ by little from much: float64. For images float32 is enough, and fast.
        model = model.to(choose_device(self.device), torch.float64 if self.image_shape is None else torch.float32)
        if self.image_shape is None:
            with np.errstate(over="ignore"):
                self.data_min_, spread = rows.min(0), np.ptp(rows, 0)
            if not np.isfinite(spread).all():
                raise InputError(f"X must hold features whose range is a number, not from {rows.min()} to {rows.max()}")
            self.data_range_ = np.where(spread > 0, spread, 1.0)
        images = self._images(rows)
        options = recipe.trainer_options(
            model,
            len(rows),
            None if self.epochs is None else int(self.epochs),
            int(self.batch_size),
            float(self.learning_rate),
        )
        self.history_ = fit(model, images, seed=self._seed(), **plain(options))
        self.model_ = model

    def _seed(self) -> int:
        state: Any = self.random_state  # an int may be NumPy's
        if isinstance(state, Integral):
            return int(state)
        return int(check_random_state(state).randint(np.iinfo(np.int32).max))

    def _shape(self) -> tuple[int, int, int]:  # (H, W, C)
        """Shape of a sample as an image; features lie side by side.

        Raises:
            OptionError: image_shape is not two or three positive whole numbers.
        """
        if self.image_shape is None:
            return (1, self.n_features_in_, 1)
        sizes: list[Any] = list(self.image_shape)
        if len(sizes) not in (2, 3) or any(not isinstance(size, Integral) or size < 1 for size in sizes):
            raise OptionError("image_shape", "two or three positive whole numbers, (H, W) or (H, W, C)", sizes)
        height, width, channels = map(int, [*sizes, 1][:3])
        return height, width, channels

    def _architecture(self, shape: tuple[int, int, int]) -> Architecture | Sequence[LayerOptions | Mapping[str, Any]]:
        if isinstance(self.arch, str):
            return named_architecture(self.arch)
        if self.arch is not None:
            return self.arch
        try:
            grid_side(int(self.n_components))
        except OptionError as error:
            raise OptionError("n_components", error.rule, error.value) from None
        window = LayerOptions("folding", kernel=list(shape[:2]))  # type: ignore[arg-type]  # made into a LayerType
        return [window, LayerOptions("gmm", components=int(self.n_components))]  # type: ignore[arg-type]  # too

    def _rows(self, X: Any, *, reset: bool, **y: Any) -> Any:  # (N, F); with y (N, F), (N,)
        """Samples as rows, checked against those that were fitted, or taken as what others are checked against."""
        least = 2 if reset else 1
        if self.image_shape is None:
            return validate_data(self, X, reset=reset, dtype=np.float64, ensure_min_samples=least, **y)
        shape = self._shape()
        if isinstance(X, Tensor):
            X = (X.float() if X.dtype == torch.bfloat16 else X).numpy(force=True)
        if getattr(X, "ndim", 2) > 2:
            if tuple(X.shape[1:]) not in (shape, shape[:2] if shape[2] == 1 else shape):
                self._refuse(X.shape)
            X = np.asarray(X).reshape(len(X), -1)
        kept = [np.float64, np.float32, np.uint8]
        checked = validate_data(
            self, X, reset=reset, dtype=kept, order="C", force_writeable=True, ensure_min_samples=least, **y
        )
        if self.n_features_in_ != math.prod(shape):
            self._refuse((len(X), self.n_features_in_))
        return checked

    def _refuse(self, found: Sequence[int]) -> None:
        height, width, channels = self._shape()
        raise InputError(
            f"X must hold images of image_shape, as (n, {height}, {width}, {channels}) or as rows "
            f"(n, {height * width * channels}), not {tuple(found)}"
        )

    def _images(self, rows: NDArray[Any]) -> Tensor:  # (N, F) -> (N, H, W, C)
        """Rows as the model takes them: pixels as they are, features scaled to [0, 1] where training had them."""
        shape = self._shape()
        if self.image_shape is not None:
            return as_images(rows.reshape(len(rows), *shape), shape)
        with np.errstate(over="ignore"):
            scaled = (rows - self.data_min_) / self.data_range_
        return torch.from_numpy(scaled.clip(-FARTHEST, FARTHEST)).reshape(len(rows), *shape)

    def _batches(self, images: Tensor) -> Iterator[Tensor]:  # (n, H, W, C) each
        """Images as floats on the model's device, batch by batch."""
        model = self.model_
        return image_batches(images, model.batch_size, model.dtype, model.device)

    @torch.no_grad()
    def _gathered(self, images: Tensor, value: Callable[[Tensor], Tensor]) -> Floats:  # (N, H, W, C) -> (N, ...)
        """What `value` says of all images, batch by batch."""
        return torch.cat([value(batch).cpu() for batch in self._batches(images)]).double().numpy()

    def _top(self, batch: Tensor) -> Scored:
        """What the top GMM layer says of a batch."""
        return list(self.model_.score_floats(batch).values())[-1]

    def _log_prob(self, images: Tensor) -> Floats:  # (N,)
        """Log-likelihood in the top GMM layer; of features in their own units, where it is their density."""
        values = self._gathered(images, lambda batch: self._top(batch).log_prob.mean((-2, -1)))
        if self.image_shape is None and is_density(self.model_):
            values = values - np.log(self.data_range_).sum()
        return values

    def _checked(self, X: Any) -> Tensor:  # (N, F) -> (N, H, W, C)
        check_is_fitted(self)
        return self._images(self._rows(X, reset=False))

    def fit(self, X: Any, y: Any = None) -> Self:
        """Train a new model."""
        raise NotImplementedError


def is_density(model: DCGMM) -> bool:
    """Whether the model's log-likelihood is a density of its input: one mixture over all of it at once."""
    (gmm, *others) = model.gmms.values()
    return not others and gmm.input_shape.positions == 1 and why_no_density(model) is None
