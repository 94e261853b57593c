"""The dashboards of TCP, UDP and DNS: what each asks, and what it says about it."""

import panels as p
from queries import (
    BINARY, CLIENT, CONNECT, HOST, LOOKUP, RECEIVED, REMOTE, RTT, SENT, TCP, UDP, added, failure_ratio, increase,
    quantile, rate, ratio, retransmit_ratio, series, top, total,
)

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
    return p.graph(title, description, {
        "sent": p.Query(top(rate(IO, transport, SENT, by=by)), f"{labels} sent"),
        "received": p.Query(top(rate(IO, transport, RECEIVED, by=by)), f"{labels} received"),
    }, "Bps", mirrored="received")


def connections(event):
    return series("netsonde_tcp_connections_total", f'netsonde_connection_event="{event}"')


def tcp_throughput():
    flow = (BINARY, REMOTE, "server_port", "netsonde_socket_role")
    return p.dashboard("tcp-throughput", "TCP throughput", "Bytes, connections, retransmits and failures of TCP, by program and by remote.", variables(PACKETS, TOP), [
        p.stat("Sent", "Application bytes that the chosen programs sent each second; a byte that TCP sends again counts once.", p.Query(rate(IO, TCP, SENT)), "Bps"),
        p.stat("Received", "Application bytes that the chosen programs received each second.", p.Query(rate(IO, TCP, RECEIVED)), "Bps"),
        p.stat("Connections", "Connections that are established, or on their way there, and not yet closed.", p.Query(total(series("netsonde_tcp_connections_active"))), "short"),
        p.stat("Opened", "Connections that programs of these hosts began each second.", p.Query(total(f"rate({connections('opened')}[$__rate_interval])")), "cps"),
        p.stat("Retransmits", "Segments of data that were sent again, of all segments that were sent. Up to 1 % is common on the internet; within a data centre it should be near zero.", p.Query(retransmit_ratio()), "percentunit", p.thresholds(0.01, 0.05)),
        p.stat("Failed", "Connections that could not be established or broke, of those that were begun. Not those that their program gave up, as one does that tries two addresses at once.", p.Query(failure_ratio()), "percentunit", p.thresholds(0.01, 0.05)),
        p.heading("Throughput"),
        both_ways("By binary", "Application bytes a second by program: sent above zero, received below.", TCP, BINARY),
        both_ways("By remote", "Application bytes a second by the serving side's name, as this host resolved it: sent above zero, received below.", TCP, REMOTE),
        both_ways("By unit", "Application bytes a second by systemd unit; programs outside of units have none.", TCP, "systemd_unit"),
        both_ways("By container", "Application bytes a second by container; the series without an id is the host itself.", TCP, "container_id"),
        p.heading("Connections"),
        p.graph("Opened, accepted, closed", "Connections a second by what became of them.", [p.Query(rate("netsonde_tcp_connections_total", by=("netsonde_connection_event",)), "{{netsonde_connection_event}}")], "cps", (8, 8)),
        p.graph("Active by binary", "Connections that are open, by program.", [p.Query(top(total(series("netsonde_tcp_connections_active"), BINARY)), BY_BINARY)], "short", (8, 8)),
        p.graph("How long connections last", "Of connections that closed: the time that they had been established.", [
            p.Query(quantile(share, series("netsonde_tcp_connection_duration_seconds_bucket")), f"p{int(share * 100)}") for share in (0.5, 0.95)
        ], "s", (8, 8)),
        p.heading("What goes wrong"),
        p.graph("Retransmit ratio by binary", "Segments of data sent again, of all segments sent, by program. One program alone points at its path; all of them at this host's network.", [p.Query(top(retransmit_ratio((BINARY,))), BY_BINARY)], "percentunit", limits=p.thresholds(0.01, 0.05), min=0),
        p.graph("Retransmitted segments by kind", "data: loss, or a peer too slow to acknowledge. syn: the serving side does not answer. syn_ack: the client's side does not.", [p.Query(rate("netsonde_tcp_retransmits_total", by=("netsonde_tcp_retransmit_kind",)), "{{netsonde_tcp_retransmit_kind}}")], "pps", stacked=True),
        p.graph("Failures by error", "Connections that could not be established, or that broke. refused: nothing listens there. timed_out: nothing answers.", [p.Query(rate("netsonde_tcp_connection_failures_total", by=("error_type",)), "{{error_type}}")], "cps", stacked=True),
        p.graph("Resets", "Resets sent and received. Some programs end connections this way on purpose.", [p.Query(rate("netsonde_tcp_resets_total", by=("network_io_direction",), scope=HOST), DIRECTION)], "cps"),
        p.table("Flows", "The largest flows of the time shown: program, role, remote and port.", {
            "sent": top(increase(IO, TCP, SENT, by=flow)),
            "received": top(increase(IO, TCP, RECEIVED, by=flow)),
            "again": increase("netsonde_tcp_retransmits_total", by=flow) + f" and on ({', '.join(flow)}) " + top(increase(IO, TCP, SENT, by=flow)),
        }, {
            BINARY: "Binary", "netsonde_socket_role": "Role", REMOTE: "Remote", "server_port": "Port",
            "Value #sent": ("Sent", "bytes"), "Value #received": ("Received", "bytes"), "Value #again": ("Segments sent again", "short"),
        }, "Sent"),
    ])


