"""Files that the page sends in pieces, as a message has a limit, put together again."""

from typing import Any

from .bounds import PIECE
from .messages import PieceAsked


class Uploads:
    """The one file that is under way; another one takes its place."""

    def __init__(self) -> None:
        """Begin with none."""
        self._pieces: list[bytes] = []

    def take(self, asked: PieceAsked, buffers: list[Any]) -> bytes | None:
        """The file's content with its last piece, None before; ValueError for a piece that is not the next one."""
        if asked.number == 0:
            self._pieces = []
        if len(buffers) != 1 or len(buffers[0]) > PIECE or asked.number != len(self._pieces):
            self._pieces = []
            raise ValueError(f"{asked.name}: the file did not arrive whole: choose it again")
        self._pieces.append(bytes(buffers[0]))
        if len(self._pieces) < asked.of:
            return None
        content, self._pieces = b"".join(self._pieces), []
        return content
