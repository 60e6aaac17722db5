"""A request at the engine, and the runs of blocks that it shares with others."""

from dataclasses import dataclass, field


@dataclass(slots=True, eq=False)
class Run:
    """Blocks of the KV cache, one after another, that are found from the first on.

    Parameters
    ----------
    blocks : int
        That the cache has [1].
    key : int, optional
        The hash of what is in them; None where nobody finds them but their own request.
    unit : int
        Units of a block (`Footprint`) [1].
    users : int
        Running requests that use it [1].
    """

    blocks: int
    key: int | None
    unit: int
    users: int = 0


@dataclass(slots=True, eq=False)
class Request:
    """What the client hands to the engine, and how far the engine has come with it.

    Parameters
    ----------
    place : int
        In the order of sends; of two that end in one step, the earlier comes first [1].
    prompt, output : int
        Tokens that it brings, and after which it ends [token].
    cached : int
        Of its prompt, that need not be computed [token].
    generated : int
        Output tokens [token]; while it decodes, those from before it joined the batch (see `DecodingBatch.generated`).
    joined : int, optional
        The batch's clock when it joined it [token]; None while it does not decode.
    hashes : tuple of int
        Of its prompt, that of each run of `hashed` tokens with what is before it; the last may be shorter.
    hashed : int
        [token]
    runs : list of Run
        Of those, which it uses.
    shared : int
        Blocks that it has of them [1].
    own : Run, optional
        Of a preempted request, what it had computed besides.
    hits : int, optional
        Tokens of its prompt that were found when it first started; None before [token].
    """

    place: int
    prompt: int
    output: int
    cached: int
    generated: int = 0
    joined: int | None = None
    hashes: tuple[int, ...] = ()
    hashed: int = 1
    runs: list[Run] = field(default_factory=list)
    shared: int = 0
    own: Run | None = None
    hits: int | None = None

    @property
    def known(self) -> int:
        """Tokens that it has, of which the last is computed next [token]."""
        return self.prompt + self.generated
