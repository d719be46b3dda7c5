"""Generated inputs: hostile or large ones that no file should hold."""
import json
import struct
import zlib

CDX = '{"bomFormat":"CycloneDX","specVersion":"1.5","version":1,'


def cyclonedx(*components):
    """A CycloneDX document of purls."""
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"component": {"type": "application", "name": "made", "version": "1"}},
                       "components": [{"type": "library", "name": f"c{i}", "version": "1", "purl": p} for i, p in enumerate(components)]}).encode()


def truncated(keep):
    return cyclonedx("pkg:npm/a@1.0.0", "pkg:npm/b@1.0.0")[:int(keep)]


def nested(depth):
    return (CDX + '"components":[' + '{"type":"library","name":"x","components":[' * int(depth) + "]}" * int(depth) + "]}").encode()


def nested_arrays(depth):
    return (CDX + '"extra":' + "[" * int(depth) + "]" * int(depth) + "}").encode()


def gzip_zeros(size):
    """One gzip member that expands to `size` zero bytes."""
    block = zlib.compressobj(9, zlib.DEFLATED, -15)
    megabyte = block.compress(bytes(1 << 20)) + block.flush(zlib.Z_FULL_FLUSH)  # after a full flush every block is the same bytes
    crc = 0
    for _ in range(int(size) >> 20):
        crc = zlib.crc32(bytes(1 << 20), crc)
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + megabyte * (int(size) >> 20) + b"\x03\0" + struct.pack("<II", crc, int(size) & 0xFFFFFFFF)


def duplicate_keys():
    return (CDX + '"components":[],"components":[{"type":"library","name":"x","version":"1","purl":"pkg:npm/x@1"}]}').encode()


def invalid_utf8():
    return CDX.encode() + b'"components":[{"type":"library","name":"\xff\xfe","version":"1"}]}'


def long_string(size):
    return (CDX + '"components":[{"type":"library","version":"1","name":"' + "a" * int(size) + '"}]}').encode()


def spaces(size):
    return b"{" + b" " * int(size) + b"}"
