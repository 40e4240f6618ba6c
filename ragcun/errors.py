"""The one exception for what a user can mend: its message names the cause and the remedy.

Stages print it without a traceback and exit 1; anything else is a defect of ragcun and keeps its traceback.
"""


class RagcunError(Exception):
    """Something outside the code is wrong: params, data, network, machine."""


class LostProcessError(RagcunError):
    """Another process of this run has gone: its failure is the cause, not this one."""
