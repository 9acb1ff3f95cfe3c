"""The errors that a user of DELIFT Studio can see.

A message is one line: what is wrong, where (file, line, field), and what to do. Pages and the command line catch
`DeliftError` and show the message; any other exception is a defect and may show a traceback.
"""


class DeliftError(Exception):
    """A failure that the user can understand and fix; the message says how."""


class DataError(DeliftError):
    """A file, a hub data set or a record cannot be used."""


class SourceChanged(DataError):
    """A source that is read again has other rows than before."""


class ModelError(DeliftError):
    """A language model cannot be found, loaded or used for scoring."""


class ScoringError(DeliftError):
    """A scoring run cannot start, or stopped before it was complete."""


class Stopped(ScoringError):
    """The work was asked to stop before it was complete; the message says what is kept."""


class SelectionError(DeliftError):
    """A selection cannot be made from these utilities with these settings."""


class WorkspaceError(DeliftError):
    """The workspace cannot be opened, read or written."""


class ExportError(DeliftError):
    """A subset cannot be written, or a written one does not match its manifest."""


class NotAllowed(DeliftError):
    """The visitor's role does not allow the operation; the message says which role would."""


class AccessError(DeliftError):
    """The list of who may use the server cannot be read."""
