"""Summaries of runs, recipes, data sets and this machine, as commands show them."""
