"""Sends one hand-made OTLP metrics request over gRPC and one logs request over gzipped HTTP, to prove the receivers
that the tests use. Arguments: the gRPC port and the HTTP port."""

import gzip
import sys
import urllib.request

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc


def main():
    metrics = metrics_service_pb2.ExportMetricsServiceRequest()
    metric = metrics.resource_metrics.add().scope_metrics.add().metrics.add(name="example.bytes", unit="By")
    metric.sum.is_monotonic = True
    metric.sum.aggregation_temporality = 2
    point = metric.sum.data_points.add(as_int=123456789, start_time_unix_nano=1, time_unix_nano=2)
    point.attributes.add(key="side").value.string_value = "left"

    logs = logs_service_pb2.ExportLogsServiceRequest()
    record = logs.resource_logs.add().scope_logs.add().log_records.add(event_name="example.event", time_unix_nano=3)
    record.attributes.add(key="number").value.int_value = 77

    channel = grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}")
    metrics_service_pb2_grpc.MetricsServiceStub(channel).Export(metrics, timeout=10)
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    url = f"http://127.0.0.1:{sys.argv[2]}/v1/logs"
    request = urllib.request.Request(url, gzip.compress(logs.SerializeToString()), headers)
    urllib.request.urlopen(request, timeout=10).read()


main()
