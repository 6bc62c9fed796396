"""What Hydra needs of us: configurations and resolvers registered, the command line read by its own parser."""

import os
import re
from argparse import ArgumentParser, Namespace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NoReturn

from hydra import version
from hydra._internal import config_loader_impl
from hydra._internal.utils import _run_hydra, get_args_parser
from hydra.conf import ConfigSourceInfo
from hydra.core import utils
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from hydra.types import TaskFunction
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dcgmm.errors import InputError, OptionError
from dcgmm.model.options import NAME
from dcgmm.options import PATH
from dcgmm_cli.explain import WITHOUT_SWEEPS, closest, cut_by_the_shell, see_help
from dcgmm_cli.keys import keys
from dcgmm_cli.overrides import escaped
from dcgmm_cli.own_files import check_own_files
from dcgmm_cli.runs import META, find_run, trained_models, unique_name
from dcgmm_cli.schema import SCHEMAS, FollowUpConfig
from dcgmm_cli.schema_in_place import ResultsConfig
from dcgmm_cli.schema_train import TrainConfig
from dcgmm_cli.sweeps import check_counts, job_name

# Of key=value; the other commands have run=latest.
LAYERS_EXAMPLE = "'arch.layers=[{type:folding,kernel:[28,28]},{type:gmm,components:25}]'"
EXAMPLES = {"train": "arch=2L-c", "compare": "run=A run=B", "data": "fetch=[mnist]", "results": "status=finished"}


def register() -> None:
    """Make configurations and resolvers known to Hydra, once in each process."""
    store = ConfigStore.instance()
    for name, schema in SCHEMAS.items():
        store.store(name=f"{name}_schema", node=schema, provider="dcgmm")
        if name != "train":  # which has a file of its own, conf/train.yaml
            store.store(name=name, node=_primary(name), provider="dcgmm")
    OmegaConf.register_new_resolver("unique_name", unique_name, use_cache=False, replace=True)
    OmegaConf.register_new_resolver("home", home, replace=True)
    OmegaConf.register_new_resolver("find_run", _find_run, replace=True)
    OmegaConf.register_new_resolver("job_directory", _job_directory, use_cache=False, replace=True)
    _keep_paths()


def _keep_paths() -> None:
    """Let `${` in paths that Hydra puts into its configuration be part of them, as in that of the working directory."""

    def source(path: str, **others: str) -> ConfigSourceInfo:
        return ConfigSourceInfo(path=escaped(path), **others)

    known = vars(os), vars(os.path)
    of_loader = SimpleNamespace(**{**known[0], "getcwd": lambda: escaped(os.getcwd())})
    of_jobs = SimpleNamespace(**{**known[1], "abspath": lambda path: escaped(os.path.abspath(path))})
    vars(config_loader_impl).update(os=of_loader, ConfigSourceInfo=source)
    vars(utils).update(os=SimpleNamespace(**{**known[0], "path": of_jobs}))


def name_runs(name: str) -> None:
    """Let the run that is begun next have this name, as it has in all processes that work on it."""
    OmegaConf.register_new_resolver("unique_name", lambda: name, use_cache=False, replace=True)


def _primary(command: str) -> dict[str, Any]:
    """The configuration that a command begins with: its schema, and the file that it shares with others of its kind."""
    if issubclass(SCHEMAS[command], FollowUpConfig):
        shared: list[Any] = ["follow_up"]
    else:
        shared = ["in_place", {"override hydra/job_logging": "stdout"}]
    return {"defaults": [f"{command}_schema", *shared, "_self_"], "hydra": {"job": {"name": command}}}


def home(arch: str, dataset: str) -> str:
    """Where runs of an architecture and a data set lie; a name is checked before it is part of a path."""
    for key, name in (("arch.name", arch), ("dataset.name", dataset)):
        if not NAME.holds(name):
            raise OptionError(key, NAME.text, name)
    return f"{arch}-{dataset}"


def _find_run(run: str, runs_dir: str, otherwise: str | None = None) -> str:
    """The run's directory; `otherwise`, if given, where there is none."""
    try:
        return str(find_run(run, runs_dir))
    except InputError:
        if otherwise is None:
            raise
        return otherwise


def _job_directory(home: str, *, _root_: DictConfig) -> str:
    """Where a sweep's job writes: a new directory in its home, or one that is found again, if the sweep has its own."""
    if Path(_root_.hydra.sweep.dir) == Path(_root_.runs_dir):
        return f"{home}/{unique_name()}"
    return job_name(_root_.hydra.overrides.task)


