"""A file on a disk that may be full, for libraries that crash on one."""

import io
from typing import Any, BinaryIO


class DiskFile(io.RawIOBase):
    """A file for HDF5, which crashes when it closes a file that it cannot write.

    After a first error it takes whatever is written, and keeps nothing; the error is raised when it is closed.

    Parameters
    ----------
    file : file object
        Open for reading and writing, in binary.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._problem: OSError | None = None

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; with zeros where the file has ended."""
        found = self._file.read(len(buffer))
        buffer[: len(found)] = found
        buffer[len(found) :] = bytes(len(buffer) - len(found))
        return len(buffer)

    def write(self, content: Any) -> int:
        """Write, or note why that failed."""
        if self._problem is None:
            try:
                self._file.write(content)
            except OSError as problem:
                self._problem = problem
        return memoryview(content).nbytes

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a position.

        Parameters
        ----------
        offset, whence : int
            As for any file.
        """
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        """Return the position."""
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        """Set the size, or note why that failed."""
        if self._problem is None:
            try:
                return self._file.truncate(size)
            except OSError as problem:
                self._problem = problem
        return self._file.tell() if size is None else size

    def flush(self) -> None:
        """Write what is buffered, or note why that failed."""
        if self._problem is None:
            try:
                self._file.flush()
            except OSError as problem:
                self._problem = problem

    def close(self) -> None:
        """Raise the first error, if there was one."""
        self.flush()
        super().close()
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem
