"""What models are trained with, so that a study does not mix those of different defaults."""

from collections.abc import Iterable
from typing import Any

from omegaconf import OmegaConf

from dcgmm_cli.config import GMMConfig, TrainerConfig
from dcgmm_cli.errors import UserError
from dcgmm_cli.runs import INCIDENTAL, META, flat, read_json
from experiments.paper.plan import CONFIG_DIR, Job, Study

_IN_GROUPS = {"trainer.replicas"}  # several models trained at once come out as each alone


def require_same_settings(study: Study, jobs: Iterable[Job]) -> None:
    """Check that models that are there, whole or begun, were trained as they would be now.

    Raises:
        UserError: one was not.
    """
    for job in jobs:
        if job.arguments[0] != "train":
            continue
        names = (job.name.split("/")[1], *study.scale.experiments)
        now = _settings(*(OmegaConf.load(CONFIG_DIR / "experiment" / f"{name}.yaml") for name in names))
        for directory in job.results:
            meta = directory / META
            before = flat(read_json(meta)["config"]) if meta.is_file() else {}
            for key, value in now.items():
                if key in before and before[key] != value:
                    raise UserError(
                        f"{directory} was trained with {key}={before[key]}, which is {value} now: "
                        "give another --root, or remove the directory"
                    )


def _settings(*experiments: Any) -> dict[str, Any]:
    """Settings of the model and of its training, by their dotted keys: the defaults with experiments on top."""
    defaults = OmegaConf.create(
        {"gmm": OmegaConf.structured(GMMConfig), "trainer": OmegaConf.structured(TrainerConfig)}
    )
    for experiment in experiments:
        defaults.merge_with({"trainer": experiment.get("trainer", {})})
    content = OmegaConf.to_container(defaults)
    assert isinstance(content, dict)
    kept = {str(key): value for key, value in content.items()}
    return {key: value for key, value in flat(kept).items() if key not in INCIDENTAL | _IN_GROUPS}
