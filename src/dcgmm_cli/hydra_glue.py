"""What Hydra needs of us: schemas and resolvers registered, its error messages in one line."""

import difflib
import re

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf

from dcgmm_cli import config
from dcgmm_cli.runs import find_run, unique_name

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


def prepare(command: str, arguments: list[str]) -> list[str]:
    """Register schemas and resolvers; return the arguments for Hydra.

    A run that is resumed (`train run=...`) writes on in its own directory and leaves its `.hydra/` alone. Layers
    given in the command line are no longer the architecture that they replace, and are not named after it.

    Raises:
        UserError: `run` names no run.
    """
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema, provider="dcgmm")
    OmegaConf.register_new_resolver("unique_name", unique_name, use_cache=False, replace=True)
    OmegaConf.register_new_resolver("find_run", lambda run, root: str(find_run(run, root)), replace=True)
    if command == "results":
        return _as_keys(arguments)
    given = dict(argument.split("=", 1) for argument in arguments if "=" in argument)
    if command == "train" and given.get("run", "null") != "null" and not {"-m", "--multirun"} & set(arguments):
        directory = find_run(given["run"], given.get("runs_dir", config.TrainConfig.runs_dir))
        return [*arguments, f"hydra.run.dir='{directory}'", "hydra.output_subdir=null"]
    if "arch.layers" in given and "arch.name" not in given:
        return [*arguments, f"arch.name={config.ArchConfig.name}"]
    return arguments


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
