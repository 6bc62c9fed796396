"""What Hydra needs of us: schemas and resolvers registered, its error messages in one line."""

import difflib
import math
import os
import re
from argparse import Namespace
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.experimental.callback import Callback
from omegaconf import AnyNode, DictConfig, ListConfig, OmegaConf
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
GROUPS = {"train": ("arch", "dataset")}  # the commands' config groups, which take a choice as a key takes a value
WITHOUT_SWEEPS = {
    "data": "fetch=[mnist,svhn] fetches several data sets",
    "results": "it makes one table; arch=1L,2L-c shows runs of either",
}
# Of key=value; the other commands have run=latest.
EXAMPLES = {"train": "arch=2L-c", "data": "fetch=[mnist]", "results": "status=finished"}

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
        _take_plus_off_unknown_keys(config)
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


def _take_plus_off_unknown_keys(config: DictConfig) -> None:
    """Leave no `+key=value` with a key that the command does not know: without its plus Hydra refuses it at once."""
    loader = GlobalHydra.instance().config_loader()
    known = _given_names(config.hydra.job.name)
    try:
        overrides = OverridesParser.create(loader).parse_overrides(config.hydra.overrides.task)
    except HydraException:
        return  # Hydra parses them next, and says what is wrong
    config.hydra.overrides.task = [
        word.lstrip("+") if key not in known and not loader.get_group_options(key) else word
        for word, key in ((str(override.input_line), override.key_or_group) for override in overrides)
    ]


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
    that is given a directory with several models works on each, as a sweep. What only shows something, such as a
    shell's completions, needs no run.

    Raises:
        UserError: a word is no flag and no key=value, `run` names no run, or `train` several.
    """
    flags, overrides = list[str](), list[str]()
    for before, word in zip(["", *arguments], arguments, strict=False):
        (flags if word.startswith("-") or before in FLAGS_WITH_VALUE else overrides).append(word)
    asked = _parse_flags(command, flags)
    if asked.multirun and command in WITHOUT_SWEEPS:
        raise UserError(f"dcgmm {command} takes no -m: {WITHOUT_SWEEPS[command]}")
    if command == "results":
        return [*flags, *_as_keys(overrides)]
    for word in overrides:
        if "=" not in word and not word.startswith("~"):
            example = EXAMPLES.get(command, f"run={config.FollowUpConfig.run}")
            raise UserError(f"cannot read {word!r}: give key=value, as in {example}; {_help(command)}")
    given = dict(word.split("=", 1) for word in overrides if "=" in word)
    runs_dir = _unquoted(given.get("runs_dir", config.TrainConfig.runs_dir))
    shows = asked.cfg or asked.hydra_help or asked.info or asked.shell_completion
    if command == "train":
        run = _unquoted(given.get("run", "null"))
        if run != "null" and not shows:
            if asked.multirun:
                raise UserError("train run=... goes on with one run: leave out -m")
            directory = _quoted(str(find_run(run, runs_dir)))
            others = [word for word in overrides if not word.startswith("run=")]
            overrides = [*others, f"run={directory}", f"hydra.run.dir={directory}", "hydra.output_subdir=null"]
        elif "arch.layers" in given and "arch.name" not in given:
            overrides.append(f"arch.name={config.ArchConfig.name}")
    elif issubclass(SCHEMAS[command], config.FollowUpConfig) and not shows:
        models = _models(given.get("run", config.FollowUpConfig.run), runs_dir, asked.multirun)
        if "run" in given:
            overrides = [f"run={','.join(models)}" if word.startswith("run=") else word for word in overrides]
        elif len(models) > 1:
            overrides.append(f"run={','.join(models)}")
        if len(models) > 1 and not asked.multirun:
            flags.append("-m")
    return [*flags, *overrides]


def _parse_flags(command: str, flags: list[str]) -> Namespace:
    """Hydra's reading of its flags.

    Raises:
        UserError: it knows no such flag, or not with that value.
    """

    def refuse(message: str) -> NoReturn:
        raise UserError(f"{message}; `dcgmm {command} --hydra-help` explains the flags")

    parser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # it would print its usage and exit
    asked, unknown = parser.parse_known_args(flags)
    for word in unknown:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").replace("-", "_").partition("=")
            close = _closest(name, command)
            example = f"{close[0]}={value if equals else '...'}" if close else EXAMPLES.get(command, "run=latest")
            raise UserError(f"unknown option {word}: give key=value, as in {example}; {_help(command)}")
    return asked


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


def _as_keys(overrides: list[str]) -> list[str]:
    """Overrides of `results` with words as its `paths`, and what is no key of it as conditions in its `where`."""
    keys = {*schema_keys(OmegaConf.structured(config.ResultsConfig)), "hydra"}
    kept: list[str] = []
    lists: dict[str, list[str]] = {"paths": [], "where": []}
    for word in overrides:
        if "=" not in word:
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
        advice = [] if command in WITHOUT_SWEEPS else ["add -m for a sweep"]
        if _takes_list(key, command):
            advice.append(f"write {key}=[{values}] for a list")
        return f"{key}={values} gives several values: {', or '.join(advice) or 'it takes one'}"
    if found := re.search(r"Could not override '([^']+)'", str(error)):
        return _unknown_key(found[1], command)
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
    close = _closest(key, command)
    hint = f"did you mean {close[0]}? " if close else ""
    return f"unknown key {key}: {hint}{_help(command)}"


def _help(command: str) -> str:
    return f"`dcgmm {command} --help` lists the keys"


def _given_names(command: str) -> list[str]:
    """All that can stand before the `=` of a command's overrides."""
    return [*schema_keys(OmegaConf.structured(SCHEMAS[command])), *GROUPS.get(command, ())]


def _closest(given: str, command: str) -> list[str]:
    """The key that a name is most like, whole or in its last part; empty if there is none."""
    names = _given_names(command)
    whole = {name.rpartition(".")[2]: name for name in reversed(names)} | {name: name for name in names}
    return [whole[close] for close in difflib.get_close_matches(given, whole, 1)]


def _takes_list(key: str, command: str) -> bool:
    parent, _, name = key.rpartition(".")
    schema = OmegaConf.structured(SCHEMAS[command])
    node = OmegaConf.select(schema, parent) if parent else schema
    return isinstance(node, DictConfig) and isinstance(node._get_node(name), AnyNode | ListConfig)


def schema_keys(node: DictConfig, prefix: str = "") -> list[str]:
    """All keys of a schema, nested ones with their dots."""
    keys: list[str] = []
    for name in map(str, node):
        child = None if OmegaConf.is_missing(node, name) else node._get_node(name)
        keys += schema_keys(child, f"{prefix}{name}.") if isinstance(child, DictConfig) else [prefix + name]
    return keys
