"""The side of the sandbox that programs are on: standard library only, and nothing of reasonrl beyond this package.

The fork server loads it without `reasonrl/__init__.py`, with the packages above it as bare names.
"""
