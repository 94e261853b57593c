"""An OTLP receiver that shares no code with netsonde: the official Python messages behind grpcio and http.server.
Prints one JSON line with its ports, then writes every request to the file named by its argument, as one line of
proto3 JSON. Unknown fields are an error, so that nothing netsonde sends goes unread. Ends with its standard input."""

import gzip
import http.server
import json
import sys
import threading
from concurrent import futures

import grpc
from google.protobuf import json_format
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

output = open(sys.argv[1], "w")
lock = threading.Lock()


def write(request):
    text = json_format.MessageToJson(request, indent=None, use_integers_for_enums=True)
    # What the messages of this version do not know would be lost in the JSON: parse that again and compare bytes.
    again = json_format.Parse(text, type(request)())
    if again.SerializeToString(deterministic=True) != request.SerializeToString(deterministic=True):
        text = json.dumps({"error": "a request with fields that its messages do not know", "request": text})
    with lock:
        print(text, file=output, flush=True)


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        write(request)
        return metrics_service_pb2.ExportMetricsServiceResponse()


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, context):
        write(request)
        return logs_service_pb2.ExportLogsServiceResponse()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    messages = {
        "/v1/metrics": metrics_service_pb2.ExportMetricsServiceRequest,
        "/v1/logs": logs_service_pb2.ExportLogsServiceRequest,
    }

    def body(self):
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers["Content-Length"]))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def do_POST(self):
        body = self.body()
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        known = self.path in self.messages and self.headers["Content-Type"] == "application/x-protobuf"
        if known:
            write(self.messages[self.path].FromString(body))
        self.send_response(200 if known else 400)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def main():
    rpc = grpc.server(futures.ThreadPoolExecutor(2))
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), rpc)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), rpc)
    grpc_port = rpc.add_insecure_port("127.0.0.1:0")
    rpc.start()
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    print(json.dumps({"grpc": grpc_port, "http": web.server_address[1]}), flush=True)
    sys.stdin.read()
    rpc.stop(1).wait()


main()
