"""What goes over the loopback interface, recorded packet by packet, and a search in it.

wire.py FILE: records until SIGTERM, then prints how many packets there were and how many were lost. A process
of its own, so that whoever makes the traffic does not hold it up.
"""

import base64
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

EVERYTHING = 3
TO_THIS_HOST = 0
SO_RCVBUFFORCE, SOL_PACKET, PACKET_STATISTICS = 33, 263, 6
# Of packets that wait to be written down.
BUFFER = 512 * 1024 * 1024
# No packet of the loopback is longer.
LONGEST = 1024 * 1024
IPV4, IPV6, TCP = 0x0800, 0x86DD, 6


class NotPermitted(Exception):
    pass


class Wire:
    """Records from when it is made."""

    def __init__(self, file):
        self.file = file
        self.child = subprocess.Popen([sys.executable, __file__, str(file)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                      stderr=subprocess.PIPE, text=True)
        if self.child.stdout.readline() != "ready\n":
            why = self.child.communicate()[1].strip().splitlines()
            raise NotPermitted(why[-1] if why else "the recorder ended")

    def stop(self):
        """What was recorded; that nothing is missing."""
        # What was sent a moment ago is still on its way to the recorder.
        time.sleep(0.5)
        self.child.send_signal(signal.SIGTERM)
        said, why = self.child.communicate(timeout=60)
        assert self.child.returncode == 0, why[-500:]
        counted = json.loads(said)
        assert counted["lost"] == 0, f"{counted['lost']} packets were lost, so that nothing is shown by the others"
        return Recording(self.file, counted["packets"])

    def give_up(self):
        self.child.kill()
        self.child.wait()


class Recording:
    """The bytes of each direction of each connection, in order."""

    def __init__(self, file, packets):
        self.packets, self.streams, self.others = packets, [], bytearray()
        latest, pieces = {}, []
        with open(file, "rb") as recorded:
            while head := recorded.read(4):
                self._take(recorded.read(struct.unpack("=I", head)[0]), latest, pieces)
        for parts in pieces:
            self.streams.append(b"".join(parts[at] for at in sorted(parts)))

    def _take(self, frame, latest, pieces):
        """Sorts a packet's data in by its place in the stream; a connection begins with SYN, and one that was
        there before with its first packet."""
        found = _tcp(frame)
        if found is None:
            self.others += frame
            return
        way, number, is_first, data = found
        if is_first or way not in latest:
            latest[way] = (len(pieces), number + is_first)
            pieces.append({})
        if data:
            stream, first = latest[way]
            # As a signed distance: numbers begin anew after 4 GiB, and what is asked for again lies before.
            at = (number - first + 2**31) % 2**32 - 2**31
            pieces[stream][at] = max(pieces[stream].get(at, b""), data, key=len)

    def holds(self, *wanted):
        """Which of these byte strings went over it, in one direction of one connection."""
        everything = [*self.streams, bytes(self.others)]
        return {one for one in wanted if any(one in stream for stream in everything)}

    def size(self):
        return sum(map(len, self.streams))


def forms(secret):
    """A secret's bytes as programs write them down: by themselves, and within something longer."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode()}
    for before in range(3):
        # Characters that hold nothing but the secret's own bits.
        text = base64.b64encode(bytes(before) + secret)
        own = text[-(-before * 8 // 6) : (before + len(secret)) * 8 // 6]
        found |= {own, own.translate(bytes.maketrans(b"+/", b"-_"))}
    return found


def send_in_two(text):
    """Over the loopback, so that no packet has all of it."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(text[: len(text) // 2])
        client.sendall(text[len(text) // 2 :])
        client.shutdown(socket.SHUT_WR)
        with server.accept()[0] as taken:
            while taken.recv(4096):
                pass


def _tcp(frame):
    """The way of a TCP segment, its number, whether it begins a connection, and its data."""
    kind, packet = struct.unpack("!H", frame[12:14])[0], frame[14:]
    if kind == IPV4 and packet[9] == TCP:
        length, ends = (packet[0] & 15) * 4, packet[12:20]
        whole = struct.unpack("!H", packet[2:4])[0]
    elif kind == IPV6 and packet[6] == TCP:
        length, ends = 40, packet[8:40]
        whole = 40 + struct.unpack("!H", packet[4:6])[0]
    else:
        return None
    # A length of nothing stands for more than fits the field.
    segment = packet[length : whole if whole > length else len(packet)]
    number, flags = struct.unpack("!I", segment[4:8])[0], segment[13]
    return ends + segment[:4], number, bool(flags & 2), segment[(segment[12] >> 4) * 4 :]


def record(file):
    try:
        wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(EVERYTHING))
    except PermissionError:
        sys.exit("no raw socket is permitted here (it needs root or CAP_NET_RAW)")
    try:
        wire.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    except PermissionError:
        sys.exit("the socket's buffer cannot be made larger here (it needs root or CAP_NET_ADMIN)")
    wire.bind(("lo", EVERYTHING))
    wire.settimeout(0.2)
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(True))
    # What came before it was bound to the interface was of all interfaces.
    wire.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
    print("ready", flush=True)
    packets, room = 0, bytearray(LONGEST)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb", buffering=1024 * 1024) as recorded:
        while True:
            try:
                length, _, flags, where = wire.recvmsg_into([room])
            except TimeoutError:
                if told:
                    break
                continue
            assert not flags & socket.MSG_TRUNC, "a packet is longer than any"
            # Each one is seen as it goes out and as it comes in.
            if where[2] == TO_THIS_HOST:
                packets += 1
                recorded.write(struct.pack("=I", length))
                recorded.write(memoryview(room)[:length])
    _, lost = struct.unpack("=II", wire.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
    print(json.dumps({"packets": packets, "lost": lost}))


if __name__ == "__main__":
    record(sys.argv[1])
