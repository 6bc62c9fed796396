"""Configurations of a sweep's jobs are those that Hydra composes, and files are read once."""

import sys
from pathlib import Path

import pytest
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.utils import create_config_search_path
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from dcgmm_cli.composing import JobLoader
from dcgmm_cli.hydra_glue import register
from dcgmm_cli.main import conf_dir

JOBS = {
    "values": [["seed=0", "trainer.epochs=2"], ["seed=1"]],
    "architectures": [["arch=2L-c", "seed=0"], ["arch=1L", "seed=1"]],
    "values before the file that they change": [["arch.name=mine", "arch=1L"], ["arch.name=yours", "arch=1L"]],
    "added and removed": [["+logger=tensorboard", "~dataset.limit"], ["++trainer.epochs=3", "seed=1"]],
    "Hydra's own": [["hydra.job.chdir=true", "seed=3"], ["seed=4", "hydra.job.chdir=false"]],
    "layers": [["arch.layers=[{type:gmm,components:4}]", "dataset.classes=[0,1]"], ["arch={name:x}"]],
    "texts": [["dataset.path='a,${oc.env:HOME} b'"], ["dataset.path=null"]],
}


@pytest.fixture
def loader() -> ConfigLoaderImpl:
    register()
    return ConfigLoaderImpl(create_config_search_path(str(conf_dir())))


def master(loader: ConfigLoaderImpl) -> DictConfig:
    overrides = ["dataset=mnist_sample", "seed=0,1", "++hydra.job.env_set.A=b"]
    return loader.load_configuration("train", overrides, RunMode.MULTIRUN)


def everything(config: DictConfig) -> tuple[object, ...]:
    kept = config._metadata
    return OmegaConf.to_yaml(config), OmegaConf.get_type(config.arch), kept.flags, kept.resolver_cache


@pytest.mark.parametrize("name", JOBS)
def test_jobs_are_as_hydra_composes_them(name: str, loader: ConfigLoaderImpl) -> None:
    of_sweep, ours = master(loader), JobLoader(loader)
    for job in JOBS[name]:
        theirs = outcome(loader, of_sweep, job)
        assert outcome(ours, of_sweep, job) == theirs
    assert outcome(ours, of_sweep, job) == theirs


def outcome(loader: ConfigLoaderImpl, of_sweep: DictConfig, job: list[str]) -> tuple[object, ...] | str:
    try:
        return everything(loader.load_sweep_config(of_sweep, list(job)))
    except HydraException as error:
        return f"{type(error)}: {error}"


@pytest.mark.parametrize("job", [["no_such=1"], ["seed=x"], ["arch=no_such"], ["seed=0,1"], ["dataset.path='${x'"]])
def test_what_cannot_be_is_refused_as_by_hydra(job: list[str], loader: ConfigLoaderImpl) -> None:
    of_sweep, ours = master(loader), JobLoader(loader)
    refused = outcome(loader, of_sweep, job)
    assert isinstance(refused, str)
    assert outcome(ours, of_sweep, job) == refused


def test_a_job_changes_no_other(loader: ConfigLoaderImpl) -> None:
    of_sweep, ours = master(loader), JobLoader(loader)
    first = ours.load_sweep_config(of_sweep, ["seed=0"])
    first.hydra.job.name = first.arch.name = "changed"
    second = ours.load_sweep_config(of_sweep, ["seed=0"])
    assert (second.hydra.job.name, second.arch.name) == ("train", "2L-c")


def test_files_are_read_once(loader: ConfigLoaderImpl, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    load = ConfigRepository.load_config

    def counted(self: ConfigRepository, config_path: str) -> object:
        read.append(Path(config_path).name)
        return load(self, config_path)

    of_sweep, ours = master(loader), JobLoader(loader)
    monkeypatch.setattr(ConfigRepository, "load_config", counted)
    ours.load_sweep_config(of_sweep, ["arch=1L", "seed=0"])
    assert "1L" in read
    read.clear()
    ours.load_sweep_config(of_sweep, ["arch=1L", "seed=1"])
    assert not read


def test_classes_that_cannot_be_found_by_name(loader: ConfigLoaderImpl, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in processes of joblib's, where Hydra has run its plugins' modules twice."""
    of_sweep, ours = master(loader), JobLoader(loader)
    theirs = [outcome(loader, of_sweep, job) for job in JOBS["values"]]
    found = OmegaConf.get_type(of_sweep.arch)
    assert found is not None
    monkeypatch.setattr(sys.modules[found.__module__], found.__name__, object)
    assert [outcome(ours, of_sweep, job) for job in JOBS["values"]] == theirs
