"""The dashboards of listening ports and of netsonde itself."""

import panels as p
from common import TOP, variables
from queries import BINARY, HOST, increase, rate, ratio, series, top, total

LISTENERS = "netsonde_listeners"
LOSSES = "netsonde_self_losses_total"
ITEMS = "netsonde_self_export_items_total"
LANE = ("host_name", "netsonde_export_destination", "netsonde_export_signal")
LANE_NAME = "{{host_name}} {{netsonde_export_destination}} {{netsonde_export_signal}}"
NOT_WELL = 'netsonde_signal_state=~"degraded|unsupported|failed"'
EXPOSED = 'netsonde_address_class=~"any|public"'


def listening_ports():
    who = ("host_name", BINARY, "network_transport", "server_port", "netsonde_address_class")
    count = total(series(LISTENERS), *who)
    before = total(f"{series(LISTENERS)} offset $since", *who)
    violations = "netsonde_listen_violations_total"
    since = p.choice("since", "New since", ["10m", "1h", "1d", "7d"], "1d")
    return p.dashboard(
        "listening-ports",
        "Listening ports",
        "What listens on which host, how far it can be reached, what is new, and what the audit's rules deny.",
        variables(LISTENERS, since, TOP),
        [
            p.stat(
                "Listening sockets",
                "TCP sockets that listen, and UDP sockets that are bound and not connected.",
                p.Query(total(series(LISTENERS))),
                "short",
                size=(6, 4),
            ),
            p.stat(
                "Reachable from outside",
                "Of these, bound to a public address or to all addresses. A firewall may still keep others out.",
                p.Query(total(series(LISTENERS, EXPOSED))),
                "short",
                size=(6, 4),
            ),
            p.stat(
                "New",
                "Listeners (program, port, reach) that were not there before; the variable says since when.",
                p.Query(f"count({count} unless {before}) or vector(0)"),
                "short",
                p.thresholds(1),
                (6, 4),
            ),
            p.stat(
                "Violations",
                "Listeners that the audit's rules denied, in the time shown.",
                p.now(increase(violations, scope=HOST)),
                "short",
                p.thresholds(None, 1),
                (6, 4),
                decimals=0,
            ),
            p.table(
                "What listens",
                "Each listener, with its program, its unit and how far its address reaches.",
                {
                    "count": total(series(LISTENERS), *who, "server_address", "systemd_unit", "process_user_name"),
                },
                {
                    "host_name": "Host",
                    BINARY: "Binary",
                    "network_transport": "Transport",
                    "server_address": "Address",
                    "server_port": "Port",
                    "netsonde_address_class": "Reach",
                    "systemd_unit": "Unit",
                    "process_user_name": "User",
                    "Value #count": ("Sockets", "short"),
                },
                "Sockets",
                (24, 12),
            ),
            p.table(
                "New listeners",
                "Program, port and reach that were not there before; the variable says since when.",
                {"new": f"{count} unless {before}"},
                {
                    "host_name": "Host",
                    BINARY: "Binary",
                    "network_transport": "Transport",
                    "server_port": "Port",
                    "netsonde_address_class": "Reach",
                    "Value #new": ("Sockets", "short"),
                },
                "Sockets",
                (12, 9),
            ),
            p.graph(
                "Violations by rule",
                "Listeners that each rule of the audit denied, each counted once.",
                [
                    p.Query(
                        increase(
                            violations, by=("host_name", "netsonde_audit_rule"), scope=HOST, window="$__rate_interval"
                        ),
                        "{{host_name}} {{netsonde_audit_rule}}",
                    )
                ],
                "short",
                (12, 9),
                decimals=0,
            ),
            p.graph(
                "By reach",
                "Listening sockets by how far their address reaches.",
                [p.Query(total(series(LISTENERS), "netsonde_address_class"), "{{netsonde_address_class}}")],
                "short",
                stacked=True,
            ),
            p.graph(
                "By binary",
                "Listening sockets by program. One that only rises is a leak.",
                [p.Query(top(total(series(LISTENERS), BINARY)), f"{{{{{BINARY}}}}}")],
                "short",
            ),
        ],
    )


