"""The options of each command, and its help: a file a command, whose `parse(argv)` imports nothing heavy. So help and
most slips are told before torch is loaded.
"""
