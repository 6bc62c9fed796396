"""`dcgmm export`: a trained model in a file that other programs read."""

from dcgmm.exporting import save_arrays, save_onnx
from dcgmm_cli.job import Job
from dcgmm_cli.schema import ExportConfig, ExportFormat
from dcgmm_cli.trained import open_run


def run(config: ExportConfig, job: Job) -> None:
    """Write the run's model into the job's directory.

    Raises:
        InputError: there is no such run, its training has not ended, or a package for the format is not installed.
    """
    opened = open_run(config, job)
    model, detector = opened.model.cpu(), opened.run.detector()
    path = job.directory / f"model.{config.format}"
    if config.format is ExportFormat.onnx:
        save_onnx(detector, path, config.score, config.c, config.pixels)
    else:
        save_arrays(model, path, detector)
    job.result.update(file=path.name, bytes=path.stat().st_size)
