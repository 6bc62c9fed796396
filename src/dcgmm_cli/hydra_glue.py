"""What Hydra needs of us: schemas and resolvers registered, its error messages in one line."""

import difflib
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from dcgmm_cli import config
from dcgmm_cli.errors import UserError
from dcgmm_cli.runs import find_models, find_run, unique_name
from dcgmm_cli.sweeps import RECORD, available_cores, job_name, new_record

SCHEMAS = {
    "train": config.TrainConfig,
    "data": config.DataConfig,
    "results": config.ResultsConfig,
    "outliers": config.OutliersConfig,
    "sample": config.SampleConfig,
    "sharpen": config.SharpenConfig,
    "visualize": config.VisualizeConfig,
    "cluster": config.ClusterConfig,
}


def register() -> None:
    """Make schemas and resolvers known to Hydra, once in each process."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema, provider="dcgmm")
    OmegaConf.register_new_resolver("unique_name", unique_name, use_cache=False, replace=True)
    OmegaConf.register_new_resolver("find_run", lambda run, root: str(find_run(run, root)), replace=True)
    OmegaConf.register_new_resolver("job_name", job_name, replace=True)


def prepare(command: str, arguments: list[str]) -> tuple[list[str], Path | None]:
    """The arguments for Hydra and, of a sweep, the file that its jobs tell their outcomes in.

    A run that is resumed (`train run=...`) writes on in its own directory and leaves its `.hydra/` alone. Layers
    given in the command line are no longer the architecture that they replace, and are not named after it. A command
    that is given a directory with several models works on each, as a sweep.

    Raises:
        UserError: `run` names no run, or the launcher is not installed.
    """
    if command == "results":
        return _as_keys(arguments), None
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    sweeps = bool({"-m", "--multirun"} & set(arguments))
    run, runs_dir = given.get("run", "null"), given.get("runs_dir", config.TrainConfig.runs_dir)
    if command == "train":
        if run != "null" and not sweeps:
            directory = find_run(run, runs_dir)
            return [*arguments, f"hydra.run.dir='{directory}'", "hydra.output_subdir=null"], None
        if "arch.layers" in given and "arch.name" not in given:
            arguments = [*arguments, f"arch.name={config.ArchConfig.name}"]
    elif issubclass(SCHEMAS[command], config.FollowUpConfig) and not sweeps:
        models = find_models(run if "run" in given else config.FollowUpConfig.run, runs_dir)
        if len(models) > 1:
            others = [argument for argument in arguments if not argument.startswith("run=")]
            arguments, sweeps = ["-m", *others, f"run={','.join(_quoted(str(model)) for model in models)}"], True
    return _sweep(arguments, given, runs_dir) if sweeps else (arguments, None)


def _sweep(arguments: list[str], given: Mapping[str, str], runs_dir: str) -> tuple[list[str], Path]:
    added = []
    launcher = given.get("hydra/launcher", "basic")
    plugin = f"hydra_plugins.hydra_{launcher.partition('_')[0]}_launcher"
    if launcher != "basic" and not _is_installed(plugin):
        raise UserError(f"hydra/launcher={launcher} is not installed: pip install 'dcgmm[sweep]', or leave it out")
    if launcher == "joblib" and "hydra.launcher.n_jobs" not in given:
        # Each worker then runs one thread: no more threads than cores.
        added.append(f"hydra.launcher.n_jobs={available_cores()}")
    if "hydra.sweep.dir" in given and "hydra.sweep.subdir" not in given:
        # In a directory of its own a sweep's jobs are found again when it is given again.
        added.append("hydra.sweep.subdir='${job_name:${hydra.job.override_dirname}}'")
    record = new_record(given.get("hydra.sweep.dir", runs_dir).strip("'\""))
    return [*arguments, *added, f"+hydra.job.env_set.{RECORD}='{record}'"], record


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _as_keys(arguments: list[str]) -> list[str]:
    """Arguments of `results` with words as its `paths`, and what is no key of it as conditions in its `where`."""
    keys = {*schema_keys(OmegaConf.structured(config.ResultsConfig)), "hydra"}
    paths = [word for word in arguments if "=" not in word and not word.startswith("-")]
    where = [word for word in arguments if "=" in word and re.split(r"[.=]", word.lstrip("-+~"))[0] not in keys]
    kept = [word for word in arguments if word not in paths and word not in where]
    lists = {"paths": paths, "where": where}
    return [*kept, *(f"{key}=[{','.join(map(_quoted, words))}]" for key, words in lists.items() if words)]


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def explain(error: Exception, command: str) -> str:
    """One line for a user out of an exception of Hydra or OmegaConf."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = f"{error}\n{cause}"
    if found := re.search(r"Could not find '(.+?)/([^/']*)'\s+Available options in [^\n]*\n((?:\t[^\n]*\n?)+)", text):
        group, choice, options = found.groups()
        return f"{group}={choice} is unknown; choose {', '.join(options.split())}"
    if found := re.search(r"Key '(.+?)' (?:is )?not in .*?full_key: (\S+)", text, re.S):
        return _unknown_key(found.group(2), command)
    if found := re.search(r"Could not override '(.+?)'", str(error)):
        full = re.search(r"full_key: (\S+)", text)
        first = str(cause).splitlines()[0]
        return f"{full.group(1) if full else found.group(1)}: {first}"
    first = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
    full = re.search(r"full_key: (\S+)", text)
    if "Missing mandatory value" in first and full:
        return f"{full.group(1)} is needed: give {full.group(1)}=..."
    return f"{full.group(1)}: {first}" if full else first


def _unknown_key(key: str, command: str) -> str:
    close = difflib.get_close_matches(key, schema_keys(OmegaConf.structured(SCHEMAS[command])), 1)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key {key}: {hint}`dcgmm {command} --help` lists the keys"


def schema_keys(node: DictConfig, prefix: str = "") -> list[str]:
    """All keys of a schema, nested ones with their dots."""
    keys: list[str] = []
    for name in map(str, node):
        child = None if OmegaConf.is_missing(node, name) else node._get_node(name)
        keys += schema_keys(child, f"{prefix}{name}.") if isinstance(child, DictConfig) else [prefix + name]
    return keys