def run_hydra(asked: Namespace, command: str, conf: Path, task: TaskFunction) -> None:
    """Let Hydra do what it was asked for: run a task, sweep, or only show something."""
    version.setbase("1.3")
    parser = get_args_parser()
    _run_hydra(args=asked, args_parser=parser, task_function=task, config_path=str(conf), config_name=command)


def prepare(command: str, arguments: list[str]) -> Namespace:
    """What a command line asks of Hydra.

    A run that is resumed (`train run=...`) writes on in its own directory and leaves its `.hydra/` alone. Layers
    given in the command line are no longer the architecture that they replace, and are not named after it. A command
    that is given a directory with several models works on each, as a sweep. What only shows something needs no run.

    Raises:
        InputError: a word is no flag and no key=value, `run` names no run, or `train` several.
    """
    asked = _parse(command, arguments)
    if asked.multirun and command in WITHOUT_SWEEPS:
        raise InputError(f"dcgmm {command} takes no -m: {WITHOUT_SWEEPS[command]}")
    shows = asked.cfg or asked.hydra_help or asked.info or asked.shell_completion
    if asked.shell_completion:
        return asked
    if command == "results":
        asked.overrides = _as_keys(asked.overrides)
        return asked
    for word in asked.overrides:
        if word.startswith("=") or ("=" not in word and not word.startswith("~")):
            if re.search(r"[\[\]{}]", word):
                raise InputError(cut_by_the_shell(word, LAYERS_EXAMPLE))
            example = EXAMPLES.get(command, f"run={FollowUpConfig.run}")
            raise InputError(f"cannot read {word!r}: give key=value, as in {example}; {see_help(command)}")
    asked.overrides = [_with_path_as_it_is(word) for word in asked.overrides]
    given = dict(word.split("=", 1) for word in asked.overrides if "=" in word)
    for key in ("runs_dir", "hydra.run.dir", "hydra.sweep.dir"):
        if not _unquoted(given.get(key, "runs")):  # directories are made before the configuration is checked
            raise OptionError(key, PATH.text, "")
    if (Path(_unquoted(given.get("hydra.run.dir", ""))) / META).is_file():
        asked.overrides.append("hydra.output_subdir=null")  # of the run that is there; whether this is it is seen later
    check_counts(given)
    if command == "train":
        _prepare_training(asked, given, shows)
    elif command == "compare":
        asked.overrides = _together(asked.overrides)
    elif issubclass(SCHEMAS[command], FollowUpConfig) and not shows:
        _prepare_follow_up(asked, given)
    return asked


def _parse(command: str, arguments: list[str]) -> Namespace:
    """Hydra's reading of a command line.

    Raises:
        InputError: it knows no such flag, or not with that value.
    """

    def refuse(message: str) -> NoReturn:
        raise InputError(f"{message}; `dcgmm {command} --hydra-help` explains the flags")

    parser: ArgumentParser = get_args_parser()
    parser.error = refuse  # type: ignore[method-assign]  # it would print its usage and exit
    asked, unknown = parser.parse_known_intermixed_args(arguments)
    for word in unknown:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").replace("-", "_").partition("=")
            close = closest(name, command)
            example = f"{close}={value if equals else '...'}" if close else EXAMPLES.get(command, "run=latest")
            raise InputError(f"unknown option {word}: give key=value, as in {example}; {see_help(command)}")
    if asked.experimental_rerun is not None:
        refuse("--experimental-rerun is not for dcgmm, which goes on with a run by run=...")
    if asked.config_path is not None or asked.config_name is not None:
        refuse("--config-path and --config-name are not for dcgmm: --config-dir adds files of your own to its own")
    if any(word.lstrip("+~").startswith("hydra.searchpath") for word in asked.overrides):
        raise InputError("hydra.searchpath is not for dcgmm: --config-dir adds files of your own to its own")
    if asked.config_dir is not None:
        check_own_files(asked.config_dir, command, asked.overrides)
    return asked


def _prepare_training(asked: Namespace, given: dict[str, str], shows: bool) -> None:
    if given.get("hydra/sweeper") == "optuna" and "sweep.objective" not in given and not shows:
        raise InputError("hydra/sweeper=optuna searches by sweep.objective: give one, and dataset.holdout=0.1")
    run = _unquoted(given.get("run", "null"))
    if run != "null" and not shows:
        if asked.multirun:
            raise InputError("train run=... goes on with one run: leave out -m")
        directory = quoted(str(find_run(run, runs_dir_of(given))))
        others = [word for word in asked.overrides if not word.startswith("run=")]
        own = [f"run={directory}", f"hydra.run.dir={directory}", "hydra.output_subdir=null"]
        asked.overrides = [*others, *own]
    elif "arch.layers" in given:
        # An unquoted [{type:gmm,components:25}] becomes two words, each without its braces.
        if re.match(r"\[\s*\w+:", given["arch.layers"]):
            raise InputError(cut_by_the_shell(f"arch.layers={given['arch.layers']}", LAYERS_EXAMPLE))
        # With its layers goes what else the architecture says; the default one has no more than a name.
        replaced = [key for key in keys(TrainConfig) if key.name.startswith("arch.") and key.name not in given]
        asked.overrides += [
            f"{key.name}={'null' if key.default is None else key.default}"
            for key in replaced
            if key.name == "arch.name" or "arch" in given
        ]


