#!/usr/bin/env python3
"""Hostile senders against `up` on loopback, with a legitimate sender beside them.

Starts the given binary in a temporary directory under a low limit of files, plays each kind of attack for a bounded
time with a bounded number of connections, and prints what was held and what the legitimate sender saw. Nothing leaves
this machine. Needs Python alone.
"""

import argparse
import asyncio
import base64
import hashlib
import hmac
import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

SECRET, ROBOT = "app-secret-of-the-run", "hostile"
HOOK = f"/api/dingtalk/webhook/{ROBOT}"
SLOW = {
    "silent": (b"", b""),
    "half a line": (b"POST /x", b""),
    "head drips": (b"POST /x HTTP/1.1\r\n", b"a: b\r\n"),
    "head stops": (b"POST /x HTTP/1.1\r\nHost: a\r\n", b""),
    "body stops": (b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n%s\r\nx", b""),
    "body drips": (b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n%s\r\n", b"x"),
    "chunks drip": (b"POST %s HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n%s\r\n", b"1\r\nx\r\n"),
}


def port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def signed():
    stamp = str(int(time.time() * 1000))
    tag = hmac.new(SECRET.encode(), f"{stamp}\n{SECRET}".encode(), hashlib.sha256).digest()
    return {"timestamp": stamp, "sign": base64.b64encode(tag).decode()}


def message(number):
    return json.dumps({
        "msgId": f"m{number}", "msgtype": "text", "text": {"content": "hello"}, "conversationId": "cid1",
        "conversationType": "1", "senderId": "s1", "senderNick": "N", "createAt": 1, "robotCode": ROBOT,
        "chatbotUserId": "r1",
    })


def sender(edge, seconds, first):
    """Sends signed callbacks, each on its own connection; prints [code, seconds] for each."""
    seen, end = [], time.monotonic() + seconds
    while time.monotonic() < end:
        begun, code = time.monotonic(), "none"
        try:
            connection = http.client.HTTPConnection("127.0.0.1", edge, timeout=5)
            headers = {**signed(), "Content-Type": "application/json"}
            connection.request("POST", HOOK, message(first + len(seen)), headers)
            code = str(connection.getresponse().status)
            connection.close()
        except OSError:
            pass
        except http.client.HTTPException:
            pass
        seen.append([code, time.monotonic() - begun])
        time.sleep(0.05)
    print(json.dumps(seen))


class Up:
    def __init__(self, binary, files):
        self.home = tempfile.TemporaryDirectory()
        self.edge, self.console, self.health = port(), port(), port()
        ports = {"EDGE": self.edge, "CONSOLE": self.console, "HEALTH": self.health}
        env = {f"DT_{name}_ADDR": f"127.0.0.1:{number}" for name, number in ports.items()}
        env |= {"DT_DATA_DIR": f"{self.home.name}/data", "PATH": os.environ.get("PATH", ""), "DT_LOG": "warn"}
        if "DT_NATS_SERVER" in os.environ:
            env["DT_NATS_SERVER"] = os.environ["DT_NATS_SERVER"]
        self.log = open(f"{self.home.name}/log", "wb")
        limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files))
        self.child = subprocess.Popen([binary, "up"], env=env, stdout=self.log, stderr=self.log, preexec_fn=limit,
                                      start_new_session=True)
        self.ready()
        with open(f"{self.home.name}/data/admin.token") as token:
            self.token = token.read().strip()

    def ready(self):
        for _ in range(600):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/readyz", timeout=2):
                    return
            except OSError:
                time.sleep(0.1)
        sys.exit("up does not become ready")

    def admin(self, method, path, body):
        request = urllib.request.Request(f"http://127.0.0.1:{self.console}{path}", json.dumps(body).encode(),
                                         {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"},
                                         method=method)
        with urllib.request.urlopen(request, timeout=10):
            pass

    def rss_mib(self):
        with open(f"/proc/{self.child.pid}/status") as status:
            return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmRSS"))

    def alive(self):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.health}/livez", timeout=2):
                return True
        except OSError:
            return False

    def end(self):
        begun = time.monotonic()
        self.child.send_signal(signal.SIGTERM)
        try:
            self.child.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()
        self.log.close()
        self.home.cleanup()
        return time.monotonic() - begun


async def hold(address, begin, drip, until, opened):
    """One slow sender; it opens no second connection."""
    try:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", address), 5)
    except (OSError, asyncio.TimeoutError):
        return
    opened.append(reader)
    try:
        writer.write(begin)
        while time.monotonic() < until:
            try:
                data = await asyncio.wait_for(reader.read(65536), 0.5)
                if not data:
                    return
            except asyncio.TimeoutError:
                writer.write(drip)
    except OSError:
        opened.remove(reader)
    finally:
        writer.close()


