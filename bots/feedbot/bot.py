"""feedbot keeps an Atom feed of what was published, and uploads it to a web server."""

from foundry_sdk import Bot, Description, Dist, Option, Reject, Retry, clock, export, http, log, options, state

from feed import Entry, add, render

KEY = "entries"


class Feedbot(Bot):
    description = (
        Description("feedbot", "0.1.0", "keeps an Atom feed of what was published")
        .option(Option("url", "Upload the feed to this URL, by PUT.", placeholder="URL", required=True))
        .option(Option("title", "Title of the feed.", default="Packages"))
        .option(Option("keep", "Entries that the feed has at most.", kind="number", default="50"))
        .reads("dists", group="feedbot")
    )

    def handle(self, message):
        dist = message.event(Dist)
        entry = Entry(
            id=message.id,
            title=f"{dist.source} {dist.version} in {dist.distribution}",
            updated=message.time,
            text=", ".join(f"{package.package}/{package.architecture}" for package in dist.packages),
        )
        entries = add(state.get_json(KEY, []), entry, int(options.one("keep")))
        state.set_json(KEY, entries)
        self.upload(render(options.one("url"), options.one("title"), clock.now().isoformat(), entries))
        log.info(f"{entry.title}: {len(entries)} entries")

    def upload(self, feed: str) -> None:
        headers = {"content-type": "application/atom+xml; charset=utf-8"}
        try:
            answer = http.request("PUT", options.one("url"), body=feed, headers=headers)
        except http.NotGranted as refusal:
            raise Reject(f"{refusal} (grant it with --allow-http)")
        except http.HttpError as error:
            raise Retry(str(error), after=30)
        if answer.status == 429 or answer.status >= 500:
            raise Retry(f"the server answered {answer.status}", after=30)
        if not answer.ok:
            raise Reject(f"the server answered {answer.status}")


WitWorld = export(Feedbot)
