#!/usr/bin/python3
"""A bot that is a plain program: a member of a group on the broker, with signed events. No WebAssembly, and no host.

It greets what it reads. Take it as a beginning: `greet` is all that is its own. It needs python3-paho-mqtt and gnupg.
What a host does for its bots (transactions of effects and state, limits, rights, logs) such a program does itself, or goes without.
"""

import argparse
import base64
import hashlib
import json
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

#: Events that are older, or further in the future, are refused.
MAX_AGE = timedelta(days=14)
CLOCK_SKEW = timedelta(minutes=5)

MAX_EVENT = 512 * 1024


class Refused(Exception):
    """A message that must not be handled, and why."""


def greet(event):
    """What the bot does: type, subject and data of its answer."""
    subject = event.get("subject")
    return "example.greeting.v1", subject, {"text": f"hello, {subject or event['id']}"}


def canonical(event):
    """The bytes that an event's signature covers: RFC 8785. Its numbers are left to JavaScript's rules, so there are no floats."""
    if any(isinstance(value, float) for value in numbers(event)):
        raise Refused("an event with fractions has no canonical form here")
    unsigned = {name: value for name, value in event.items() if name != "signature"}
    text = json.dumps(ordered(unsigned), ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def ordered(value):
    """The same value with its members in the order of RFC 8785, that of UTF-16."""
    if isinstance(value, dict):
        return {name: ordered(value[name]) for name in sorted(value, key=lambda name: name.encode("utf-16-be"))}
    return [ordered(item) for item in value] if isinstance(value, list) else value


def numbers(value):
    """All that is in a value and holds nothing more."""
    if isinstance(value, (dict, list)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from numbers(item)
    else:
        yield value


class Keys:
    """Signs with a key of a GnuPG keyring, and trusts the keys of another."""

    def __init__(self, home, key, trusted):
        self.gpg = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--local-user", key]
        self.trusted = str(Path(trusted).resolve())
        listed = subprocess.run(
            [*self.gpg[:-2], "--with-colons", "--list-secret-keys", key], capture_output=True, text=True, check=True
        )
        self.fingerprint = next(line.split(":")[9] for line in listed.stdout.splitlines() if line.startswith("fpr:")).lower()

    def sign(self, event):
        event["signkey"] = self.fingerprint
        signed = subprocess.run([*self.gpg, "--detach-sign"], input=canonical(event), capture_output=True, check=True)
        event["signature"] = base64.b64encode(signed.stdout).decode()

    def check(self, event):
        with tempfile.TemporaryDirectory() as scratch:
            signature = Path(scratch, "signature")
            signature.write_bytes(base64.b64decode(event["signature"], validate=True))
            checked = subprocess.run(
                ["gpgv", "--homedir", scratch, "--status-fd", "1", "--keyring", self.trusted, signature, "-"],
                input=canonical(event),
                capture_output=True,
                check=False,
            )
        if checked.returncode != 0:
            raise Refused(checked.stderr.decode(errors="replace").strip().splitlines()[-1])
        valid = next(line for line in checked.stdout.decode().splitlines() if line.startswith("[GNUPG:] VALIDSIG "))
        # The last word is the primary key, also if a subkey signed.
        if valid.split()[-1].lower() != str(event.get("signkey")).lower():
            raise Refused("it names another key than the one that signed it")


def read(payload, topic, keys):
    """A message as an event that may be handled. Whoever trusts several hosts also compares `source` with the signer's host."""
    if len(payload) > MAX_EVENT:
        raise Refused("it is too large")
    try:
        event = json.loads(payload)
        keys.check(event)
        time = datetime.fromisoformat(event["time"].split(".")[0].rstrip("Z") + "+00:00")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Refused(f"it is no event: {error}") from error
    if event.get("topic") != topic:
        raise Refused(f"it was published to {event.get('topic')}, and came on {topic}")
    now = datetime.now(timezone.utc)
    if not now - MAX_AGE < time < now + CLOCK_SKEW:
        raise Refused(f"its time {event['time']} is too far from now")
    return event


def derived(*parts):
    """An id: 128 bits of SHA-256 over the parts, each after its length in eight bytes."""
    parts = [part.encode() for part in parts]
    return hashlib.sha256(b"".join(len(part).to_bytes(8, "big") + part for part in parts)).hexdigest()[:32]


def answer(event, keys, name, group, topic):
    """The signed answer: the first event that the group makes of the message. Its id derives from that, and hosts compute it again: so it
    is the same whichever member answers, and whoever gets it twice can tell."""
    kind, subject, data = greet(event)
    attempt, position = 0, 0
    what = [kind, topic.split("/", 1)[1]]
    made = {
        "specversion": "1.0",
        "id": derived("message", str(len(what)), *what, group, event["id"], str(attempt), str(position)),
        "source": name,
        "type": kind,
        "topic": topic,
        "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "datacontenttype": "application/json",
        "run": event["run"],
        "cause": event["id"],
        "work": "message",
        "owner": group,
        "attempt": attempt,
        "position": position,
        "data": data,
    }
    if subject is not None:
        made["subject"] = subject
    keys.sign(made)
    return json.dumps(made, ensure_ascii=False).encode()


def connect(client_id, args, **more):
    client = mqtt.Client(client_id=client_id, protocol=mqtt.MQTTv5)
    if args.user:
        client.username_pw_set(args.user, Path(args.password_file).read_text().rstrip("\n"))
    host, port = args.broker.rsplit(":", 1)
    client.connect(host, int(port), **more)
    return client


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--broker", default="localhost:1883", metavar="HOST:PORT")
    parser.add_argument("--user", help="user name at the broker")
    parser.add_argument("--password-file", help="file with its password")
    parser.add_argument("--name", default="worker/greeter", help="who it is: HOST/BOT; different for each program")
    parser.add_argument("--group", default="greeters", help="programs and bots of one group share the messages, and their answers are the group's")
    parser.add_argument("--watch", default="foundry/commits", metavar="TOPIC")
    parser.add_argument("--publish-to", default="foundry/greetings", metavar="TOPIC", help="with the prefix of one level, foundry")
    parser.add_argument("--gnupg-home", required=True, metavar="DIR", help="keyring with the key that signs")
    parser.add_argument("--key", required=True, help="the key that signs what it publishes")
    parser.add_argument("--trusted", required=True, metavar="FILE", help="keyring (not armoured) of those whose events it handles")
    args = parser.parse_args()
    keys = Keys(args.gnupg_home, args.key, args.trusted)

    # Its own thread, so that it is acknowledged to us before we acknowledge what led to it.
    publisher = connect(f"{args.name}-out".replace("/", "-"), args)
    publisher.loop_start()

    def handle(client, _userdata, message):
        try:
            event = read(message.payload, message.topic, keys)
        except Refused as why:
            print(f"refused a message: {why}", file=sys.stderr, flush=True)
            return
        sent = publisher.publish(args.publish_to, answer(event, keys, args.name, args.group, args.publish_to), qos=1)
        sent.wait_for_publish()
        print(f"greeted {event['id']}", flush=True)
        # Here the message is acknowledged. Whoever dies before this gets it again, or another member of the group does.

    def subscribe(client, _userdata, _flags, reason, _properties):
        if reason != 0:
            sys.exit(f"the broker said: {reason}")
        # A group's name is one level of a topic filter: what has a meaning there is written as hosts write it.
        group = args.group.translate({ord(letter): f"%{ord(letter):02X}" for letter in "/+#%"})
        client.subscribe(f"$share/{group}/{args.watch}", qos=1)

    # One message at a time, and a session that outlives a lost connection.
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 3600
    session.ReceiveMaximum = 1
    reader = connect(f"{args.name}-in".replace("/", "-"), args, clean_start=False, properties=session)
    reader.on_connect = subscribe
    reader.on_subscribe = lambda *_: print("is ready", flush=True)
    reader.on_message = handle
    reader.loop_forever()


if __name__ == "__main__":
    main()
