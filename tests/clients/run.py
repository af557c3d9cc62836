"""Starts a server with a capture relay and TLS before it, and runs the smoke of each client library.

Usage: run.py POSTROOM SCRIPT...   A script ends with .py (run by this Python) or .mjs (run by node).
"""

import json
import os
import shutil
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from email.message import EmailMessage
from pathlib import Path

HERE = Path(__file__).resolve().parent
TLS = HERE.parent / "support" / "relay_tls"
USER, PASSWORD = "ann@x.example", "a long secret of Ann's"


class Relay(threading.Thread):
    """A relay that takes everything and keeps it."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.messages = []

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def run(self):
        while True:
            stream, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        with stream, stream.makefile("rb") as lines:
            stream.sendall(b"220 relay\r\n")
            for line in lines:
                command = line.strip().upper()
                if command.startswith(b"DATA"):
                    stream.sendall(b"354 go on\r\n")
                    content = b""
                    for part in lines:
                        if part == b".\r\n":
                            break
                        content += part.removeprefix(b".")
                    self.messages.append(content)
                if command.startswith(b"QUIT"):
                    stream.sendall(b"221 bye\r\n")
                    return
                stream.sendall(b"250 ok\r\n")

    def count(self, subject):
        return sum(f"Subject: {subject}\r\n".encode() in message for message in self.messages)


class Tls(threading.Thread):
    """TLS in front of a plain listener."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(TLS / "relay.pem", TLS / "relay-key.pem")
        self.behind = None

    @property
    def port(self):
        return self.listener.getsockname()[1]

    def run(self):
        while True:
            stream, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(stream,), daemon=True).start()

    def serve(self, stream):
        try:
            with self.context.wrap_socket(stream, server_side=True) as front:
                with socket.create_connection(self.behind) as back:
                    other = threading.Thread(target=pump, args=(back, front), daemon=True)
                    other.start()
                    pump(front, back)
                    other.join()
        except OSError:
            pass  # The client has left.


def pump(source, target):
    try:
        while octets := source.recv(65536):
            target.sendall(octets)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # One of the two has left.


def wait_until(what, holds, seconds=30):
    end = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > end:
            sys.exit(f"{what} did not happen")
        time.sleep(0.05)


def deliver(smtp, number):
    message = EmailMessage()
    message["From"] = "Marta Lindqvist <marta@customer.example>"
    message["To"] = USER
    message["Subject"] = f"Question {number}"
    message["Message-ID"] = f"<question-{number}@customer.example>"
    message.set_content(f"Is this number {number}? Grüße")
    host, port = smtp.rsplit(":", 1)
    with smtplib.SMTP(host, int(port)) as gateway:
        gateway.send_message(message)


def main():
    postroom, scripts = sys.argv[1], sys.argv[2:]
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        relay, tls = Relay(), Tls()
        config = Path(folder) / "config.toml"
        config.write_text(f'base_url = "https://localhost:{tls.port}"\n')
        server = subprocess.Popen(
            [postroom, "serve", "--config", config, "--data", data, "--http", "127.0.0.1:0", "--smtp",
             "127.0.0.1:0", "--relay", f"smtp://127.0.0.1:{relay.port}"]
        )
        try:
            addresses = data / "addresses.json"
            wait_until("the start of the server", addresses.exists)
            wait_until("the list of addresses", lambda: addresses.read_text().strip().endswith("}"))
            told = json.loads(addresses.read_text())
            host, port = told["http"].rsplit(":", 1)
            tls.behind = (host, int(port))
            relay.start()
            tls.start()
            run_scripts(postroom, data, told["smtp"], tls.port, relay, scripts)
        finally:
            server.terminate()
            server.wait()


def run_scripts(postroom, data, smtp, port, relay, scripts):
    def command(*arguments, given=""):
        done = subprocess.run(
            [postroom, *arguments, "--json", "--data", data], input=given, text=True, check=True,
            stdout=subprocess.PIPE
        )
        return json.loads(done.stdout)

    command("person", "add", USER, "--name", "Ann", "--password-stdin", given=PASSWORD + "\n")
    token = command("app-password", "add", USER, "--label", "smoke")["secret"]
    for number in range(1, 4):
        deliver(smtp, number)
    authority = str(TLS / "ca.pem")
    for script in scripts:
        subject = f"Sent by {Path(script).stem}"
        environment = {
            **os.environ, "JMAP_HOST": f"localhost:{port}", "JMAP_USER": USER, "JMAP_PASSWORD": PASSWORD,
            "JMAP_TOKEN": token, "JMAP_SUBJECT": subject, "REQUESTS_CA_BUNDLE": authority,
            "SSL_CERT_FILE": authority, "NODE_EXTRA_CA_CERTS": authority,
        }
        program = sys.executable if script.endswith(".py") else shutil.which("node")
        if program is None:
            print(f"{script}: skipped, there is no node")
            continue
        subprocess.run([program, HERE / script], env=environment, check=True, timeout=120)
        wait_until(f"the message of {script}", lambda: relay.count(subject) > 0)
        if relay.count(subject) != 1:
            sys.exit(f"{script}: the relay got {relay.count(subject)} messages")
        print(f"{script}: ok")


main()
