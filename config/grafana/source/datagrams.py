"""The dashboards of UDP and DNS: what each asks, and what it says about it."""

import panels as p
from common import IO, PACKETS, DIRECTION, BY_BINARY, TOP, QUANTILE, variables, both_ways
from queries import (
    BINARY,
    CLIENT,
    LOOKUP,
    RECEIVED,
    REMOTE,
    SENT,
    UDP,
    added,
    increase,
    quantile,
    rate,
    ratio,
    series,
    top,
    total,
)


def udp():
    drops = "netsonde_socket_drops_total"
    return p.dashboard(
        "udp",
        "UDP",
        "Bytes, datagrams, drops and sockets of UDP, by program and by remote.",
        variables(PACKETS, TOP),
        [
            p.stat(
                "Sent",
                "Bytes of UDP payload that the chosen programs sent each second.",
                p.Query(rate(IO, UDP, SENT)),
                "Bps",
            ),
            p.stat(
                "Received",
                "Bytes of UDP payload that the chosen programs received each second.",
                p.Query(rate(IO, UDP, RECEIVED)),
                "Bps",
            ),
            p.stat("Datagrams sent", "A second.", p.Query(rate(PACKETS, UDP, SENT)), "pps"),
            p.stat("Datagrams received", "A second.", p.Query(rate(PACKETS, UDP, RECEIVED)), "pps"),
            p.stat(
                "Dropped",
                "Datagrams that reached their socket and were dropped there, of those that arrived.",
                p.Query(ratio(rate(drops), rate(PACKETS, UDP, RECEIVED))),
                "percentunit",
                p.thresholds(0.0001, 0.01),
            ),
            p.stat(
                "Sockets",
                "UDP sockets that are open and have sent or received.",
                p.Query(total(series("netsonde_udp_sockets_active"))),
                "short",
            ),
            p.heading("Traffic"),
            both_ways("By binary", "Payload bytes a second by program: sent above zero, received below.", UDP, BINARY),
            both_ways(
                "By remote", "Payload bytes a second by the serving side: sent above zero, received below.", UDP, REMOTE
            ),
            p.graph(
                "Datagrams by binary",
                "Datagrams a second, both ways.",
                [p.Query(top(rate(PACKETS, UDP, by=(BINARY, "network_io_direction"))), f"{BY_BINARY} {DIRECTION}")],
                "pps",
            ),
            p.graph(
                "QUIC by binary",
                "Payload bytes a second of what begins on port 443 as QUIC does.",
                [p.Query(top(rate(IO, UDP, 'network_protocol_name="quic"', by=(BINARY,))), BY_BINARY)],
                "Bps",
            ),
            p.heading("Drops and sockets"),
            p.graph(
                "Drops by reason",
                "SOCKET_RCVBUFF: the program reads too slowly for its receive buffer. PROTO_MEM: all memory of "
                "UDP was in use. NOT_SPECIFIED: filters, checksums and the like.",
                [p.Query(rate(drops, by=("netsonde_drop_reason",)), "{{netsonde_drop_reason}}")],
                "pps",
                (8, 8),
                stacked=True,
            ),
            p.graph(
                "Drops by binary",
                "Whose sockets drop.",
                [p.Query(top(rate(drops, by=(BINARY,))), BY_BINARY)],
                "pps",
                (8, 8),
            ),
            p.graph(
                "Sockets by binary",
                "Open sockets that have sent or received. One that only rises is a leak.",
                [p.Query(top(total(series("netsonde_udp_sockets_active"), BINARY)), BY_BINARY)],
                "short",
                (8, 8),
            ),
        ],
    )


