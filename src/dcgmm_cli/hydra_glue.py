"""What Hydra needs of us: schemas and resolvers registered, its error messages in one line."""

import difflib
import math
import os
import re
from pathlib import Path
from typing import Any, ClassVar

from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, MissingMandatoryValue, OmegaConfBaseException

from dcgmm_cli import config
from dcgmm_cli.errors import UserError
from dcgmm_cli.runs import find_models, find_run, unique_name
from dcgmm_cli.sweeps import RECORD, Sweep, available_cores, job_name, new_record

# Hydra's flags whose value is the next word; `-sc query=bash` is how a shell asks for completions.
FLAGS_WITH_VALUE = {"-c", "--cfg", "-p", "--package", "-cp", "--config-path", "-cn", "--config-name"}
FLAGS_WITH_VALUE |= {"-cd", "--config-dir", "-i", "--info", "-sc", "--shell-completion", "--experimental-rerun"}
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


LAUNCHERS = ("joblib", "submitit_local", "submitit_slurm")  # those of the extra `sweep`


class SweepStart(Callback):
    """What a sweep sets up before its first job, once Hydra has composed its configuration."""

    _begun: ClassVar[Sweep | None] = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Let the jobs tell how far they come; those that run side by side share the cores and the terminal."""
        try:
            record = new_record(str(config.hydra.sweep.dir))
        except OSError:
            return  # Hydra makes the same directory next, and says why it cannot
        launcher, choice = config.hydra.launcher, str(config.hydra.runtime.choices["hydra/launcher"])
        SweepStart._begun = Sweep(_count_jobs(config), record, prints_elsewhere=choice.startswith("submitit"))
        environment = {RECORD: str(record)}
        if choice != "basic":
            environment["TERM"] = "dumb"  # they cannot each move a terminal's cursor
        if choice == "joblib" and launcher.n_jobs == -1:
            # It divides the cores among them: each gets as many threads as it was told, or one.
            threads = OmegaConf.select(config, "trainer.threads") or OmegaConf.select(config, "threads") or 1
            launcher.n_jobs = max(1, available_cores() // threads)
        # submitit_local runs all jobs at once; Slurm need not bind a job to the cores that it gives it.
        cores = launcher.get("cpus_per_task") or (1 if choice == "submitit_local" else None)
        if cores and not {"OMP_NUM_THREADS"} & {*os.environ, *config.hydra.job.env_set}:
            environment["OMP_NUM_THREADS"] = str(cores)
        config.hydra.overrides.hydra += [
            f"++hydra.job.env_set.{name}={_quoted(value)}" for name, value in environment.items()
        ]

    @classmethod
    def take(cls) -> Sweep | None:
        """The sweep that this process has begun since it was last asked, if any."""
        begun, cls._begun = cls._begun, None
        return begun


def _count_jobs(config: DictConfig) -> int:
    """How many jobs a sweep has; 0 where its overrides are not such that can be told: Hydra says if they are wrong."""
    parser = OverridesParser.create(GlobalHydra.instance().config_loader())
    given = [f"{key}={values}" for key, values in (config.hydra.sweeper.get("params") or {}).items()]
    try:
        values = {  # of a key that is given twice the last
            override.get_key_element(): [*override.sweep_string_iterator()] if override.is_sweep_override() else [None]
            for override in parser.parse_overrides([*given, *config.hydra.overrides.task])
        }
    except HydraException:
        return 0
    return math.prod(map(len, values.values()))


def register() -> None:
    """Make schemas and resolvers known to Hydra, once in each process."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema, provider="dcgmm")
    OmegaConf.register_new_resolver("unique_name", unique_name, use_cache=False, replace=True)
    OmegaConf.register_new_resolver("find_run", _find_run, replace=True)
    OmegaConf.register_new_resolver("job_directory", _job_directory, use_cache=False, replace=True)


def _find_run(run: str, runs_dir: str, otherwise: str | None = None) -> str:
    """The run's directory; `otherwise`, if given, where there is none."""
    try:
        return str(find_run(run, runs_dir))
    except UserError:
        if otherwise is None:
            raise
        return otherwise


def _job_directory(home: str, *, _root_: DictConfig) -> str:
    """Where a sweep's job writes: a new directory in its home, or one that is found again, if the sweep has its own."""
    if Path(_root_.hydra.sweep.dir) == Path(_root_.runs_dir):
        return f"{home}/{unique_name()}"
    return job_name(_root_.hydra.overrides.task)


