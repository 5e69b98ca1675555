"""What commands show of runs, recipes, data and this machine."""
