"""An object server on 127.0.0.1 in its own process: GET with ranges, a latency, and a limit on the bandwidth.

python -m benchmarks.object_server FOLDER LATENCY_SECONDS BYTES_PER_SECOND

It prints its port. Each connection serves one request at a time, after the latency. The bandwidth is that of one
connection, as with an object store.
"""

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PIECE = 1 << 18


async def answer(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, folder: Path, latency: float, bandwidth: float
) -> None:
    """Serve one connection until it is closed, with a latency in seconds and a bandwidth in bytes per second."""
    with suppress(asyncio.IncompleteReadError, ConnectionError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = folder / head.split(" ", 2)[1].lstrip("/")
            await asyncio.sleep(latency)
            if not path.is_file():
                writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
                continue
            size = path.stat().st_size
            match = re.search(r"(?i)^range: bytes=(\d+)-(\d+)", head, re.MULTILINE)
            first, last = (int(match[1]), min(int(match[2]), size - 1)) if match else (0, size - 1)
            status = f"206 Partial Content\r\nContent-Range: bytes {first}-{last}/{size}" if match else "200 OK"
            etag = f'"{path.stat().st_mtime_ns:x}-{size:x}"'
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {last - first + 1}\r\nETag: {etag}\r\n\r\n".encode())
            with path.open("rb") as file:
                file.seek(first)
                left = last - first + 1
                while left > 0:
                    piece = file.read(min(PIECE, left))
                    left -= len(piece)
                    writer.write(piece)
                    await writer.drain()
                    if bandwidth:
                        await asyncio.sleep(len(piece) / bandwidth)
    writer.close()


async def serve(folder: Path, latency: float, bandwidth: float) -> None:
    """Listen on a free port forever."""
    listening = await asyncio.start_server(
        lambda r, w: answer(r, w, folder, latency, bandwidth), "127.0.0.1", 0, backlog=512
    )
    print(listening.sockets[0].getsockname()[1], flush=True)
    async with listening:
        await listening.serve_forever()


@contextmanager
def server(folder: Path, latency: float = 0.0, bandwidth: float = 0.0) -> Iterator[str]:
    """Run a server in its own process for the duration of the block; yield its URL.

    Parameters
    ----------
    folder : Path
        Folder of the objects.
    latency : float
        Seconds per request.
    bandwidth : float
        Bytes per second and connection; 0 for no limit.
    """
    command = [sys.executable, "-m", "benchmarks.object_server", str(folder), str(latency), str(bandwidth)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if process.stdout is None:
            raise OSError("the server has no output")
        yield f"http://127.0.0.1:{int(process.stdout.readline())}"
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
