"""Connects as programs do. Reads steps as a JSON list from standard input, and after each writes one line that says
what it did: the step with the address that it connected to, and `at`, seconds since it began. Calls itself as its argument,
if it has one."""

import json
import os
import socket
import ssl
import sys
import threading
import time

BEGAN = time.monotonic()
TLS = ssl.create_default_context()
TLS.check_hostname = False
TLS.verify_mode = ssl.CERT_NONE
lock = threading.Lock()


def say(step, address):
    with lock:
        print(json.dumps({**step, "address": address, "at": time.monotonic() - BEGAN}), flush=True)


def look_up(step):
    """Returns the addresses of the step's name, or its literal address."""
    if "literal" in step:
        return [step["literal"]]
    found = socket.getaddrinfo(step["name"], step["port"], socket.AF_INET, socket.SOCK_STREAM)
    return [one[4][0] for one in found]


def connect(step, address):
    text = "::ffff:" + address if step.get("mapped") else address
    family = socket.AF_INET6 if ":" in text else socket.AF_INET
    kind = socket.SOCK_DGRAM if step.get("udp") else socket.SOCK_STREAM
    with socket.socket(family, kind) as one:
        one.settimeout(step.get("timeout", 5))
        try:
            target = (text, step["port"])
            if step.get("sendto") != "unconnected":
                one.connect(target)
            if step.get("tls"):
                TLS.wrap_socket(one, server_hostname=step["name"]).close()
            elif step.get("udp"):
                for _ in range(step.get("datagrams", 1)):
                    one.sendto(b"x", target) if "sendto" in step else one.send(b"x")
            else:
                # Until the other side has closed, or for a moment.
                one.settimeout(step.get("wait", 0.05))
                one.recv(1)
        except OSError:
            pass
    say(step, address)


def run(step):
    addresses = look_up(step)
    time.sleep(step.get("pause", 0))
    for address in addresses if step.get("all") else addresses[:1]:
        if step.get("fork"):
            child = os.fork()
            if child == 0:
                connect(step, address)
                os._exit(0)
            os.waitpid(child, 0)
        else:
            for _ in range(step.get("times", 1)):
                connect(step, address)


if len(sys.argv) > 1:
    with open("/proc/self/comm", "w") as name:
        name.write(sys.argv[1])
steps = json.load(sys.stdin)
threads = {}
for step in steps:
    if "thread" in step:
        threads.setdefault(step["thread"], []).append(step)
    else:
        run(step)
workers = [
    threading.Thread(target=lambda own=own: [run(step) for step in own]) for own in threads.values()
]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
