"""An OTLP receiver that fails as it is told to, and shares no code with netsonde: the official Python messages behind
grpcio and http.server. Arguments: a file for what it takes, the ports for gRPC and HTTP (0 for any), and a JSON list
of answers. Each request takes the next answer; without one it is taken. Prints one line of JSON with its ports when it
listens. A request is written down, as one line of proto3 JSON, just before it is answered as taken; one that meets
another fate leaves no trace. Further answers come as JSON lists, one a line, on standard input, with whose end it ends.

A fifth argument is a directory with certificate.pem and key.pem: then both speak TLS.

Answers: "take"; {"status": 503, "retry_after": "1"} (with gRPC the code that a gateway makes of it, and RetryInfo);
{"refuse": true}; {"reject": n} (partial success); "die" (at once, without a word); {"stall": seconds} (and no answer); {"hold": seconds} (taken at once, and answered so
late);
{"too_large": bytes} (refuses requests above that size, and stays in force).
"""

import gzip
import http.server
import json
import os
import ssl
import sys
import threading
import time
from concurrent import futures

import grpc
from google.protobuf import json_format
from google.protobuf import any_pb2, duration_pb2
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc

output = open(sys.argv[1], "a")
answers = json.loads(sys.argv[4])
limit = None
lock = threading.Lock()


def next_answer(size):
    """The fate of a request of so many bytes, or None when it is too large."""
    global limit
    with lock:
        while answers and isinstance(answers[0], dict) and "too_large" in answers[0]:
            limit = answers.pop(0)["too_large"]
        if limit is not None and size > limit:
            return None
        return answers.pop(0) if answers else "take"


def take(request):
    text = json_format.MessageToJson(request, indent=None, use_integers_for_enums=True)
    with lock:
        print(text, file=output, flush=True)


def drop_some(request, count):
    """Leaves out the first points or records, as a collector that rejects them does."""
    for resource in getattr(request, "resource_logs", []):
        for scope in resource.scope_logs:
            while count and scope.log_records:
                del scope.log_records[0]
                count -= 1
    for resource in getattr(request, "resource_metrics", []):
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                points = getattr(metric, metric.WhichOneof("data")).data_points
                while count and points:
                    del points[0]
                    count -= 1


def field(number, kind, payload):
    return bytes([number << 3 | kind, len(payload)]) + payload if kind == 2 else bytes([number << 3, payload])


def retry_details(code, seconds):
    """google.rpc.Status with a RetryInfo, by hand: its messages are in no package that we use."""
    info = field(1, 2, duration_pb2.Duration(seconds=seconds).SerializeToString())
    packed = any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info).SerializeToString()
    return field(1, 0, code) + field(3, 2, packed)


def partial(response, count):
    name = "rejected_log_records" if hasattr(response.partial_success, "rejected_log_records") else "rejected_data_points"
    setattr(response.partial_success, name, count)
    response.partial_success.error_message = "not these"
    return response


def over_grpc(request, context, response):
    answer = next_answer(request.ByteSize())
    if answer is None:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "grpc: received message larger than max")
    if answer == "die":
        os._exit(9)
    if isinstance(answer, dict):
        if "stall" in answer:
            time.sleep(answer["stall"])
            context.abort(grpc.StatusCode.UNAVAILABLE, "too late")
        if "refuse" in answer:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "never")
        if "reject" in answer:
            drop_some(request, answer["reject"])
            partial(response, answer["reject"])
        if "status" in answer:
            code = grpc.StatusCode.RESOURCE_EXHAUSTED if answer["status"] == 429 else grpc.StatusCode.UNAVAILABLE
            details = retry_details(code.value[0], int(answer["retry_after"]))
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
            context.abort(code, "later")
    take(request)
    if isinstance(answer, dict) and "hold" in answer:
        time.sleep(answer["hold"])
    return response


class Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def Export(self, request, context):
        return over_grpc(request, context, metrics_service_pb2.ExportMetricsServiceResponse())


class Logs(logs_service_pb2_grpc.LogsServiceServicer):
    def Export(self, request, context):
        return over_grpc(request, context, logs_service_pb2.ExportLogsServiceResponse())


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    messages = {
        "/v1/metrics": (
            metrics_service_pb2.ExportMetricsServiceRequest,
            metrics_service_pb2.ExportMetricsServiceResponse,
        ),
        "/v1/logs": (logs_service_pb2.ExportLogsServiceRequest, logs_service_pb2.ExportLogsServiceResponse),
    }

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        self.send_header("Content-Type", "application/x-protobuf")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        body = self.rfile.read(length)
        if len(body) < length:
            self.close_connection = True
            return
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        request_type, response_type = self.messages[self.path]
        request, response = request_type.FromString(body), response_type()
        answer = next_answer(len(body))
        if answer is None:
            return self.answer(413)
        if answer == "die":
            os._exit(9)
        if isinstance(answer, dict):
            if "stall" in answer:
                time.sleep(answer["stall"])
                self.close_connection = True
                return
            if "refuse" in answer:
                return self.answer(400)
            if "status" in answer:
                return self.answer(answer["status"], headers=[("Retry-After", answer["retry_after"])])
            if "reject" in answer:
                drop_some(request, answer["reject"])
                partial(response, answer["reject"])
        take(request)
        if isinstance(answer, dict) and "hold" in answer:
            time.sleep(answer["hold"])
        self.answer(200, response.SerializeToString())

    def log_message(self, *arguments):
        pass


class Web(http.server.ThreadingHTTPServer):
    def handle_error(self, request, client_address):
        # A client that trusts nobody here leaves; everything else is worth a word.
        if not isinstance(sys.exc_info()[1], ssl.SSLError):
            super().handle_error(request, client_address)


def main():
    rpc = grpc.server(futures.ThreadPoolExecutor(8), options=[("grpc.so_reuseport", 0)])
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Metrics(), rpc)
    logs_service_pb2_grpc.add_LogsServiceServicer_to_server(Logs(), rpc)
    web = Web(("127.0.0.1", int(sys.argv[3])), Handler)
    address = f"127.0.0.1:{sys.argv[2]}"
    if len(sys.argv) > 5:
        certificate, key = (os.path.join(sys.argv[5], name) for name in ("certificate.pem", "key.pem"))
        credentials = grpc.ssl_server_credentials([(open(key, "rb").read(), open(certificate, "rb").read())])
        grpc_port = rpc.add_secure_port(address, credentials)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        # The handshake is the connection's own thread's matter.
        web.socket = context.wrap_socket(web.socket, server_side=True, do_handshake_on_connect=False)
    else:
        grpc_port = rpc.add_insecure_port(address)
    rpc.start()
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    print(json.dumps({"grpc": grpc_port, "http": web.server_address[1]}), flush=True)
    for line in sys.stdin:
        with lock:
            answers.extend(json.loads(line))
    os._exit(0)


main()
