"""Whether an Arrow stream's batches are compressed, read of its messages before Arrow unpacks any.

A small body can hold batches that unpack to the machine's memory, and Arrow asks nobody before it
does so. A message is a flatbuffer[^1]; of it three fields are looked at.

[^1]: Arrow's ``format/Message.fbs``
"""

from __future__ import annotations

import struct

import pyarrow.ipc as ipc

__all__ = ["compressed"]

_HEADER_TYPE, _HEADER = 1, 2
_DICTIONARY, _BATCH = 2, 3
_DATA, _COMPRESSION = 1, 3


def compressed(stream: bytes) -> bool:
    """Say whether any batch is; errors as of `pyarrow.ipc` where it is no stream.

    >>> import pyarrow as pa
    >>> def written(codec):
    ...     sink = pa.BufferOutputStream()
    ...     rows = pa.table({"a": [1] * 1000})
    ...     options = ipc.IpcWriteOptions(compression=codec)
    ...     with ipc.new_stream(sink, rows.schema, options=options) as writer:
    ...         writer.write_table(rows)
    ...     return sink.getvalue().to_pybytes()
    >>> compressed(written(None)), compressed(written("zstd")), compressed(written("lz4"))
    (False, True, True)
    """
    return any(_is(bytes(each.metadata)) for each in ipc.MessageReader.open_stream(stream))


def _is(message: bytes) -> bool:
    try:
        (table,) = struct.unpack_from("<I", message)
        place = _field(message, table, _HEADER_TYPE)
        kind = message[place] if place else 0
        batch = _followed(message, _field(message, table, _HEADER))
        if kind == _DICTIONARY:
            batch = _followed(message, _field(message, batch, _DATA))
        return kind in (_DICTIONARY, _BATCH) and bool(_field(message, batch, _COMPRESSION))
    except (IndexError, struct.error):
        return False  # damaged: Arrow verifies a message before it reads what is in it


def _field(message: bytes, table: int, number: int) -> int:
    """Give the place of a table's field; 0 where it has none."""
    (back,) = struct.unpack_from("<i", message, table)
    (size,) = struct.unpack_from("<H", message, table - back)
    entry = 4 + 2 * number
    if entry >= size:
        return 0
    (offset,) = struct.unpack_from("<H", message, table - back + entry)
    return table + offset if offset else 0


def _followed(message: bytes, place: int) -> int:
    (offset,) = struct.unpack_from("<I", message, place)
    return place + int(offset)
