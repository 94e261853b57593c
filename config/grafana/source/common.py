"""What the dashboards of flows have in common: their variables, and panels of both directions."""

import panels as p
from queries import BINARY, HOST, RECEIVED, REMOTE, SENT, rate, top

IO, PACKETS = "netsonde_flow_io_bytes_total", "netsonde_flow_packets_total"
DIRECTION = "{{network_io_direction}}"
BY_BINARY, BY_REMOTE = f"{{{{{BINARY}}}}}", f"{{{{{REMOTE}}}}}"

TOP = p.choice("top", "Series", ["5", "10", "20", "50"], "10")
QUANTILE = p.choice("quantile", "Quantile", ["0.5", "0.9", "0.95", "0.99"], "0.95")


def variables(metric=PACKETS, *more):
    """Those of every dashboard about flows; each offers what there is on the chosen hosts."""
    of_hosts = f"{metric}{{{HOST}}}"
    return [
        p.variable("host", "Host", "netsonde_self_sweep_sockets", "host_name"),
        p.variable("binary", "Binary", of_hosts, BINARY),
        p.variable("unit", "Unit", of_hosts, "systemd_unit"),
        p.variable("container", "Container", of_hosts, "container_id"),
        p.variable("remote", "Remote name", of_hosts, REMOTE),
        *more,
    ]


def both_ways(title, description, transport, *by):
    """Sent above zero and received below it."""
    labels = " ".join(f"{{{{{label}}}}}" for label in by)
    return p.graph(
        title,
        description,
        {
            "sent": p.Query(top(rate(IO, transport, SENT, by=by)), f"{labels} sent"),
            "received": p.Query(top(rate(IO, transport, RECEIVED, by=by)), f"{labels} received"),
        },
        "Bps",
        mirrored="received",
    )
