# A gdb script that makes each thread of a process execute system calls, like an attacker who controls the
# thread, and prints a line "TID NAME RESULT" for each call. It needs no symbols: the program counter of a
# sleeping thread is just after a system call instruction.
import struct
import gdb

BPF_MAP_CREATE, BPF_PROG_LOAD, ARRAY, SOCKET_FILTER = 0, 5, 2, 1
AT_FDCWD, O_CREAT_WRONLY = -100, 0o101

if "aarch64" in gdb.selected_inferior().architecture().name():
    OPENAT, EXECVE, SETUID, BPF = 56, 221, 146, 280
    INSTRUCTION, NUMBER, RESULT = bytes.fromhex("010000d4"), "x8", "x0"
    ARGUMENTS = ["x0", "x1", "x2", "x3"]
else:
    OPENAT, EXECVE, SETUID, BPF = 257, 59, 105, 321
    INSTRUCTION, NUMBER, RESULT = bytes.fromhex("0f05"), "rax", "rax"
    ARGUMENTS = ["rdi", "rsi", "rdx", "r10"]

for line in ["set language c", "set scheduler-locking on", "set pagination off"]:
    gdb.execute(line)
process = gdb.selected_inferior()
threads = sorted(process.threads(), key=lambda thread: thread.ptid[1])


def register(name):
    return int(gdb.parse_and_eval(f"(long)${name}"))


def write(name, value):
    gdb.execute(f"set ${name} = {value}")


def find_instruction():
    for thread in threads:
        thread.switch()
        place = register("pc") - len(INSTRUCTION)
        if bytes(process.read_memory(place, len(INSTRUCTION))) == INSTRUCTION:
            return place
    raise RuntimeError("no thread is in a system call")


def try_all(tid, instruction):
    saved = {name: register(name) for name in {"pc", NUMBER, *ARGUMENTS}}
    if NUMBER == "rax":
        saved.update({name: register(name) for name in ["orig_rax", "rcx", "r11"]})
        # Otherwise the kernel might restart an interrupted call.
        write("orig_rax", -1)
    # Below the red zone of the stack.
    scratch = (register("sp") - 2048) & ~15

    def put(offset, data):
        process.write_memory(scratch + offset, data)
        return scratch + offset

    def call(name, number, *arguments):
        for place, value in zip(ARGUMENTS, arguments):
            write(place, value)
        write(NUMBER, number)
        write("pc", instruction)
        gdb.execute("stepi", to_string=True)
        print(tid, name, register(RESULT), flush=True)

    shadow, shell = put(0, b"/etc/shadow\0"), put(64, b"/bin/sh\0")
    created = put(96, b"/usr/bin/dnscribe-was-here\0")
    words = put(128, struct.pack("<QQ", shell, 0))
    licence = put(144, b"GPL\0")
    # r0 = 0; exit
    program = put(160, bytes.fromhex("b7000000000000009500000000000000"))
    load = put(192, struct.pack("<IIQQ", SOCKET_FILTER, 2, program, licence) + bytes(96))
    array = put(320, struct.pack("<IIII", ARRAY, 4, 4, 1) + bytes(104))
    call("open_shadow", OPENAT, AT_FDCWD, shadow, 0, 0)
    call("write_usr", OPENAT, AT_FDCWD, created, O_CREAT_WRONLY, 0o600)
    call("load_program", BPF, BPF_PROG_LOAD, load, 120)
    call("make_map", BPF, BPF_MAP_CREATE, array, 120)
    call("become_root", SETUID, 0)
    if TRY_EXEC:
        call("exec_shell", EXECVE, shell, words, 0)
    for name, value in saved.items():
        write(name, value)


instruction = find_instruction()
for thread in threads:
    thread.switch()
    try_all(thread.ptid[1], instruction)