def _prepare_follow_up(asked: Namespace, given: dict[str, str]) -> None:
    models = _models(given.get("run", FollowUpConfig.run), runs_dir_of(given), asked.multirun)
    if "run" in given:
        asked.overrides = [f"run={','.join(models)}" if word.startswith("run=") else word for word in asked.overrides]
    elif len(models) > 1:
        asked.overrides.append(f"run={','.join(models)}")
    if len(models) > 1:
        asked.multirun = True


def runs_dir_of(given: dict[str, str]) -> str:
    """Where run directories are, by the keys that were given."""
    return _unquoted(given.get("runs_dir", TrainConfig.runs_dir))


def _models(given: str, runs_dir: str, sweeps: bool) -> list[str]:
    """Values of `run`, a model each, that a given one stands for; a sweep's keeps what is missing: its job fails alone.

    Raises:
        InputError: there is no such run, and no sweep.
    """
    if not sweeps:
        try:
            return [quoted(str(model)) for model in trained_models(_unquoted(given), runs_dir, several=False)]
        except InputError as error:
            raise InputError(f"{error}; several runs need -m" if "," in given else str(error)) from None
    if os.path.exists(_unquoted(given)):  # a path as a shell completes it, without quotes of its own
        return [quoted(str(model)) for model in trained_models(_unquoted(given), runs_dir)]
    values = list[str]()
    (override,) = OverridesParser.create().parse_overrides([f"run={given}"])
    for value in override.sweep_string_iterator() if override.is_sweep_override() else [given]:
        try:
            values += [quoted(str(model)) for model in trained_models(_unquoted(value), runs_dir)]
        except InputError:
            values.append(value)
    return values


def _as_keys(overrides: list[str]) -> list[str]:
    """Overrides of `results` with words as its `paths`, and what is no key of it as conditions in its `where`."""
    known = {*(key.name for key in keys(ResultsConfig)), "hydra"}
    kept: list[str] = []
    lists: dict[str, list[str]] = {"paths": [], "where": []}
    for word in overrides:
        if "=" not in word:
            lists["paths"].append(word)
        elif re.split(r"[./=]", word.lstrip("+~"))[0] in known:
            kept.append(word)
        else:
            lists["where"].append(word)
    return [*kept, *(f"{key}=[{','.join(map(quoted, words))}]" for key, words in lists.items() if words)]


def _together(overrides: list[str]) -> list[str]:
    """Overrides of `compare` with every `run=` in one list: each may hold a run, or several."""
    runs: list[str] = []
    for word in (word for word in overrides if word.startswith("run=")):
        (override,) = OverridesParser.create().parse_overrides([word])
        if override.is_sweep_override():
            runs += map(_unquoted, override.sweep_string_iterator())
        else:
            value = override.value()
            runs += map(str, value) if isinstance(value, list) else [_unquoted(word.removeprefix("run="))]
    others = [word for word in overrides if not word.startswith("run=")]
    return [*others, f"run=[{','.join(map(quoted, runs))}]"] if runs else others


def quoted(text: str) -> str:
    """A value that Hydra takes as it is."""
    return QuotedString(escaped(text), Quote.single).with_quotes()


def _unquoted(text: str) -> str:
    """A value without the quotes that Hydra wants around what holds special characters, as Hydra reads them."""
    if text[:1] not in ("'", '"'):
        return text
    try:
        value = OmegaConf.create({"key": OverridesParser.create().parse_override(f"key={text}").value()}).key
    except (HydraException, OmegaConfBaseException):  # Hydra says what is wrong with it when it comes to it
        return text
    return value if isinstance(value, str) else text


def _with_path_as_it_is(word: str) -> str:
    """A word whose value is a path with `${` in it, in quotes or not, so that Hydra resolves nothing there."""
    key, _, value = word.partition("=")
    inner = re.sub(
        r"^(['\"])(.*)\1$", lambda found: found[2].replace(f"\\{found[1]}", found[1]), value, flags=re.DOTALL
    )
    path = next((each for each in (value, inner) if "${" in each and os.path.exists(each)), None)
    return word if path is None else f"{key}={quoted(path)}"
