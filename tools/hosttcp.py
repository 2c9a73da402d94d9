"""Times what TCP alone takes to exchange as many bytes as the sum of an array over all hosts.

usage: hosttcp.py HOST HOSTS MEBIBYTES ROUNDS (on each host, started by `tools/hosts tcp`)

Each host sends every other host as many bytes as a reduce-scatter and an all-gather of the array do, and
receives as many. There is one connection each way between two hosts, and nothing is added.
Prints the median of the rounds in milliseconds.
"""

import socket
import statistics
import sys
import threading
import time

PORT = 7777
host, hosts, mebibytes, rounds = map(int, sys.argv[1:])
others = [other for other in range(hosts) if other != host]
size = 2 * (mebibytes << 20) // hosts
incoming = {}

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((f"h{host}", PORT))
server.listen(hosts)


def accept():
    while len(incoming) < len(others):
        connection, _ = server.accept()
        incoming[connection.recv(1)[0]] = connection


def connect(other):
    while True:
        try:
            connection = socket.create_connection((f"h{other}", PORT))
            connection.sendall(bytes([host]))
            return connection
        except ConnectionRefusedError:
            time.sleep(0.05)


def receive(connection):
    piece = bytearray(1 << 18)
    left = size
    while left:
        count = connection.recv_into(piece, min(left, len(piece)))
        if count == 0:
            raise ConnectionError("a host closed its connection")
        left -= count


accepting = threading.Thread(target=accept)
accepting.start()
outgoing = {other: connect(other) for other in others}
accepting.join()
data = bytes(size)
times = []
for _ in range(rounds):
    # All begin together.
    for other in others:
        outgoing[other].sendall(b"x")
    for other in others:
        incoming[other].recv(1)
    begin = time.perf_counter()
    threads = [threading.Thread(target=outgoing[other].sendall, args=(data,)) for other in others]
    threads += [threading.Thread(target=receive, args=(incoming[other],)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    times.append(time.perf_counter() - begin)
print(f"h{host}: {statistics.median(times) * 1e3:.0f} ms")
