"""Does what every SDK's bot must be able to do, and misbehaves in every way that a bot can: as each message says."""

import os
import random
import secrets
import sys
import time
import uuid
from datetime import datetime, timezone

from foundry_sdk import (
    Bot,
    Description,
    Option,
    PublishError,
    Reject,
    Retry,
    clock,
    export,
    http,
    log,
    mail,
    options,
    publish,
    state,
)


class Conformer(Bot):
    description = (
        Description("conformer", "1.2.3", "does as it is told", message_timeout=77)
        .option(Option("text", "A text.", default="default"))
        .option(Option("many", "Texts.", repeatable=True))
        .option(Option("flag", "A flag.", kind="flag"))
        .option(Option("interval", "Of the timer.", kind="duration", default="365d"))
        .reads("orders", group="conformer")
        .publishes("answers")
        .timer("beat", "interval")
    )

    def configure(self):
        if options.one("text") == "unacceptable":
            raise ValueError("that text is unacceptable")

    def handle(self, message):
        what = message.data["do"]
        order = ORDERS.get(what)
        if order is None:
            raise Reject(f"don't know how to {what}")
        order(message)

    def tick(self, timer):
        answer({"timer": timer}, key="beat 1")


def echo(message):
    answer({"text": message.data["text"]})


def tell_message(message):
    names = ["id", "topic", "type", "source", "subject", "run", "attempt"]
    answer({name: getattr(message, name) for name in names})


def tell_options(message):
    answer({"text": options.one("text"), "many": options.all("many"), "flag": options.flag("flag")})


def write_log(message):
    log.trace("a trace")
    log.debug("a debug")
    log.info("an info")
    log.warn("a warning: ünïcödé")
    log.error("an error")


def use_state(message):
    before = (state.get("text") or b"").decode()
    state.set("text", "ünïcödé")
    state.set("bytes", bytes([0, 255, 0]))
    state.set("gone", b"x")
    state.delete("gone")
    answer({"before": before, "none": state.get("gone") is None})


def effects():
    state.set("half", b"done")
    answer({})


def write_then_retry(message):
    effects()
    raise Retry("not yet", after=1.5)


def write_then_reject(message):
    effects()
    raise Reject("never")


def write_then_fail(message):
    effects()
    raise RuntimeError("told to fail")


def other_topic(message):
    try:
        answer({}, topic="builds")
    except PublishError as refusal:
        raise Reject(str(refusal))


def big_state(message):
    try:
        state.set("big", bytes(32 * 1024 * 1024))
    except state.StateError as refusal:
        raise Reject(str(refusal))


def loop(message):
    while True:
        pass


def eat_memory(message):
    eaten = []
    while True:
        eaten.append(b"x" * (16 * 1024 * 1024))


class Endless:
    """Its comparison recurses through the interpreter's own code, which the interpreter's limit does not count alone."""

    def __eq__(self, other):
        return self == other


def recurse(message):
    import sys

    sys.setrecursionlimit(10**9)
    Endless() == Endless()


def ask(message):
    try:
        response = http.get(message.data["text"], timeout=5)
    except http.HttpError as refusal:
        raise Reject(str(refusal))
    answer({"status": response.status, "text": response.text})


def send_mail(message):
    try:
        answer({"id": mail.send(message.data["text"], "a subject", "ünïcödé")})
    except mail.MailError as refusal:
        if refusal.temporary:
            raise Retry(str(refusal), after=1.5)
        raise Reject(str(refusal))


def flood(message):
    for number in range(20_000):
        log.info(f"line {number}")


def print_text(message):
    print("printed:", "ünïcödé")
    print("a warning", file=sys.stderr)
    print("no end", end="")


def print_badly(message):
    sys.stdout.buffer.write(b"\xff caf\xc3\xa9 \x1b[31m\n")


def print_much(message):
    line = "x" * 1023 + "\n"
    for _ in range(100):
        sys.stdout.write(line * 1024)


def tell_time(message):
    now = datetime.now(timezone.utc).timestamp()
    host = clock.now().timestamp()
    before = time.perf_counter()
    time.sleep(0.06)
    answer({"now": now, "host": host, "slept": time.perf_counter() - before, "time": time.time()})


def draw_numbers(message):
    numbers = [random.random(), uuid.uuid4().hex, secrets.token_hex(8), os.urandom(8).hex(), random.random()]
    answer({"numbers": numbers})


def look_for_files(message):
    answer({"read": why_not("/etc/passwd", "r"), "write": why_not("new.txt", "w")})


def why_not(path, mode):
    try:
        open(path, mode)
    except OSError as error:
        return str(error)
    return "none"


def leave(message):
    print("leaving", file=sys.stderr)
    os._exit(3)


def sleep(message):
    print("going to sleep")
    time.sleep(3600)


def answer(data, topic="answers", key=None):
    publish(data, type="test.answer.v1", topic=topic, subject="an answer", key=key)


ORDERS = {
    "echo": echo,
    "message": tell_message,
    "options": tell_options,
    "log": write_log,
    "state": use_state,
    "write, then retry": write_then_retry,
    "write, then reject": write_then_reject,
    "write, then fail": write_then_fail,
    "other topic": other_topic,
    "big state": big_state,
    "loop": loop,
    "memory": eat_memory,
    "recurse": recurse,
    "ask": ask,
    "mail": send_mail,
    "flood": flood,
    "print": print_text,
    "print badly": print_badly,
    "print 100 MB": print_much,
    "clock": tell_time,
    "random": draw_numbers,
    "files": look_for_files,
    "exit": leave,
    "sleep": sleep,
}

WitWorld = export(Conformer)
