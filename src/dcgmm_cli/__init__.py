"""The command line of dcgmm: commands, configuration, run directories, tables, figures."""
