"""Pictures: functions from tensors and measurements to figures and image files, one module a command."""
