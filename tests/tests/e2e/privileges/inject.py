# For gdb: has each thread of a running process make system calls, and prints what the kernel answers:
# lines "TID NAME RESULT". The calls are those of somebody who has taken the thread over. No symbols are
# needed: a thread that sleeps stands behind the instruction by which it went to sleep.
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
    kept = {name: register(name) for name in {"pc", NUMBER, *ARGUMENTS}}
    if NUMBER == "rax":
        kept.update({name: register(name) for name in ["orig_rax", "rcx", "r11"]})
        # Else the kernel might begin an interrupted call anew.
        write("orig_rax", -1)
    # Below what leaf functions may use of the stack.
    room = (register("sp") - 2048) & ~15

    def put(offset, octets):
        process.write_memory(room + offset, octets)
        return room + offset

    def call(name, number, *arguments):
        for place, value in zip(ARGUMENTS, arguments):
            write(place, value)
        write(NUMBER, number)
        write("pc", instruction)
        gdb.execute("stepi", to_string=True)
        print(tid, name, register(RESULT), flush=True)

    shadow, shell = put(0, b"/etc/shadow\0"), put(64, b"/bin/sh\0")
    made = put(96, b"/usr/bin/dnscribe-was-here\0")
    words = put(128, struct.pack("<QQ", shell, 0))
    licence = put(144, b"GPL\0")
    # r0 = 0; exit
    program = put(160, bytes.fromhex("b7000000000000009500000000000000"))
    load = put(192, struct.pack("<IIQQ", SOCKET_FILTER, 2, program, licence) + bytes(96))
    array = put(320, struct.pack("<IIII", ARRAY, 4, 4, 1) + bytes(104))
    call("open_shadow", OPENAT, AT_FDCWD, shadow, 0, 0)
    call("write_usr", OPENAT, AT_FDCWD, made, O_CREAT_WRONLY, 0o600)
    call("load_program", BPF, BPF_PROG_LOAD, load, 120)
    call("make_map", BPF, BPF_MAP_CREATE, array, 120)
    call("become_root", SETUID, 0)
    if TRY_EXEC:
        call("exec_shell", EXECVE, shell, words, 0)
    for name, value in kept.items():
        write(name, value)


instruction = find_instruction()
for thread in threads:
    thread.switch()
    try_all(thread.ptid[1], instruction)
