"""Parses a file of OTLP/JSON lines with the official messages; an unknown field or a wrong type is an error. Prints
how many requests, points and records there were. 64-bit integers must be strings, and ids hex, as the OTLP
specification has it (json_format alone takes more)."""

import json
import sys

from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

LONG = {"asInt", "intValue", "timeUnixNano", "startTimeUnixNano", "observedTimeUnixNano", "count"}
IDS = {"traceId": 32, "spanId": 16}


def check(value, where):
    if isinstance(value, list):
        for index, element in enumerate(value):
            check(element, f"{where}[{index}]")
    elif isinstance(value, dict):
        for name, inner in value.items():
            place = f"{where}.{name}"
            if name in LONG and not isinstance(inner, str):
                sys.exit(f"{place} is a 64-bit integer but no string: {inner!r}")
            if name == "bucketCounts" and not all(isinstance(count, str) for count in inner):
                sys.exit(f"{place} holds 64-bit integers that are no strings: {inner!r}")
            if name in IDS and inner and (len(inner) != IDS[name] or set(inner) - set("0123456789abcdefABCDEF")):
                sys.exit(f"{place} is no hex id: {inner!r}")
            check(inner, place)


def main():
    counts = {"metric_requests": 0, "log_requests": 0, "points": 0, "records": 0}
    with open(sys.argv[1]) as lines:
        for number, line in enumerate(lines, 1):
            raw = json.loads(line)
            check(raw, f"line {number}")
            if "resourceMetrics" in raw:
                request = json_format.Parse(line, ExportMetricsServiceRequest(), ignore_unknown_fields=False)
                counts["metric_requests"] += 1
                for resource in request.resource_metrics:
                    for scope in resource.scope_metrics:
                        for metric in scope.metrics:
                            counts["points"] += len(getattr(metric, metric.WhichOneof("data")).data_points)
            else:
                request = json_format.Parse(line, ExportLogsServiceRequest(), ignore_unknown_fields=False)
                counts["log_requests"] += 1
                for resource in request.resource_logs:
                    counts["records"] += sum(len(scope.log_records) for scope in resource.scope_logs)
    print(json.dumps(counts))


main()