def dns():
    client = (CLIENT,)
    count = f"{LOOKUP}_count"
    buckets = series(f"{LOOKUP}_bucket", *client)
    failing = 'error_type!="",dns_response_code!="NXDOMAIN"'
    lookups = rate(count, *client)
    return p.dashboard(
        "dns",
        "DNS",
        "Lookups as programs had them: how long, how many failed, of which names, at which resolver.",
        variables(f"{LOOKUP}_count", QUANTILE, TOP),
        [
            p.stat("Lookups", "A second, by the programs of these hosts.", p.Query(lookups), "reqps"),
            p.stat(
                "Failed",
                "Without a response, or with a code that says that the resolver could not answer. Names that do "
                "not exist are no failure.",
                p.Query(ratio(rate(count, CLIENT, failing), lookups)),
                "percentunit",
                p.thresholds(0.01, 0.05),
            ),
            p.stat(
                "Without such a name",
                "NXDOMAIN: lookups of names that do not exist.",
                p.Query(ratio(rate(count, CLIENT, 'dns_response_code="NXDOMAIN"'), lookups)),
                "percentunit",
                p.thresholds(0.2, 0.5),
            ),
            *[
                p.stat(
                    f"p{int(share * 100)}",
                    f"{int(share * 100)} % of the lookups took less. One without a response counts with dns.timeout.",
                    p.Query(quantile(share, buckets)),
                    "s",
                    p.thresholds(0.1, 1),
                )
                for share in (0.5, 0.95, 0.99)
            ],
            p.heading("How long"),
            p.heatmap(
                "Heat map",
                "Lookups by duration over time: a low band is the resolver's cache, a high one its upstream, the "
                "highest those that timed out.",
                added(buckets),
                (16, 10),
            ),
            p.histogram(
                "Histogram", "Lookups by duration, in the whole time shown.", added(buckets, "$__range"), (8, 10)
            ),
            p.graph(
                "Quantile by binary",
                "The chosen quantile of a lookup's duration, by program.",
                [p.Query(top(quantile("$quantile", buckets, BINARY)), BY_BINARY)],
                "s",
                min=0,
            ),
            p.graph(
                "Quantile by resolver",
                "The chosen quantile of a lookup's duration, by the resolver that was asked.",
                [p.Query(top(quantile("$quantile", buckets, "network_peer_address")), "{{network_peer_address}}")],
                "s",
                min=0,
            ),
            p.heading("What was asked"),
            p.graph(
                "Lookups by binary",
                "A second, by program.",
                [p.Query(top(rate(count, *client, by=(BINARY,))), BY_BINARY)],
                "reqps",
                (8, 8),
            ),
            p.graph(
                "Lookups by type",
                "A second, by the type of record.",
                [p.Query(rate(count, *client, by=("dns_question_type",)), "{{dns_question_type}}")],
                "reqps",
                (8, 8),
                stacked=True,
            ),
            p.graph(
                "Lookups by name",
                "A second, by name; dns.question_names and dns.suffixes bound how many there are.",
                [p.Query(top(rate(count, *client, by=("dns_question_name",))), "{{dns_question_name}}")],
                "reqps",
                (8, 8),
            ),
            p.heading("What went wrong"),
            p.graph(
                "Responses by code",
                "A second. The series without a code had no response.",
                [p.Query(rate(count, *client, by=("dns_response_code",)), "{{dns_response_code}}")],
                "reqps",
                (8, 8),
                stacked=True,
            ),
            p.graph(
                "Errors by resolver",
                "Timeouts and codes other than NOERROR and NXDOMAIN, a second.",
                [
                    p.Query(
                        rate(count, CLIENT, failing, by=("network_peer_address", "error_type")),
                        "{{network_peer_address}} {{error_type}}",
                    )
                ],
                "reqps",
                (8, 8),
            ),
            p.graph(
                "Made by search suffixes",
                "Lookups of names that do not exist and end in a search suffix of resolv.conf: the resolver "
                "library made them.",
                [
                    p.Query(
                        rate(count, CLIENT, 'netsonde_dns_search_suffix!=""', by=("netsonde_dns_search_suffix",)),
                        "{{netsonde_dns_search_suffix}}",
                    )
                ],
                "reqps",
                (8, 8),
            ),
            p.table(
                "Names that fail",
                "Names with an error in the time shown, by program; timeout stands for no response.",
                {
                    "failed": top(
                        increase(count, CLIENT, 'error_type!=""', by=("dns_question_name", "error_type", BINARY))
                    ),
                },
                {
                    "dns_question_name": "Name",
                    "error_type": "Error",
                    BINARY: "Binary",
                    "Value #failed": ("Lookups", "short"),
                },
                "Lookups",
            ),
        ],
    )
