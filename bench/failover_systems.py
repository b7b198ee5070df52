"""What the failover benchmark breaks: a Torc cluster behind its proxy, and Redis with Sentinel.

Both are hosts with one node of each shard at most, and clients that see only what the system tells them. `place(shard)`
and `leader()` name hosts; `client(ack)` gives something with `set(key, value)` and `get(keys)`.
"""

import json
import os
import socket
import subprocess
import time

from hosts import Hosts, Process, ports, until

REPLY_S = 30


class Failed(Exception):
    """An error reply, by its text."""


class Resp:
    """A connection that speaks RESP2."""

    def __init__(self, address, timeout=REPLY_S):
        self.socket = socket.create_connection(address, timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.file = self.socket.makefile("rb")

    def close(self):
        self.file.close()
        self.socket.close()

    def ask(self, *words):
        frame = f"*{len(words)}\r\n" + "".join(f"${len(str(w))}\r\n{w}\r\n" for w in words)
        self.socket.sendall(frame.encode())
        return self.reply()

    def reply(self):
        line = self.file.readline().decode()
        if not line.endswith("\r\n"):
            raise OSError("closed")
        kind, rest = line[0], line[1:-2]
        if kind == "-":
            raise Failed(rest)
        if kind == "$":
            return None if rest == "-1" else self.file.read(int(rest) + 2)[:-2].decode()
        if kind == "*":
            return [self.reply() for _ in range(max(int(rest), 0))]
        return int(rest) if kind == ":" else rest


class TorcClient:
    """Through the proxy; `ack` is what CLIENT ACK takes."""

    def __init__(self, address, ack):
        self.address, self.ack, self.connection = address, ack, None

    def ask(self, *words):
        try:
            if self.connection is None:
                self.connection = Resp(self.address)
                self.connection.ask("CLIENT", "ACK", self.ack)
            return self.connection.ask(*words)
        except OSError:
            self.connection = None
            raise

    def set(self, key, value):
        self.ask("SET", key, value)

    def get(self, keys):
        return self.ask("MGET", *keys)


class Torc:
    """Nodes and a proxy that the benchmark starts itself; the proxy is on a host of its own."""

    name = "torc"

    def __init__(self, options, folder, namespaces):
        self.torc, self.folder, self.shards = options.torc, folder, options.shards
        self.replicas = options.replicas
        count = self.shards * (self.replicas + 1)
        self.hosts = Hosts(count + 1, namespaces)
        self.secret = os.path.join(folder, "cluster.secret")
        self.run("secret", "new", self.secret)
        drawn = ports(2 * count + 1)
        self.at = [(self.hosts.address(n), drawn[2 * n], drawn[2 * n + 1]) for n in range(count)]
        self.join = ",".join(f"{host}:{bus}" for host, _, bus in self.at)
        self.nodes = []
        for n, (host, port, bus) in enumerate(self.at):
            words = [self.torc, "server", "--cluster", "bench", "--join", self.join, "--node-id", str(n + 1)]
            words += ["--bind", host, "--advertise", host, "--port", str(port), "--bus-port", str(bus)]
            words += ["--zone", f"host-{n}", "--lease-ms", str(options.lease_ms), "--threads", "1"]
            words += ["--set", "protected-mode=no", "--secret-file", self.secret]
            data = os.path.join(folder, f"node-{n + 1}")
            os.mkdir(data)
            words += ["--dir", data]
            self.nodes.append(Process(self.hosts, n, words, os.path.join(folder, f"node-{n + 1}.log")))
        init = ["cluster", "init", "--name", "bench", "--shards", str(self.shards)]
        init += ["--replicas", str(self.replicas), "--lease-ms", str(options.lease_ms)]
        self.tool(*init)
        self.proxy_at = (self.hosts.address(count), drawn[-1])
        words = [self.torc, "proxy", "--join", self.join, "--secret-file", self.secret]
        words += ["--bind", self.proxy_at[0], "--port", str(self.proxy_at[1])]
        self.proxy = Process(self.hosts, count, words, os.path.join(folder, "proxy.log"))

    def run(self, *words):
        done = subprocess.run([self.torc, *words], capture_output=True)
        if done.returncode:
            raise SystemExit(f"torc {' '.join(words)}: {done.stderr.decode().strip()}")
        return done.stdout

    def tool(self, *words):
        return self.run(*words, "--join", self.join, "--secret-file", self.secret)

    def stop(self):
        for process in [self.proxy, *self.nodes]:
            process.kill()
        self.hosts.remove()

    def status(self):
        return json.loads(self.tool("status", "--json"))

    def whole(self):
        """The status when every shard has all its members in sync."""

        def ready():
            status = self.status()
            shards = status["map"]["shards"].values()
            all_in = all(len(s["in_sync"]) == self.replicas + 1 and not s["pending_term"] for s in shards)
            return status if all_in and status["leader"] else None

        return until("a whole cluster", ready)

    def tags(self):
        """A hash tag of each shard."""
        status, found = self.whole(), {}
        for shard, state in status["map"]["shards"].items():
            host, port, _ = self.at[state["primary"]["node"] - 1]
            node = Resp((host, port))
            for tag in (f"{{t{n}}}" for n in range(1000)):
                try:
                    node.ask("EXISTS", tag)
                    found[int(shard)] = tag
                    break
                except Failed:
                    pass
        return found

    def client(self, ack):
        return TorcClient(self.proxy_at, ack)

    def victim(self, with_leader, number):
        """A shard and the host of its primary, which leads the control plane too, or does not."""

        def ready():
            status = self.whole()
            leader = status["leader"]
            primaries = {s["primary"]["node"]: int(i) for i, s in status["map"]["shards"].items()}
            chosen = sorted(node for node in primaries if (node == leader) == with_leader)
            if chosen:
                node = chosen[number % len(chosen)]
                return primaries[node], node - 1
            shard = next(i for i, s in status["map"]["shards"].items() if leader in s["members"])
            self.tool("cluster", "failover", shard, *(["--to", str(leader)] if with_leader else []))
            return None

        return until("a victim", ready)

    def processes(self, host):
        return [self.nodes[host]]

    def reported(self):
        """Records that nodes say were dropped, and the rest of what `torc status` tells of failovers."""
        nodes = self.status()["nodes"].values()
        return sum(node.get("dropped_records", 0) for node in nodes)

    def reigns(self):
        """How many leaders the control plane has had."""
        return self.status()["map"]["reign"]


class SentinelClient:
    """Asks the sentinels for the master whenever it lost it. `in-sync` is a write with WAIT 1."""

    def __init__(self, system, ack):
        self.system, self.ack, self.connection = system, ack, None

    def connect(self):
        for sentinel in self.system.sentinels_at:
            try:
                asked = Resp(sentinel, timeout=0.2)
                host, port = asked.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "bench")
                asked.close()
                self.connection = Resp((host, int(port)), timeout=0.5)
                return
            except (OSError, Failed, TypeError, ValueError):
                pass
        raise OSError("no sentinel knows a master")

    def ask(self, *words):
        try:
            if self.connection is None:
                self.connect()
            return self.connection.ask(*words)
        except (OSError, Failed):
            self.connection = None
            raise

    def set(self, key, value):
        self.ask("SET", key, value)
        if self.ack == "in-sync" and self.ask("WAIT", "1", "400") < 1:
            raise Failed("UNCERTAIN no replica has it yet")

    def get(self, keys):
        return self.ask("MGET", *keys)


