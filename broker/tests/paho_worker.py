"""A worker on Eclipse Paho: a member of a group that acknowledges by hand.

usage: paho_worker.py PORT VERSION FILTER HOLD

Prints each payload. Holds back its acknowledgements until HOLD messages are there, then acknowledges everything; with
HOLD 0 it never acknowledges.
"""

import sys

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

port, version, filter_, hold = int(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
protocol = {"4": mqtt.MQTTv311, "5": mqtt.MQTTv5}[version]
held = []


def say(text):
    print(text, flush=True)


def on_message(client, _userdata, message):
    held.append(message)
    say(message.payload.decode())
    if hold and len(held) >= hold:
        for each in held:
            client.ack(each.mid, each.qos)
        held.clear()


client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=protocol, manual_ack=True)
client.on_message = on_message
client.on_subscribe = lambda *_: say("subscribed")
client.on_connect = lambda client, *_: client.subscribe(filter_, 1)
client.connect("127.0.0.1", port)
client.loop_forever()
