"""Hosts for the failover benchmark: this machine, or network namespaces on a switch whose cables can be pulled."""

import os
import signal
import subprocess
import time

from lab import free_port


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Hosts:
    """Hosts 0 … count-1. Without namespaces all are this machine, and no cable can be pulled."""

    def __init__(self, count, namespaces):
        self.count, self.namespaces = count, namespaces
        self.name = f"torcbench-{os.getpid()}"
        self.outside = f"tb{os.getpid()}"
        self.subnet = f"10.{128 + os.getpid() % 100}.{os.getpid() // 100 % 250}"
        if namespaces:
            try:
                self.build()
            except OSError:
                self.remove()
                raise

    def build(self):
        switch = f"{self.name}-switch"
        ip("netns", "add", switch)
        ip("-n", switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        ip("-n", switch, "link", "set", "br0", "up")
        ip("link", "add", self.outside, "type", "veth", "peer", "name", "out", "netns", switch)
        ip("-n", switch, "link", "set", "out", "master", "br0", "up")
        ip("addr", "add", f"{self.subnet}.254/24", "dev", self.outside)
        ip("link", "set", self.outside, "up")
        for host in range(self.count):
            name, port = f"{self.name}-{host}", f"h{host}"
            ip("netns", "add", name)
            ip("-n", switch, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("-n", switch, "link", "set", port, "master", "br0", "up")
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")

    def remove(self):
        for words in [("link", "del", self.outside), ("netns", "del", f"{self.name}-switch")]:
            subprocess.run(["ip", *words], capture_output=True)
        for host in range(self.count):
            subprocess.run(["ip", "netns", "del", f"{self.name}-{host}"], capture_output=True)

    def address(self, host):
        return f"{self.subnet}.{host + 1}" if self.namespaces else "127.0.0.1"

    def command(self, host, words):
        return ["ip", "netns", "exec", f"{self.name}-{host}", *words] if self.namespaces else words

    def cut(self, host):
        ip("-n", f"{self.name}-switch", "link", "set", f"h{host}", "down")

    def heal(self, host):
        ip("-n", f"{self.name}-switch", "link", "set", f"h{host}", "up")


class Process:
    """A process on a host: killed, paused, started again; nobody else watches it."""

    def __init__(self, hosts, host, words, log):
        self.hosts, self.host, self.words, self.log = hosts, host, words, log
        self.child = None
        self.start()

    def start(self):
        with open(self.log, "a") as log:
            command = self.hosts.command(self.host, self.words)
            # A torc ends with the process that started it, also when that is killed.
            environment = {**os.environ, "TORC_DIE_WITH_PARENT": "1"}
            self.child = subprocess.Popen(
                command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment
            )

    def kill(self):
        if self.child:
            self.child.send_signal(signal.SIGKILL)
            self.child.wait()
            self.child = None

    def signal(self, number):
        self.child.send_signal(number)


def ports(count):
    found = []
    while len(found) < count:
        port = free_port()
        if port not in found:
            found.append(port)
    return found


def until(what, ready, patience_s=60):
    """Waits for a true value; what goes wrong meanwhile counts as "not yet"."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        try:
            if value := ready():
                return value
        except (OSError, KeyError, ValueError, StopIteration, subprocess.SubprocessError):
            pass
        time.sleep(0.05)
    raise SystemExit(f"not within {patience_s} s: {what}")