def tcp_latency():
    rtt, connect = series(RTT), series(CONNECT)
    bad = p.thresholds(0.1, 0.5)
    return p.dashboard("tcp-latency", "TCP latency", "Round-trip times as TCP smooths them, and times to connect: quantiles, heat maps, histograms.", variables(PACKETS, QUANTILE, TOP), [
        *[p.stat(f"Round trip p{int(share * 100)}", f"Of all samples of the smoothed round-trip time, {int(share * 100)} % are below. One sample a connection and interval, from those that received something.", p.Query(quantile(share, rtt)), "s", bad, (6, 4)) for share in (0.5, 0.95, 0.99)],
        p.stat("Connect p95", "From the first SYN to the established connection. About 1 s or 3 s means that a SYN was lost.", p.Query(quantile(0.95, connect)), "s", bad, (6, 4)),
        p.heading("Round-trip time"),
        p.heatmap("Heat map", "Samples by duration over time: two bands are two kinds of peers, a band that rises is a queue that fills.", added(rtt), (16, 10)),
        p.histogram("Histogram", "Samples by duration, in the whole time shown. Each bound is twice the one before.", added(rtt, "$__range"), (8, 10)),
        p.graph("Quantile by binary", "The chosen quantile of the round-trip time, by program.", [p.Query(top(quantile("$quantile", rtt, BINARY)), BY_BINARY)], "s", limits=bad, min=0),
        p.graph("Quantile by remote", "The chosen quantile of the round-trip time, by the serving side's name.", [p.Query(top(quantile("$quantile", rtt, REMOTE)), BY_REMOTE)], "s", limits=bad, min=0),
        p.graph("Quantiles", "Of all samples together.", [p.Query(quantile(share, rtt), f"p{int(share * 100)}") for share in (0.5, 0.9, 0.95, 0.99)], "s", min=0),
        p.graph("Samples", "Connections that were sampled, a second: what the quantiles rest on.", [p.Query(rate("netsonde_tcp_rtt_seconds_count", by=(BINARY,)), BY_BINARY)], "cps"),
        p.heading("Time to connect"),
        p.heatmap("Heat map of connects", "Connections by the time from the first SYN to established. Bands at 1 s and 3 s are lost SYNs.", added(connect)),
        p.histogram("Histogram of connects", "Connections by the time that it took to establish them, in the whole time shown.", added(connect, "$__range")),
        p.graph("Connect quantile by remote", "The chosen quantile of the time to connect, by the serving side's name.", [p.Query(top(quantile("$quantile", connect, REMOTE)), BY_REMOTE)], "s", limits=bad, min=0),
        p.graph("Connect quantile by binary", "The chosen quantile of the time to connect, by program.", [p.Query(top(quantile("$quantile", connect, BINARY)), BY_BINARY)], "s", limits=bad, min=0),
    ])


def udp():
    drops = "netsonde_socket_drops_total"
    return p.dashboard("udp", "UDP", "Bytes, datagrams, drops and sockets of UDP, by program and by remote.", variables(PACKETS, TOP), [
        p.stat("Sent", "Bytes of UDP payload that the chosen programs sent each second.", p.Query(rate(IO, UDP, SENT)), "Bps"),
        p.stat("Received", "Bytes of UDP payload that the chosen programs received each second.", p.Query(rate(IO, UDP, RECEIVED)), "Bps"),
        p.stat("Datagrams sent", "A second.", p.Query(rate(PACKETS, UDP, SENT)), "pps"),
        p.stat("Datagrams received", "A second.", p.Query(rate(PACKETS, UDP, RECEIVED)), "pps"),
        p.stat("Dropped", "Datagrams that reached their socket and were dropped there, of those that arrived.", p.Query(ratio(rate(drops), rate(PACKETS, UDP, RECEIVED))), "percentunit", p.thresholds(0.0001, 0.01)),
        p.stat("Sockets", "UDP sockets that are open and have sent or received.", p.Query(total(series("netsonde_udp_sockets_active"))), "short"),
        p.heading("Traffic"),
        both_ways("By binary", "Payload bytes a second by program: sent above zero, received below.", UDP, BINARY),
        both_ways("By remote", "Payload bytes a second by the serving side: sent above zero, received below.", UDP, REMOTE),
        p.graph("Datagrams by binary", "Datagrams a second, both ways.", [p.Query(top(rate(PACKETS, UDP, by=(BINARY, "network_io_direction"))), f"{BY_BINARY} {DIRECTION}")], "pps"),
        p.graph("QUIC by binary", "Payload bytes a second of what begins on port 443 as QUIC does.", [p.Query(top(rate(IO, UDP, 'network_protocol_name="quic"', by=(BINARY,))), BY_BINARY)], "Bps"),
        p.heading("Drops and sockets"),
        p.graph("Drops by reason", "SOCKET_RCVBUFF: the program reads too slowly for its receive buffer. PROTO_MEM: all memory of UDP was in use. NOT_SPECIFIED: filters, checksums and the like.", [p.Query(rate(drops, by=("netsonde_drop_reason",)), "{{netsonde_drop_reason}}")], "pps", (8, 8), stacked=True),
        p.graph("Drops by binary", "Whose sockets drop.", [p.Query(top(rate(drops, by=(BINARY,))), BY_BINARY)], "pps", (8, 8)),
        p.graph("Sockets by binary", "Open sockets that have sent or received. One that only rises is a leak.", [p.Query(top(total(series("netsonde_udp_sockets_active"), BINARY)), BY_BINARY)], "short", (8, 8)),
    ])