class Sentinel:
    """One master, replicas, and a sentinel on each of their hosts; clients that speak to sentinels."""

    name = "sentinel"

    def __init__(self, options, folder, namespaces):
        self.shards, self.replicas = 1, options.replicas
        count = self.replicas + 1
        self.hosts = Hosts(count, namespaces)
        drawn = ports(2 * count)
        self.at = [(self.hosts.address(n), drawn[n]) for n in range(count)]
        self.sentinels_at = [(self.hosts.address(n), drawn[count + n]) for n in range(count)]
        self.servers, self.sentinels = [], []
        for n, (host, port) in enumerate(self.at):
            words = [options.redis, "--bind", host, "--port", str(port), "--protected-mode", "no", "--save", ""]
            words += ["--dir", folder, "--repl-diskless-sync-delay", "0"]
            if n:
                words += ["--replicaof", self.at[0][0], str(self.at[0][1])]
            self.servers.append(Process(self.hosts, n, words, os.path.join(folder, f"redis-{n}.log")))
        for n, (host, port) in enumerate(self.sentinels_at):
            file = os.path.join(folder, f"sentinel-{n}.conf")
            with open(file, "w") as text:
                text.write(f"bind {host}\nport {port}\nprotected-mode no\ndir {folder}\n")
                text.write(f"sentinel monitor bench {self.at[0][0]} {self.at[0][1]} {count // 2 + 1}\n")
                text.write(f"sentinel down-after-milliseconds bench {options.down_after_ms}\n")
                text.write("sentinel failover-timeout bench 5000\n")
            words = [options.redis, file, "--sentinel"]
            self.sentinels.append(Process(self.hosts, n, words, os.path.join(folder, f"sentinel-{n}.log")))

    def stop(self):
        for process in [*self.sentinels, *self.servers]:
            process.kill()
        self.hosts.remove()

    def master(self):
        """The host of the master, when all sentinels agree and all replicas follow."""
        answers = set()
        for sentinel in self.sentinels_at:
            asked = Resp(sentinel, timeout=1)
            answers.add(tuple(asked.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "bench")))
            fields = asked.ask("SENTINEL", "MASTER", "bench")
            state = dict(zip(fields[::2], fields[1::2]))
            known = {int(state["num-other-sentinels"]), int(state["num-slaves"])}
            if state["flags"] != "master" or known != {self.replicas}:
                return None
            for fields in asked.ask("SENTINEL", "REPLICAS", "bench"):
                replica = dict(zip(fields[::2], fields[1::2]))
                if replica["flags"] != "slave" or replica["master-link-status"] != "ok":
                    return None
            asked.close()
        if len(answers) != 1:
            return None
        host, port = answers.pop()
        info = Resp((host, int(port)), timeout=1).ask("INFO", "replication")
        if info.count("state=online") != self.replicas or "role:master" not in info:
            return None
        return self.at.index((host, int(port))) + 1

    def whole(self):
        return until("a master with all its replicas", self.master) - 1

    def tags(self):
        self.whole()
        return {0: "{t}"}

    def client(self, ack):
        return SentinelClient(self, ack)

    def victim(self, with_leader, number):
        # A wish for another failover is not granted at once after the last.
        host = self.whole()
        time.sleep(1)
        self.with_sentinel = with_leader
        return 0, host

    def processes(self, host):
        return [self.servers[host]] + ([self.sentinels[host]] if self.with_sentinel else [])

    def reported(self):
        return 0

    def reigns(self):
        return 0
