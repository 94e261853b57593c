"""PromQL that several dashboards share: which series a dashboard is about, rates, ratios and quantiles.

Names of metrics and labels are those that Prometheus gives to OTLP; docs/reference/metrics.md has them.
"""

WINDOW = "$__rate_interval"
HOST = 'host_name=~"$host"'
FLOW = ",".join(
    [
        HOST,
        'process_executable_path=~"$binary"',
        'systemd_unit=~"$unit"',
        'container_id=~"$container"',
        'server_address=~"$remote"',
    ]
)
BINARY = "process_executable_path"
REMOTE = "server_address"
SENT, RECEIVED = 'network_io_direction="transmit"', 'network_io_direction="receive"'
TCP, UDP = 'network_transport="tcp"', 'network_transport="udp"'
CLIENT = 'netsonde_socket_role="client"'

RTT = "netsonde_tcp_rtt_seconds_bucket"
CONNECT = "netsonde_tcp_connect_duration_seconds_bucket"
LOOKUP = "dns_lookup_duration_seconds"


def series(metric, *matchers, scope=FLOW):
    return f"{metric}{{{','.join([scope, *matchers])}}}"


def total(expression, *by):
    return f"sum by ({', '.join(by)}) ({expression})" if by else f"sum({expression})"


def rate(metric, *matchers, by=(), scope=FLOW, window=WINDOW):
    """What is added a second, summed by labels."""
    return total(f"rate({series(metric, *matchers, scope=scope)}[{window}])", *by)


def increase(metric, *matchers, by=(), scope=FLOW, window="$__range"):
    """What was added, summed by labels."""
    return total(f"increase({series(metric, *matchers, scope=scope)}[{window}])", *by)


def top(expression):
    """The largest; how many is the reader's choice."""
    return f"topk($top, {expression})"


def ratio(part, whole):
    """A part of a whole, where there is a whole."""
    return f"{part} / ({whole} > 0)"


def quantile(share, buckets, *by):
    """Of a rate of buckets of seconds."""
    return f"histogram_quantile({share}, {total(f'rate({buckets}[{WINDOW}])', 'le', *by)})"


def added(buckets, window=WINDOW):
    """What came to each bucket."""
    return total(f"increase({buckets}[{window}])", "le")


def retransmit_ratio(by=(), window=WINDOW):
    """Segments of data that were sent again, of all that were sent."""
    again = rate("netsonde_tcp_retransmits_total", 'netsonde_tcp_retransmit_kind="data"', by=by, window=window)
    return ratio(again, rate("netsonde_flow_packets_total", TCP, SENT, by=by, window=window))


def failure_ratio(by=(), window=WINDOW):
    """Connections that failed, of those that this side began: a connection is opened once it is established, or failed."""
    failed = series("netsonde_tcp_connection_failures_total", CLIENT, 'error_type!="aborted"')
    opened = series("netsonde_tcp_connections_total", 'netsonde_connection_event="opened"')
    begun = total(f"rate({opened}[{window}]) or rate({failed}[{window}])", *by)
    return ratio(total(f"rate({failed}[{window}])", *by), begun)
