"""What can go wrong, and the exit code that says so.

FacemeanError                  1  the run failed
├── UsageError                 2  nothing was written
│   ├── SettingsError             an argument is wrong
│   ├── InputError                an input is missing, unreadable, or holds no photo
│   └── NoExecutorError           a cluster gave the run nothing to work with
├── PreflightError             1  Java, a model or a library is missing or broken
│   └── ModelError                a model file is missing, damaged, or gives other values than dlib
├── OutputError                1  the output cannot be read or written
├── InvariantError             1  a photo without its one row: the figures would be wrong
└── NoFaceError                1  there is no mean of nothing

PhotoError is apart: it never ends a run. It becomes the status and the message of one photo's row.
"""

import re

LOGIN = re.compile(r"(?<=://)[^/@\s:]*:[^/@\s]*@")
SIGNATURE = re.compile(r"(?i)([?&](?:x-amz-[\w-]+|sig|signature|token)=)[^&\s'\"]+")


def without_secrets(text: str) -> str:
    """Text as it may be shown: URLs without user:password@, and without what signs them."""
    return SIGNATURE.sub(r"\1***", LOGIN.sub("***@", text))


class FacemeanError(Exception):
    """Root of the errors an operator sees; the message names the cause and the remedy."""

    exit_code = 1

    def __init__(self, message: str) -> None:
        super().__init__(without_secrets(message))


class UsageError(FacemeanError):
    """A wrong argument or input, found before anything is written."""

    exit_code = 2


class SettingsError(UsageError):
    """An argument is wrong."""


class InputError(UsageError):
    """An input does not exist, cannot be read, or holds no photo."""


class NoExecutorError(UsageError):
    """No executor came before the run's deadline, so nothing was written."""


class PreflightError(FacemeanError):
    """The machine lacks something that the run needs."""


class ModelError(PreflightError):
    """A model file is missing, damaged, or does not give the values it should."""


class OutputError(FacemeanError):
    """The output cannot be read or written."""


class InvariantError(FacemeanError):
    """A listed photo has no row, or more than one."""


class NoFaceError(FacemeanError):
    """No photo of the run shows a face."""


class PhotoError(Exception):
    """Why one photo has no face: a status of its row and a sentence for a person."""

    def __init__(self, status: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
