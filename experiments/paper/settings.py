"""What models are trained with, so that a study does not mix those of different defaults."""

from collections.abc import Iterable
from typing import Any

import yaml

from dcgmm.errors import InputError
from dcgmm.files import read_json
from dcgmm.model.options import GMMOptions
from dcgmm.options import plain
from dcgmm_cli.keys import flat
from dcgmm_cli.runs import META
from dcgmm_cli.schema import marked
from dcgmm_cli.schema_train import TrainerConfig
from experiments.paper.plan import CONFIG_DIR, Job, Study

_IN_GROUPS = {"trainer.replicas"}  # several models trained at once come out as each alone


def require_same_settings(study: Study, jobs: Iterable[Job]) -> None:
    """Check that models that are there, whole or begun, were trained as they would be now.

    Raises:
        InputError: one was not.
    """
    for job in jobs:
        if job.arguments[0] != "train":
            continue
        now = _settings(job.name.split("/")[1], *study.scale.experiments)
        for directory in job.results:
            meta = directory / META
            before = flat(read_json(meta)["config"]) if meta.is_file() else {}
            for key, value in now.items():
                if key in before and before[key] != value:
                    raise InputError(
                        f"{directory} was trained with {key}={before[key]}, which is {value} now: "
                        "give another --root, or remove the directory"
                    )


def _settings(*experiments: str) -> dict[str, Any]:
    """Settings of the model and of its training, by their dotted keys: the defaults with experiments on top."""
    settings = flat({"gmm": plain(GMMOptions()), "trainer": plain(TrainerConfig())})
    for name in experiments:
        content = yaml.safe_load((CONFIG_DIR / "experiment" / f"{name}.yaml").read_text())
        settings |= flat({"trainer": content.get("trainer", {})})
    return {key: value for key, value in settings.items() if key not in marked("incidental") | _IN_GROUPS}