def itself():
    def self_(name, *matchers):
        return series(f"netsonde_self_{name}", *matchers, scope=HOST)

    def level(title, description, name, unit, legend="{{host_name}}", size=(8, 8), **more):
        return p.graph(title, description, [p.Query(self_(name), legend)], unit, size, **more)

    lost = rate(ITEMS, 'netsonde_export_outcome!="delivered"', scope=HOST)
    warning = p.thresholds(0.8, 0.95)
    return p.dashboard(
        "itself",
        "netsonde itself",
        "How netsonde is doing: signals, losses, tables, memory, exports, and what it costs.",
        [p.variable("host", "Host", "netsonde_self_sweep_sockets", "host_name")],
        [
            p.stat(
                "Hosts",
                "Hosts whose netsonde has reported lately.",
                p.Query(f"count({total(self_('sweep_sockets'), 'host_name')})"),
                "short",
            ),
            p.stat(
                "Signals not active",
                "Signals that are degraded, unsupported or failed; the table below says which.",
                p.Query(f'sum({self_("signal_state", NOT_WELL)}) or vector(0)'),
                "short",
                p.thresholds(1),
            ),
            p.stat(
                "Lost in the kernel",
                "Records and measurements a second that could not be written as meant, for all reasons.",
                p.Query(rate(LOSSES, scope=HOST)),
                "cps",
                p.thresholds(0.001, 10),
            ),
            p.stat(
                "Not delivered",
                "Points and records that no destination will get, of all whose fate is known.",
                p.Query(ratio(lost, rate(ITEMS, scope=HOST))),
                "percentunit",
                p.thresholds(0.0001, 0.01),
            ),
            p.stat(
                "Oldest in the spool",
                "How long the oldest request waits for a collector.",
                p.Query(f"max({self_('spool_age_seconds')})"),
                "s",
                p.thresholds(60, 600),
            ),
            p.stat(
                "Memory at most",
                "The netsonde that uses most.",
                p.Query(f"max({self_('memory_usage_bytes')})"),
                "bytes",
            ),
            p.heading("Signals and losses"),
            p.table(
                "Signals",
                "The state of each signal; netsonde status says why.",
                {"state": total(self_("signal_state"), "host_name", "netsonde_signal_name", "netsonde_signal_state")},
                {
                    "host_name": "Host",
                    "netsonde_signal_name": "Signal",
                    "netsonde_signal_state": "State",
                },
                "State",
                (8, 9),
            ),
            p.graph(
                "Losses by reason",
                "A second. docs/reference/metrics.md says what each reason means, the guide what to do.",
                [p.Query(rate(LOSSES, by=("netsonde_loss_reason",), scope=HOST), "{{netsonde_loss_reason}}")],
                "cps",
                (8, 9),
            ),
            p.graph(
                "Without a program",
                "Sockets for which the last sweep knew no process, and records a second whose process nobody "
                "could name any more.",
                [
                    p.Query(total(self_("sockets_unowned")), "sockets"),
                    p.Query(rate("netsonde_self_unattributed_total", scope=HOST), "records a second"),
                ],
                "short",
                (8, 9),
            ),
            p.heading("Sweeps and tables"),
            level(
                "Sweep duration",
                "From the first socket to the last drained flow. Each sweep holds one thread for as long.",
                "sweep_duration_seconds",
                "s",
            ),
            level("Sockets", "That the last sweep met.", "sweep_sockets", "short"),
            level(
                "Lag",
                "How old the oldest record was when it was taken in. Above the interval, netsonde gets too little"
                " of the processor.",
                "lag_seconds",
                "s",
            ),
            p.graph(
                "Fill of tables",
                "Of the tables that have a limit, how full the fullest are.",
                [
                    p.Query(
                        f"topk(10, {self_('table_usage')} / {self_('table_limit')})",
                        "{{host_name}} {{netsonde_table_name}}",
                    ),
                    p.Query(f"{self_('flows_usage')} / {self_('flows_limit')}", "{{host_name}} flows"),
                    p.Query(f"{self_('processes_usage')} / {self_('processes_limit')}", "{{host_name}} processes"),
                ],
                "percentunit",
                (8, 9),
                warning,
                min=0,
            ),
            p.graph(
                "Fill of rings",
                "The most that waited in each ring between two exports.",
                [
                    p.Query(
                        f"{self_('ring_usage_bytes')} / {self_('ring_limit_bytes')}",
                        "{{host_name}} {{netsonde_ring_name}}",
                    )
                ],
                "percentunit",
                (8, 9),
                warning,
                min=0,
            ),
            p.graph(
                "Series",
                "Held, of those allowed. Above the limit, flows fold into one series a metric.",
                [p.Query(f"{self_('series_usage')} / {self_('series_limit')}", "{{host_name}}")],
                "percentunit",
                (8, 9),
                warning,
                min=0,
            ),
            p.heading("Export"),
            p.graph(
                "Items by outcome",
                "Metric points and log records a second, by what became of them.",
                [
                    p.Query(
                        rate(
                            ITEMS,
                            by=("netsonde_export_destination", "netsonde_export_signal", "netsonde_export_outcome"),
                            scope=HOST,
                        ),
                        "{{netsonde_export_destination}} {{netsonde_export_signal}} {{netsonde_export_outcome}}",
                    )
                ],
                "cps",
            ),
            p.graph(
                "Waiting",
                "Bytes of encoded requests that wait for each destination, in memory and in the spool.",
                [p.Query(total(self_("export_queue_bytes"), *LANE), LANE_NAME)],
                "bytes",
            ),
            p.graph(
                "Age of the spool",
                "How long the oldest request has waited. It rises while a collector is away.",
                [p.Query(f"max by ({', '.join(LANE)}) ({self_('spool_age_seconds')})", LANE_NAME)],
                "s",
            ),
            p.graph(
                "Fill of the spool",
                "When a spool is full, its oldest requests go.",
                [p.Query(f"{self_('spool_usage_bytes')} / {self_('spool_limit_bytes')}", LANE_NAME)],
                "percentunit",
                limits=warning,
                min=0,
            ),
            p.heading("What it costs"),
            p.graph(
                "Memory",
                "In use, and its limit where there is one.",
                [
                    p.Query(self_("memory_usage_bytes"), "{{host_name}}"),
                    p.Query(self_("memory_limit_bytes"), "{{host_name}} limit"),
                ],
                "bytes",
            ),
            level(
                "Memory stage",
                "How much detail is let go of because memory runs short: 0 for none.",
                "memory_stage",
                "short",
                size=(12, 8),
                limits=p.thresholds(1, 3),
                min=0,
                max=5,
            ),
            p.graph(
                "Time in BPF programs",
                "Share of one processor. Only measured with self.program_statistics; flat at zero without.",
                [
                    p.Query(
                        f"topk(10, {rate('netsonde_self_program_run_time_seconds_total', by=('netsonde_program_name',), scope=HOST)})",
                        "{{netsonde_program_name}}",
                    )
                ],
                "percentunit",
                min=0,
            ),
            p.graph(
                "Runs of BPF programs",
                "A second. Only counted with self.program_statistics.",
                [
                    p.Query(
                        f"topk(10, {rate('netsonde_self_program_runs_total', by=('netsonde_program_name',), scope=HOST)})",
                        "{{netsonde_program_name}}",
                    )
                ],
                "cps",
            ),
            p.graph(
                "DNS lookups by outcome",
                "As netsonde followed them, a second.",
                [
                    p.Query(
                        rate("netsonde_self_dns_lookups_total", by=("netsonde_dns_lookup_outcome",), scope=HOST),
                        "{{netsonde_dns_lookup_outcome}}",
                    )
                ],
                "cps",
            ),
            p.graph(
                "Requests to the API",
                "That the local API has answered, a second.",
                [p.Query(rate("netsonde_self_api_requests_total", by=("host_name",), scope=HOST), "{{host_name}}")],
                "reqps",
            ),
        ],
    )
