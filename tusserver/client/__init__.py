"""The uploader of the command line: tuspy, made fit for large files, many files and bad networks.

It knows servers by their URLs only, and works with any tus server. Nothing here is imported before
it is needed: tuspy comes with the extra `tusserver[client]`.
"""
