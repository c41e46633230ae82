"""The process that runs programs: a zygote and its children.

Loaded on its own (``sys.path`` holds the folder above and nothing of the package is imported with
it), so that neither the judge nor an expected output is ever in a process that a program can reach.
"""