async def pound(address, request, until, opened):
    """Sends whole requests one after the other, each on its own connection."""
    while time.monotonic() < until:
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", address), 5)
            opened.append(reader)
            writer.write(request)
            await asyncio.wait_for(reader.read(65536), 5)
            writer.close()
        except (OSError, asyncio.TimeoutError):
            await asyncio.sleep(0.05)


def attacks(up, count):
    """Name, and what makes one attacker: a coroutine of (until, opened)."""
    stamp = "".join(f"{name}: {value}\r\n" for name, value in signed().items()).encode()
    for name, (begin, drip) in SLOW.items():
        begin = begin % (HOOK.encode(), stamp) if b"%s" in begin else begin
        yield f"slow: {name}", count // 5, lambda u, o, b=begin, d=drip: hold(up.edge, b, d, u, o)
    yield "idle flood: edge", count, lambda u, o: hold(up.edge, b"", b"", u, o)
    yield "idle flood: health", count, lambda u, o: hold(up.health, b"", b"", u, o)
    body = b'{"a":[' + b"0," * 524_000 + b"0]}"
    wrong = f"POST {HOOK} HTTP/1.1\r\nHost: a\r\ntimestamp: 1\r\nsign: AA\r\nContent-Length: {len(body)}\r\n\r\n"
    yield "large bodies: wrong sign", 16, lambda u, o: pound(up.edge, wrong.encode() + body, u, o)
    query = f"POST {HOOK}?signature=x&timestamp=1&nonce=1 HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n"
    yield "large bodies: wrong envelope", 16, lambda u, o: pound(up.edge, query.encode() + body, u, o)
    reply = b"POST /api/turns/hostile.abcdefghijklmnopqrstuvwx23.1/reply HTTP/1.1\r\nHost: a\r\nContent-Length: 3600000\r\n\r\n"
    yield "replies without proof", count // 10, lambda u, o: hold(up.edge, reply + b"x" * 3_500_000, b"", u, o)
    heads = b"GET / HTTP/1.1\r\n" + b"a: " + b"x" * 400_000
    yield "heads of 400 KB", count // 10, lambda u, o: hold(up.edge, heads, b"", u, o)


async def play(up, kind, attackers, make, seconds, first):
    until, opened = time.monotonic() + seconds, []
    tasks = [asyncio.create_task(make(until, opened)) for _ in range(attackers)]
    await asyncio.sleep(0.5)
    arguments = [sys.executable, __file__, "--sender", str(up.edge), str(seconds - 1), str(first)]
    legitimate = await asyncio.create_subprocess_exec(*arguments, stdout=subprocess.PIPE)
    most, lives = 0, []
    while legitimate.returncode is None and time.monotonic() < until:
        await asyncio.sleep(0.5)
        most = max(most, up.rss_mib())
        lives.append(await asyncio.to_thread(up.alive))
    held = sum(not reader.at_eof() and reader.exception() is None for reader in opened)
    out, _ = await legitimate.communicate()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    seen = json.loads(out)
    times, codes = sorted(taken for _, taken in seen), {}
    for code, _ in seen:
        codes[code] = codes.get(code, 0) + 1
    at = lambda part: round(times[min(len(times) - 1, int(len(times) * part))] * 1000)
    return {"kind": kind, "attackers": attackers, "held": held, "rss_mib": most, "codes": codes, "p50_ms": at(0.5),
            "p99_ms": at(0.99), "max_ms": at(1), "livez": f"{sum(lives)}/{len(lives)}"}


async def run(options):
    up, rows = Up(options.binary, options.files), []
    try:
        up.admin("POST", "/api/integrations", {
            "id": ROBOT, "name": ROBOT, "mode": "http", "clientId": ROBOT, "clientSecret": SECRET,
            "callbackToken": "token", "callbackAesKey": "abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG"})
        for number, (kind, attackers, make) in enumerate(attacks(up, options.count)):
            if options.only and options.only not in kind:
                continue
            rows.append(await play(up, kind, attackers, make, options.seconds, number * 100_000))
            if not options.json:
                show(rows[-1])
    finally:
        stopped = up.end()
    if options.json:
        print(json.dumps({"rows": rows, "stopped_s": stopped}))
    else:
        print(f"SIGTERM took {stopped:.1f} s")


def show(row):
    codes = " ".join(f"{code}:{count}" for code, count in sorted(row["codes"].items()))
    print(f"{row['kind']:30} {row['attackers']:5} held {row['held']:5}  rss {row['rss_mib']:5} MiB  "
          f"p50 {row['p50_ms']:5}  p99 {row['p99_ms']:5}  max {row['max_ms']:5} ms  livez {row['livez']:7} {codes}",
          flush=True)


def main():
    if sys.argv[1:2] == ["--sender"]:
        sender(int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--seconds", type=float, default=20, help="of each attack")
    parser.add_argument("--count", type=int, default=1100, help="connections of a flood")
    parser.add_argument("--files", type=int, default=1024, help="open files that `up` may have")
    parser.add_argument("--only", default="", help="attacks whose name has this")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(run(options))


main()
