"""The side of the sandbox that programs are on: standard library only, and nothing of reasonrl beyond this package.

The fork server loads it without `reasonrl_sandbox/__init__.py`. That is also why it repeats a few lines that
`reasonrl.system` has, such as the constants of prctl.
"""
