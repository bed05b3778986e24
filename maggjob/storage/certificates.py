"""The certificates that connections are checked with: one rule for the search, the login, and all reads and writes.

Of the variables below, the first that is set counts; the libraries that maggjob uses obey different ones of them.
"""

import os
from pathlib import Path

from maggjob.errors import InputError

VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
"""Variables that name a file of certificates: the first is obeyed by requests and boto3, the last by obstore."""


def use_certificates() -> str | None:
    """Make all libraries use the certificates that the environment names.

    Returns
    -------
    str or None
        Path of the certificates; None for those of the system.

    Raises
    ------
    InputError
        If the variable that counts names no file.
    """
    name = next((name for name in VARIABLES if os.environ.get(name)), None)
    if name is None:
        return None
    path = os.environ[name]
    # requests takes a folder of certificates as well, which obstore would not find.
    if not Path(path).is_file():
        raise InputError(f"{name} is {path!r}, but there is no such file of certificates; correct it, or unset it")
    os.environ[VARIABLES[0]] = os.environ[VARIABLES[-1]] = path
    return path
