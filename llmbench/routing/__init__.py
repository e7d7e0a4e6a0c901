"""The serving half: which candidates take a call, with which parameters, under which policy."""
