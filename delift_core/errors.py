"""The one family of errors that a user of DELIFT Studio can meet.

A message is one line that says what is wrong, where (file, line, field), and what to do. Pages and the command
line catch `DeliftError` and show the message; anything else is a defect and may show a traceback.
"""


class DeliftError(Exception):
    """Something the user can understand and mend; the message says how."""


class DataError(DeliftError):
    """A file, a hub data set or a record cannot be used."""


class ModelError(DeliftError):
    """A language model cannot be found, loaded or used for scoring."""


class ScoringError(DeliftError):
    """A scoring run cannot start, or stopped before it was complete."""


class SelectionError(DeliftError):
    """A selection cannot be made from these utilities with these settings."""


class WorkspaceError(DeliftError):
    """The workspace cannot be opened, read or written."""


class ExportError(DeliftError):
    """A subset cannot be written, or a written one does not match its manifest."""


class NotAllowed(DeliftError):
    """The role of whoever asks does not reach; the message says which would."""


class AccessError(DeliftError):
    """What says who may come in cannot be read or understood."""
