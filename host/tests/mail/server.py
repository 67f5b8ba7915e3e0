"""A mail server on a free port, which it prints: takes mail for most, and refuses it as the address and the subject say.

    server.py implicit|starttls|plain MAILS CERTIFICATE KEY

Whoever sends mail with TLS has to log in as jo, whose password is "secret". What is taken is appended to MAILS, a line of
JSON for each.
"""

import asyncio
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

kind, mails, certificate, key = sys.argv[1:]
REFUSED = {
    "gone": "550 5.1.1 no such user",
    "busy": "451 4.7.1 greylisted",
}
LATER = set()


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        name = address.split("@")[0]
        if name in REFUSED:
            return REFUSED[name]
        if name == "busyonce" and first_time(name):
            return REFUSED["busy"]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        content = envelope.content.decode()
        if "Subject: spam" in content:
            return "554 5.7.1 it looks like spam"
        if "Subject: full" in content:
            return "452 4.3.1 the disk is full"
        encrypted = server.transport.get_extra_info("cipher") is not None
        taken = {"from": envelope.mail_from, "to": envelope.rcpt_tos, "content": content, "encrypted": encrypted}
        with open(mails, "a") as file:
            file.write(json.dumps(taken) + "\n")
        if envelope.rcpt_tos[0].startswith("hangup@") and first_time("hangup"):
            server.transport.abort()
        return "250 OK, queued as 1"


def first_time(what):
    is_first = what not in LATER
    LATER.add(what)
    return is_first


def login(server, session, envelope, mechanism, data):
    return AuthResult(success=(data.login, data.password) == (b"jo", b"secret"), handled=False)


async def main():
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)
    settings = {
        "plain": {},
        "starttls": {"tls_context": tls, "require_starttls": True, "authenticator": login, "auth_required": True},
        "implicit": {"authenticator": login, "auth_required": True, "auth_require_tls": False},
    }[kind]
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: SMTP(Handler(), loop=loop, **settings), "127.0.0.1", 0, ssl=tls if kind == "implicit" else None
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
