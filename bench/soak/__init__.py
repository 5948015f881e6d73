"""The soak: clients of every kind against one tusserver for a long time, see `python -m bench.soak
--help`.

Its question is whether memory, descriptors or threads grow, and whether every byte is right.
"""
