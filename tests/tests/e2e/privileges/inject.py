# For gdb: has each thread of a running process make system calls, and prints what the kernel answers:
# lines "TID NAME RESULT ERRNO". The calls are those of somebody who has taken the thread over.
import struct
import gdb

if "aarch64" in gdb.selected_inferior().architecture().name():
    OPENAT, EXECVE, SETUID, BPF = 56, 221, 146, 280
else:
    OPENAT, EXECVE, SETUID, BPF = 257, 59, 105, 321
AT_FDCWD, BPF_PROG_LOAD, BPF_MAP_CREATE, SOCKET_FILTER, ARRAY = -100, 5, 0, 1, 2


def number(expression):
    return int(gdb.parse_and_eval(expression))


def try_all(tid):
    # Far enough below the stack pointer for what gdb itself puts there.
    room = (number("(long)$sp") - 2048) & ~15
    memory = gdb.selected_inferior()

    def put(offset, octets):
        memory.write_memory(room + offset, octets)
        return room + offset

    def call(name, *arguments):
        words = ", ".join(f"(long){argument}" for argument in arguments)
        result = number(f"((long (*)(long, ...))syscall)({words})")
        errno = number("*((int *(*)(void))__errno_location)()") if result == -1 else 0
        print(tid, name, result, errno, flush=True)

    shadow, shell = put(0, b"/etc/shadow\0"), put(64, b"/bin/sh\0")
    made = put(96, b"/usr/bin/dnscribe-was-here\0")
    arguments = put(128, struct.pack("<QQ", shell, 0))
    licence = put(144, b"GPL\0")
    # r0 = 0; exit
    program = put(160, bytes.fromhex("b7000000000000009500000000000000"))
    load = put(192, struct.pack("<IIQQ", SOCKET_FILTER, 2, program, licence) + bytes(96))
    array = put(320, struct.pack("<IIII", ARRAY, 4, 4, 1) + bytes(104))
    call("open_shadow", OPENAT, AT_FDCWD, shadow, 0, 0)
    call("write_usr", OPENAT, AT_FDCWD, made, 0o101, 0o600)
    call("load_program", BPF, BPF_PROG_LOAD, load, 120)
    call("make_map", BPF, BPF_MAP_CREATE, array, 120)
    call("become_root", SETUID, 0)
    if TRY_EXEC:
        call("exec_shell", EXECVE, shell, arguments, 0)


for thread in sorted(gdb.selected_inferior().threads(), key=lambda thread: thread.ptid[1]):
    thread.switch()
    try_all(thread.ptid[1])