def dns():
    client = (CLIENT,)
    count = f"{LOOKUP}_count"
    buckets = series(f"{LOOKUP}_bucket", *client)
    failing = 'error_type!="",dns_response_code!="NXDOMAIN"'
    lookups = rate(count, *client)
    return p.dashboard("dns", "DNS", "Lookups as programs had them: how long, how many failed, of which names, at which resolver.", variables(f"{LOOKUP}_count", QUANTILE, TOP), [
        p.stat("Lookups", "A second, by the programs of these hosts.", p.Query(lookups), "reqps"),
        p.stat("Failed", "Without a response, or with a code that says that the resolver could not answer. Names that do not exist are no failure.", p.Query(ratio(rate(count, CLIENT, failing), lookups)), "percentunit", p.thresholds(0.01, 0.05)),
        p.stat("Without such a name", "NXDOMAIN: lookups of names that do not exist.", p.Query(ratio(rate(count, CLIENT, 'dns_response_code="NXDOMAIN"'), lookups)), "percentunit", p.thresholds(0.2, 0.5)),
        *[p.stat(f"p{int(share * 100)}", f"{int(share * 100)} % of the lookups took less. One without a response counts with dns.timeout.", p.Query(quantile(share, buckets)), "s", p.thresholds(0.1, 1)) for share in (0.5, 0.95, 0.99)],
        p.heading("How long"),
        p.heatmap("Heat map", "Lookups by duration over time: a low band is the resolver's cache, a high one its upstream, the highest those that timed out.", added(buckets), (16, 10)),
        p.histogram("Histogram", "Lookups by duration, in the whole time shown.", added(buckets, "$__range"), (8, 10)),
        p.graph("Quantile by binary", "The chosen quantile of a lookup's duration, by program.", [p.Query(top(quantile("$quantile", buckets, BINARY)), BY_BINARY)], "s", min=0),
        p.graph("Quantile by resolver", "The chosen quantile of a lookup's duration, by the resolver that was asked.", [p.Query(top(quantile("$quantile", buckets, "network_peer_address")), "{{network_peer_address}}")], "s", min=0),
        p.heading("What was asked"),
        p.graph("Lookups by binary", "A second, by program.", [p.Query(top(rate(count, *client, by=(BINARY,))), BY_BINARY)], "reqps", (8, 8)),
        p.graph("Lookups by type", "A second, by the type of record.", [p.Query(rate(count, *client, by=("dns_question_type",)), "{{dns_question_type}}")], "reqps", (8, 8), stacked=True),
        p.graph("Lookups by name", "A second, by name; dns.question_names and dns.suffixes bound how many there are.", [p.Query(top(rate(count, *client, by=("dns_question_name",))), "{{dns_question_name}}")], "reqps", (8, 8)),
        p.heading("What went wrong"),
        p.graph("Responses by code", "A second. The series without a code had no response.", [p.Query(rate(count, *client, by=("dns_response_code",)), "{{dns_response_code}}")], "reqps", (8, 8), stacked=True),
        p.graph("Errors by resolver", "Timeouts and codes other than NOERROR and NXDOMAIN, a second.", [p.Query(rate(count, CLIENT, failing, by=("network_peer_address", "error_type")), "{{network_peer_address}} {{error_type}}")], "reqps", (8, 8)),
        p.graph("Made by search suffixes", "Lookups of names that do not exist and end in a search suffix of resolv.conf: the resolver library made them.", [p.Query(rate(count, CLIENT, 'netsonde_dns_search_suffix!=""', by=("netsonde_dns_search_suffix",)), "{{netsonde_dns_search_suffix}}")], "reqps", (8, 8)),
        p.table("Names that fail", "Names with an error in the time shown, by program; timeout stands for no response.", {
            "failed": top(increase(count, CLIENT, 'error_type!=""', by=("dns_question_name", "error_type", BINARY))),
        }, {"dns_question_name": "Name", "error_type": "Error", BINARY: "Binary", "Value #failed": ("Lookups", "short")}, "Lookups"),
    ])

