"""Replaces address and port of a service by those of a backend when a socket connects or sends, as the socket load balancer
of Cilium does: CGROUP SERVICE BACKEND PORT. Says that its programs are attached, and ends with its input."""

import ctypes
import os
import platform
import socket
import struct
import sys

LOAD, CREATE_LINK = 5, 28
CGROUP_SOCK_ADDR, CONNECT4, SENDMSG4 = 18, 10, 14
SYSCALL = {"x86_64": 321, "aarch64": 280}[platform.machine()]
libc = ctypes.CDLL(None, use_errno=True)


def bpf(command, attributes):
    fd = libc.syscall(SYSCALL, command, ctypes.create_string_buffer(attributes, 128), 128)
    if fd < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return fd


def word(address):
    """Returns an address as the programs see it."""
    return struct.unpack("=i", socket.inet_aton(address))[0]


def instruction(code, registers, offset=0, number=0):
    return struct.pack("=BBhi", code, registers, offset, number)


cgroup, service, backend, port = sys.argv[1:]
ADDRESS, PORT = 4, 24  # offsets in struct bpf_sock_addr
program = b"".join(
    [
        instruction(0x61, 0x12, ADDRESS),  # r2 = *(u32 *)(r1 + ADDRESS)
        instruction(0x56, 0x02, 4, word(service)),  # if w2 != service goto +4
        instruction(0xB4, 0x02, 0, word(backend)),  # w2 = backend
        instruction(0x63, 0x21, ADDRESS),  # *(u32 *)(r1 + ADDRESS) = r2
        instruction(0xB4, 0x02, 0, socket.htons(int(port))),
        instruction(0x63, 0x21, PORT),
        instruction(0xB7, 0x00, 0, 1),  # r0 = 1
        instruction(0x95, 0x00),  # exit
    ]
)
code, licence = ctypes.create_string_buffer(program), ctypes.create_string_buffer(b"GPL")
directory = os.open(cgroup, os.O_RDONLY)
for kind in [CONNECT4, SENDMSG4]:
    attributes = struct.pack(
        "=IIQQIIQII16sII",
        CGROUP_SOCK_ADDR,
        len(program) // 8,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        *[0, 0, 0, 0, 0, b"balancer", 0],
        kind,
    )
    bpf(CREATE_LINK, struct.pack("=IIII", bpf(LOAD, attributes), directory, kind, 0))
print("attached", flush=True)
sys.stdin.read()
