"""The dashboards of TCP: what each asks, and what it says about it."""

import panels as p
from common import IO, PACKETS, DIRECTION, BY_BINARY, BY_REMOTE, TOP, QUANTILE, variables, both_ways
from queries import (
    BINARY,
    CONNECT,
    HOST,
    RECEIVED,
    REMOTE,
    RTT,
    SENT,
    TCP,
    added,
    failure_ratio,
    increase,
    quantile,
    rate,
    retransmit_ratio,
    series,
    top,
    total,
)


def connections(event):
    return series("netsonde_tcp_connections_total", f'netsonde_connection_event="{event}"')


def tcp_throughput():
    flow = (BINARY, REMOTE, "server_port", "netsonde_socket_role")
    return p.dashboard(
        "tcp-throughput",
        "TCP throughput",
        "Bytes, connections, retransmits and failures of TCP, by program and by remote.",
        variables(PACKETS, TOP),
        [
            p.stat(
                "Sent",
                "Application bytes that the chosen programs sent each second; a byte that TCP sends again counts once.",
                p.Query(rate(IO, TCP, SENT)),
                "Bps",
            ),
            p.stat(
                "Received",
                "Application bytes that the chosen programs received each second.",
                p.Query(rate(IO, TCP, RECEIVED)),
                "Bps",
            ),
            p.stat(
                "Connections",
                "Connections that are established and not yet closed.",
                p.Query(total(series("netsonde_tcp_connections_active"))),
                "short",
            ),
            p.stat(
                "Opened",
                "Connections that programs of these hosts established each second.",
                p.Query(total(f"rate({connections('opened')}[$__rate_interval])")),
                "cps",
            ),
            p.stat(
                "Retransmits",
                "Segments of data that were sent again, of all segments that were sent. Up to 1 % is common on "
                "the internet; within a data centre it should be near zero.",
                p.Query(retransmit_ratio()),
                "percentunit",
                p.thresholds(0.01, 0.05),
            ),
            p.stat(
                "Failed",
                "Connections that could not be established or broke, of those that were begun. Not those that "
                "their program gave up, as one does that tries two addresses at once.",
                p.Query(failure_ratio()),
                "percentunit",
                p.thresholds(0.01, 0.05),
            ),
            p.heading("Throughput"),
            both_ways(
                "By binary", "Application bytes a second by program: sent above zero, received below.", TCP, BINARY
            ),
            both_ways(
                "By remote",
                "Application bytes a second by the serving side's name, as this host resolved it: sent above "
                "zero, received below.",
                TCP,
                REMOTE,
            ),
            both_ways(
                "By unit",
                "Application bytes a second by systemd unit; programs outside of units have none.",
                TCP,
                "systemd_unit",
            ),
            both_ways(
                "By container",
                "Application bytes a second by container; the series without an id is the host itself.",
                TCP,
                "container_id",
            ),
            p.heading("Connections"),
            p.graph(
                "Opened, accepted, closed",
                "Connections a second by what became of them.",
                [
                    p.Query(
                        rate("netsonde_tcp_connections_total", by=("netsonde_connection_event",)),
                        "{{netsonde_connection_event}}",
                    )
                ],
                "cps",
                (8, 8),
            ),
            p.graph(
                "Active by binary",
                "Connections that are open, by program.",
                [p.Query(top(total(series("netsonde_tcp_connections_active"), BINARY)), BY_BINARY)],
                "short",
                (8, 8),
            ),
            p.graph(
                "How long connections last",
                "Of connections that closed: the time that they had been established.",
                [
                    p.Query(
                        quantile(share, series("netsonde_tcp_connection_duration_seconds_bucket")),
                        f"p{int(share * 100)}",
                    )
                    for share in (0.5, 0.95)
                ],
                "s",
                (8, 8),
            ),
            p.heading("What goes wrong"),
            p.graph(
                "Retransmit ratio by binary",
                "Segments of data sent again, of all segments sent, by program. One program alone points at its "
                "path; all of them at this host's network.",
                [p.Query(top(retransmit_ratio((BINARY,))), BY_BINARY)],
                "percentunit",
                limits=p.thresholds(0.01, 0.05),
                min=0,
            ),
            p.graph(
                "Retransmitted segments by kind",
                "data: loss, or a peer too slow to acknowledge. syn: the serving side does not answer. syn_ack: "
                "the client's side does not.",
                [
                    p.Query(
                        rate("netsonde_tcp_retransmits_total", by=("netsonde_tcp_retransmit_kind",)),
                        "{{netsonde_tcp_retransmit_kind}}",
                    )
                ],
                "pps",
                stacked=True,
            ),
            p.graph(
                "Failures by error",
                "Connections that could not be established, or that broke. refused: nothing listens there. "
                "timed_out: nothing answers.",
                [p.Query(rate("netsonde_tcp_connection_failures_total", by=("error_type",)), "{{error_type}}")],
                "cps",
                stacked=True,
            ),
            p.graph(
                "Resets",
                "Resets sent and received. Some programs end connections this way on purpose.",
                [p.Query(rate("netsonde_tcp_resets_total", by=("network_io_direction",), scope=HOST), DIRECTION)],
                "cps",
            ),
            p.table(
                "Flows",
                "The largest flows of the time shown: program, role, remote and port.",
                {
                    "sent": top(increase(IO, TCP, SENT, by=flow)),
                    "received": top(increase(IO, TCP, RECEIVED, by=flow)),
                    "again": increase("netsonde_tcp_retransmits_total", by=flow)
                    + f" and on ({', '.join(flow)}) "
                    + top(increase(IO, TCP, SENT, by=flow)),
                },
                {
                    BINARY: "Binary",
                    "netsonde_socket_role": "Role",
                    REMOTE: "Remote",
                    "server_port": "Port",
                    "Value #sent": ("Sent", "bytes"),
                    "Value #received": ("Received", "bytes"),
                    "Value #again": ("Segments sent again", "short"),
                },
                "Sent",
            ),
        ],
    )


