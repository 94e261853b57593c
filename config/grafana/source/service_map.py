"""The dashboard of the service map: a graph of programs and services, made of flows by PromQL alone."""

import panels as p
from common import IO, PACKETS, variables
from queries import BINARY, REMOTE, RTT, quantile, rate, retransmit_ratio, series, top

BY = ("host_name", BINARY, REMOTE, "server_port", "netsonde_socket_role")
# A flow that was folded has no ends.
WITH_ENDS = (f'{BINARY}!=""', f'{REMOTE}!=""', 'netsonde_socket_role=~"$role"')


def replace(expression, label, value, source, pattern):
    return f'label_replace({expression}, "{label}", "{value}", "{source}", "{pattern}")'


def with_program(flows):
    """Adds the label `program`: a binary of a host."""
    return f'label_join({flows}, "program", " on ", "{BINARY}", "host_name")'


def with_service(flows):
    """Adds the label `service`: address and port. A loopback address is another on each host, whatever the hosts file
    calls it."""
    joined = f'label_join({flows}, "service", " ", "{REMOTE}", "server_port", "host_name")'
    loopback = replace(joined, "service", "localhost:$2 on $3", "service", "(localhost|127[.].*|::1) ([0-9]+) (.*)")
    return replace(loopback, "service", "$1:$2", "service", "([^ ]+) ([0-9]+) [^ ]*")


def edges(flows):
    """From a program to the service that it uses, and from a service to the program that serves it."""
    ends = f'label_join({with_service(with_program(flows))}, "ends", "|", "netsonde_socket_role", "program", "service")'
    for label, pattern in [
        ("source", "client[|](.*)[|].*"),
        ("target", "client[|].*[|](.*)"),
        ("source", "server[|].*[|](.*)"),
        ("target", "server[|](.*)[|].*"),
    ]:
        ends = replace(ends, label, "$1", "ends", pattern)
    return f'sum by (id, source, target) (label_join({ends}, "id", " > ", "source", "target"))'


def nodes(flows):
    """Every end of those edges, once."""
    programs = replace(with_program(flows), "id", "$1", "program", "(.*)")
    programs = replace(programs, "title", "$1", BINARY, "(?:.*/)?(.+)")
    programs = replace(programs, "subtitle", "$1", "host_name", "(.*)")
    services = replace(with_service(flows), "id", "$1", "service", "(.*)")
    services = replace(services, "title", "$1", "service", "(.+):[0-9]+.*")
    services = replace(services, "subtitle", "$1", "service", ".+:([0-9]+.*)")
    return " or ".join(f"sum by (id, title, subtitle) ({ends})" for ends in (programs, services))


def service_map():
    flows = top(rate(IO, *WITH_ENDS, by=BY))
    role = p.choice("role", "Role", ["client|server", "client", "server"], "client|server")
    count = p.choice("top", "Flows", ["50", "100", "200", "500"], "100")
    return p.dashboard(
        "service-map",
        "Service map",
        "Programs and the services that they talk to, on all hosts: which program uses which service, and which "
        "program serves it.",
        variables(PACKETS, role, count),
        [
            p.node_graph(
                "Who talks to whom",
                "An arrow goes from a program to the service that it uses, and from a service to the program that"
                " serves it. Figures are application bytes a second, both ways together. A service on a loopback "
                "address is one of its host.",
                nodes(flows),
                edges(flows),
                "Bps",
            ),
            p.table(
                "Flows",
                "The arrows as rows, with what is wrong with them.",
                {
                    "bytes": flows,
                    "rtt": quantile(0.95, series(RTT, *WITH_ENDS), *BY),
                    "again": retransmit_ratio(BY),
                    "failed": rate("netsonde_tcp_connection_failures_total", *WITH_ENDS, by=BY),
                },
                {
                    "host_name": "Host",
                    BINARY: "Binary",
                    "netsonde_socket_role": "Role",
                    REMOTE: "Service",
                    "server_port": "Port",
                    "Value #bytes": ("Bytes a second", "Bps"),
                    "Value #rtt": ("Round trip p95", "s"),
                    "Value #again": ("Sent again", "percentunit"),
                    "Value #failed": ("Failures a second", "cps"),
                },
                "Bytes a second",
                (24, 12),
            ),
        ],
    )
