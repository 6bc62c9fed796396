"""`python -m dcgmm_cli` is `dcgmm`."""

from dcgmm_cli.main import main

main()