def prepare(command: str, arguments: list[str]) -> list[str]:
    """The arguments for Hydra: its flags, then overrides, which it wants together.

    A run that is resumed (`train run=...`) writes on in its own directory and leaves its `.hydra/` alone. Layers
    given in the command line are no longer the architecture that they replace, and are not named after it. A command
    that is given a directory with several models works on each, as a sweep.

    Raises:
        UserError: `run` names no run, or `train` several.
    """
    if command == "results":
        return _as_keys(arguments)
    flags, overrides = list[str](), list[str]()
    for before, word in zip(["", *arguments], arguments, strict=False):
        (flags if word.startswith("-") or before in FLAGS_WITH_VALUE else overrides).append(word)
    given = dict(word.split("=", 1) for word in overrides if "=" in word)
    sweeps = bool({"-m", "--multirun"} & set(flags))
    runs_dir = _unquoted(given.get("runs_dir", config.TrainConfig.runs_dir))
    if command == "train":
        run = _unquoted(given.get("run", "null"))
        if run != "null":
            if sweeps:
                raise UserError("train run=... goes on with one run: leave out -m")
            directory = _quoted(str(find_run(run, runs_dir)))
            others = [word for word in overrides if not word.startswith("run=")]
            overrides = [*others, f"run={directory}", f"hydra.run.dir={directory}", "hydra.output_subdir=null"]
        elif "arch.layers" in given and "arch.name" not in given:
            overrides.append(f"arch.name={config.ArchConfig.name}")
    elif issubclass(SCHEMAS[command], config.FollowUpConfig):
        models = _models(given.get("run", config.FollowUpConfig.run), runs_dir, sweeps)
        if "run" in given:
            overrides = [f"run={','.join(models)}" if word.startswith("run=") else word for word in overrides]
        elif len(models) > 1:
            overrides.append(f"run={','.join(models)}")
        if len(models) > 1 and not sweeps:
            flags.append("-m")
    return [*flags, *overrides]


def _models(given: str, runs_dir: str, sweeps: bool) -> list[str]:
    """Values of `run`, a model each, that a given one stands for; a sweep's keeps what is missing: its job fails alone.

    Raises:
        UserError: there is no such run, and no sweep.
    """
    if not sweeps:
        try:
            return [_quoted(str(model)) for model in find_models(_unquoted(given), runs_dir)]
        except UserError as error:
            raise UserError(f"{error}; several runs need -m" if "," in given else str(error)) from None
    values = list[str]()
    (override,) = OverridesParser.create().parse_overrides([f"run={given}"])
    for value in override.sweep_string_iterator() if override.is_sweep_override() else [given]:
        try:
            values += [_quoted(str(model)) for model in find_models(_unquoted(value), runs_dir)]
        except UserError:
            values.append(value)
    return values


def _as_keys(arguments: list[str]) -> list[str]:
    """Arguments of `results` with words as its `paths`, and what is no key of it as conditions in its `where`.

    Raises:
        UserError: it is to sweep.
    """
    if {"-m", "--multirun"} & set(arguments):
        raise UserError("dcgmm results makes one table: leave out -m; arch=1L,2L-c shows runs of either")
    keys = {*schema_keys(OmegaConf.structured(config.ResultsConfig)), "hydra"}
    kept: list[str] = []
    lists: dict[str, list[str]] = {"paths": [], "where": []}
    for before, word in zip(["", *arguments], arguments, strict=False):
        if word.startswith("-") or before in FLAGS_WITH_VALUE:
            kept.append(word)
        elif "=" not in word:
            lists["paths"].append(word)
        elif re.split(r"[./=]", word.lstrip("+~"))[0] in keys:
            kept.append(word)
        else:
            lists["where"].append(word)
    return [*kept, *(f"{key}=[{','.join(map(_quoted, words))}]" for key, words in lists.items() if words)]


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.single).with_quotes()


def _unquoted(text: str) -> str:
    """A value without the quotes that Hydra wants around what holds special characters."""
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text


def explain(error: Exception, command: str) -> str:
    """One line for a user out of an exception of Hydra or OmegaConf."""
    if isinstance(error, OverrideParseException):
        first = str(error).splitlines()[0]
        return (
            f"cannot read {error.override} ({first}); put a value with special characters in quotes of its own, inside "
            f"those for the shell: \"key='value'\", or \"key='one','other'\" in a sweep"
        )
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if group == "hydra/launcher" and choice in LAUNCHERS:
            return f"{group}={choice} is not installed: pip install 'dcgmm[sweep]', or leave it out"
        return f"{group}={choice} is unknown; choose {', '.join(error.options)}"
    if found := re.search(r"Ambiguous value for argument '([^=']+)=(.*)'", str(error)):
        key, values = found.groups()
        sweep = "" if command == "results" else "add -m for a sweep, or "
        return f"{key}={values} gives several values: {sweep}write {key}=[{values}] for a list"
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    first = next(iter(str(cause).splitlines()), type(cause).__name__)
    key = cause.full_key if isinstance(cause, OmegaConfBaseException) else None
    if key is None:
        return first
    if isinstance(cause, ConfigAttributeError | ConfigKeyError):
        return _unknown_key(key, command)
    if isinstance(cause, MissingMandatoryValue):
        return f"{key} is needed: give {key}=..."
    return f"{key}: {first}"


def check_keys(given: DictConfig, command: str) -> None:
    """Hydra lets `+key=value` add what no schema knows.

    Raises:
        UserError: a configuration has a key that its command does not read.
    """
    known = set(schema_keys(OmegaConf.structured(SCHEMAS[command])))
    for key in schema_keys(given):
        if key not in known:
            raise UserError(_unknown_key(key, command))


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