def tcp_latency():
    rtt, connect = series(RTT), series(CONNECT)
    bad = p.thresholds(0.1, 0.5)
    return p.dashboard(
        "tcp-latency",
        "TCP latency",
        "Round-trip times as TCP smooths them, and times to connect: quantiles, heat maps, histograms.",
        variables(PACKETS, QUANTILE, TOP),
        [
            *[
                p.stat(
                    f"Round trip p{int(share * 100)}",
                    f"Of all samples of the smoothed round-trip time, {int(share * 100)} % are below. One sample a connection and interval, from those that received something.",
                    p.Query(quantile(share, rtt)),
                    "s",
                    bad,
                    (6, 4),
                )
                for share in (0.5, 0.95, 0.99)
            ],
            p.stat(
                "Connect p95",
                "From the first SYN to the established connection. About 1 s or 3 s means that a SYN was lost.",
                p.Query(quantile(0.95, connect)),
                "s",
                bad,
                (6, 4),
            ),
            p.heading("Round-trip time"),
            p.heatmap(
                "Heat map",
                "Samples by duration over time: two bands are two kinds of peers, a band that rises is a queue "
                "that fills.",
                added(rtt),
                (16, 10),
            ),
            p.histogram(
                "Histogram",
                "Samples by duration, in the whole time shown. Each bound is twice the one before.",
                added(rtt, "$__range"),
                (8, 10),
            ),
            p.graph(
                "Quantile by binary",
                "The chosen quantile of the round-trip time, by program.",
                [p.Query(top(quantile("$quantile", rtt, BINARY)), BY_BINARY)],
                "s",
                limits=bad,
                min=0,
            ),
            p.graph(
                "Quantile by remote",
                "The chosen quantile of the round-trip time, by the serving side's name.",
                [p.Query(top(quantile("$quantile", rtt, REMOTE)), BY_REMOTE)],
                "s",
                limits=bad,
                min=0,
            ),
            p.graph(
                "Quantiles",
                "Of all samples together.",
                [p.Query(quantile(share, rtt), f"p{int(share * 100)}") for share in (0.5, 0.9, 0.95, 0.99)],
                "s",
                min=0,
            ),
            p.graph(
                "Samples",
                "Connections that were sampled, a second: what the quantiles rest on.",
                [p.Query(rate("netsonde_tcp_rtt_seconds_count", by=(BINARY,)), BY_BINARY)],
                "cps",
            ),
            p.heading("Time to connect"),
            p.heatmap(
                "Heat map of connects",
                "Connections by the time from the first SYN to established. Bands at 1 s and 3 s are lost SYNs.",
                added(connect),
            ),
            p.histogram(
                "Histogram of connects",
                "Connections by the time that it took to establish them, in the whole time shown.",
                added(connect, "$__range"),
            ),
            p.graph(
                "Connect quantile by remote",
                "The chosen quantile of the time to connect, by the serving side's name.",
                [p.Query(top(quantile("$quantile", connect, REMOTE)), BY_REMOTE)],
                "s",
                limits=bad,
                min=0,
            ),
            p.graph(
                "Connect quantile by binary",
                "The chosen quantile of the time to connect, by program.",
                [p.Query(top(quantile("$quantile", connect, BINARY)), BY_BINARY)],
                "s",
                limits=bad,
                min=0,
            ),
        ],
    )
