"""Run as a process of its own: a parquet file, its stdin, to Arrow's stream, its stdout; within memory and time.

What a footer or a page says of its size may be a lie. The kernel's limits hold whatever they say, and an unfolding
that overruns them, or that breaks Arrow, ends this process alone.
"""

import io
import json
import os
import resource
import sys
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import parquet

ROOM, SECONDS = 512 * 2**20, 10  # that are added here [byte], of the processor [s]
NUMBERS = (pa.types.is_integer, pa.types.is_floating)


def _copy(
    source: BinaryIO, sink: BinaryIO, *, wanted: list[str], rows: int, columns: int, texts: int, footer: int
) -> None:
    """Write the wanted columns, texts as dictionaries; ValueError for what is over the limits."""
    source.seek(-8, os.SEEK_END)
    if (size := int.from_bytes(source.read(4), "little")) > footer:
        raise ValueError(f"a footer of {size >> 20:,} MiB: at most {footer >> 20:,}")
    schema = parquet.ParquetFile(source, pre_buffer=False).schema_arrow
    if len(schema.names) > columns:
        raise ValueError(f"{len(schema.names):,} columns: at most {columns:,}")
    for name in wanted:
        if (times := schema.names.count(name)) > 1:
            raise ValueError(f"{times} columns {name!r}: expected one")
    kinds = {field.name: field.type for field in schema if field.name in wanted and not pa.types.is_null(field.type)}
    words = [name for name, kind in kinds.items() if "string" in str(kind)[:80] and not kind.num_fields]
    for name, kind in kinds.items():
        if name not in words and not any(known(kind) for known in NUMBERS):
            raise ValueError(f"column {name!r} holds {str(kind)[:60]}: expected texts or numbers")
    file = parquet.ParquetFile(source, read_dictionary=words, pre_buffer=False)
    found = pa.schema([file.schema_arrow.field(name) for name in kinds], {"names": json.dumps(schema.names)})
    count = held = 0
    with pa.ipc.new_stream(sink, found) as stream:
        for batch in file.iter_batches(2**18, columns=[*kinds], use_threads=False):
            count += len(batch)
            if count > rows:
                raise ValueError(f"over {rows:,} rows: split it")
            held += sum(batch.column(name).dictionary.nbytes for name in words)
            if held > texts:
                raise ValueError(f"texts of over {texts >> 20:,} MiB")
            stream.write_batch(batch)
    if count != file.metadata.num_rows:
        raise ValueError(f"{count:,} rows, where its footer says {file.metadata.num_rows:,}")


def unfold(limits: dict[str, Any]) -> None:
    """Copy stdin to stdout within the limits; otherwise exit with one line that says why not."""
    source = sys.stdin.buffer if sys.stdin.buffer.seekable() else io.BytesIO(sys.stdin.buffer.read())
    pa.set_memory_pool(pa.system_memory_pool())  # the others claim gigabytes before they need them
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)  # each thread claims an arena of its own, and one that cannot start ends the process
    status = Path("/proc/self/statm")
    if status.exists():  # Linux; elsewhere a limit on memory is not held
        most = int(status.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + ROOM
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    try:
        _copy(source, sys.stdout.buffer, **limits)
    except (MemoryError, pa.ArrowMemoryError):
        sys.exit(f"over {ROOM >> 20} MiB when unfolded")
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        sys.exit(" ".join(str(error).split())[:300] or type(error).__name__)


if __name__ == "__main__":
    unfold(json.loads(sys.argv[1]))
