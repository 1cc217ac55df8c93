"""ClickHouse's HTTP interface over one embedded session of chdb.

Usage: server.py ADDRESS PORT DATA_FOLDER [CERTIFICATE KEY]

With a certificate and its key, both PEM files, it speaks TLS.

Takes what a server's HTTP interface takes: the query in the parameter `query`, in the body, or its first part in the
parameter and its data in the body; `database`, `default_format` and settings as parameters; gzip. Queries run one at a
time. Formats are text: a body must be UTF-8.
"""

import gzip
import re
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import absent  # noqa: F401
from chdb import session  # noqa: E402

CLIENT_PARAMETERS = {
    "query",
    "database",
    "default_format",
    "query_id",
    "session_id",
    "user",
    "password",
    "wait_end_of_query",
    "compress",
    "decompress",
    "enable_http_compression",
    "send_progress_in_http_headers",
}
# Code of an exception: HTTP status of a server; every other code is 500.
STATUS = {60: 404, 81: 404, 62: 400, 26: 400, 27: 400, 36: 400, 38: 400, 41: 400, 47: 404, 53: 400, 72: 400, 117: 400}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    lock = threading.Lock()

    def do_GET(self):
        self.handle_query(b"")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.handle_query(body)

    def handle_query(self, body):
        url = urlsplit(self.path)
        parameters = dict(parse_qsl(url.query, keep_blank_values=True))
        if url.path == "/ping" or (url.path == "/" and not body and "query" not in parameters):
            self.reply(200, b"Ok.\n")
            return
        query = parameters.get("query", "")
        text = body.decode()
        query = f"{query}\n{text}" if query and text else query or text
        output = parameters.get("default_format", "TabSeparated")
        settings = {name: value for name, value in parameters.items() if name not in CLIENT_PARAMETERS}
        try:
            with self.lock:
                session = self.server.session
                session.query(f"USE {identifier(parameters.get('database', 'default'))}")
                for name, value in settings.items():
                    session.query(f"SET {identifier(name)} = {literal(value)}")
                result = session.query(query, output).bytes()
                for name in settings:
                    session.query(f"SET {identifier(name)} = DEFAULT")
        except Exception as error:
            found = re.search(r"Code: (\d+)", str(error))
            code = int(found[1]) if found else 0
            self.reply(STATUS.get(code, 500), f"{error}\n".encode(), code)
            return
        self.reply(200, result)

    def reply(self, status, body, code=None):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=UTF-8")
        self.send_header("Content-Length", str(len(body)))
        if code is not None:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format, *arguments):
        pass


def identifier(name):
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def literal(value):
    return value if re.fullmatch(r"\d+", value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def main():
    address, port, folder, *identity = sys.argv[1:]
    server = ThreadingHTTPServer((address, int(port)), Handler)
    if identity:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*identity)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.session = session.Session(folder)
    server.serve_forever()


main()
