"""Configurations of a sweep's jobs: what a choice of files gives is composed once, and values are set in copies."""

import copy
import pickle
from collections.abc import Callable
from functools import partial
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl, get_overrides_dirname
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException


class JobLoader(ConfigLoaderImpl):
    """Hydra's loader, whose jobs read no file that a job before them has read.

    Hydra finds, parses and merges all files again for each job, to look whether it can be and to run it, in 80 ms each
    time; most jobs differ in values alone.

    Args:
        loader: of the sweep.
    """

    def __init__(self, loader: ConfigLoaderImpl) -> None:
        self.config_search_path, self.repository = loader.config_search_path, loader.repository
        self._composed: dict[tuple[str, ...], Callable[[], DictConfig]] = {}  # copies, by what chooses files

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """A job's configuration, as Hydra composes it.

        Raises:
            HydraException: it cannot be.
        """
        parsed = OverridesParser.create().parse_overrides(sweep_overrides)
        self.validate_sweep_overrides_legal(parsed, RunMode.RUN, from_shell=True)
        chosen = tuple(_line(each) for each in parsed if self._chooses(each))
        if chosen not in self._composed:
            self._composed[chosen] = _copies(super().load_sweep_config(master_config, list(chosen)))
        config = self._composed[chosen]()
        try:
            self._apply_overrides_to_config([each for each in parsed if not self._chooses(each)], config)
            _describe(config, [each for each in parsed if not each.is_hydra_override()])
        except OmegaConfBaseException as error:
            raise ConfigCompositionException() from error
        return config

    def _chooses(self, override: Override) -> bool:
        """Whether it decides which files are read, or is of Hydra itself."""
        is_group = self.repository.group_exists(override.key_or_group) and not isinstance(override.value(), dict)
        return is_group or override.is_hydra_override()


def _copies(config: DictConfig) -> Callable[[], DictConfig]:
    """What gives copies of a configuration."""
    try:
        return partial(pickle.loads, pickle.dumps(config))  # takes a tenth of the time
    except pickle.PicklingError:
        # In joblib's processes Hydra has run its plugins' modules twice: classes of the first time have no name.
        return partial(copy.deepcopy, config)


def _describe(config: DictConfig, overrides: list[Override]) -> None:
    """Put what the job was told into what Hydra keeps of it."""
    about = config.hydra
    about.overrides.task = list(map(_line, overrides))
    how: Any = OmegaConf.to_container(about.job.config.override_dirname)
    about.job.override_dirname = get_overrides_dirname(overrides, **how)


def _line(override: Override) -> str:
    assert override.input_line is not None
    return override.input_line
