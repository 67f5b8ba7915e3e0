"""Does what every SDK's bot must be able to do, and misbehaves in every way that a bot can: as each message says."""

from foundry_sdk import Bot, Description, Option, PublishError, Reject, Retry, export, http, log, mail, options, publish, state


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
}

WitWorld = export(Conformer)
