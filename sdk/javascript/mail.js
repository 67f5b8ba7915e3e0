// E-mail. The bot needs `uses = ["mail"]` in its bot.toml, and the operator's --allow-mail ADDRESS.

import { send as hostSend } from "foundry:bot/mail@0.1.1";

export class MailError extends Error {
  constructor(message, { temporary = false } = {}) {
    super(message);
    this.name = new.target.name;
    this.temporary = temporary;
  }
}

export class NotGranted extends MailError {}
export class Refused extends MailError {}
export class Unavailable extends MailError {
  constructor(message) {
    super(message, { temporary: true });
  }
}

export function send(to, subject, text, { key } = {}) {
  try {
    return hostSend({ to: typeof to === "string" ? [to] : to, subject, text, key });
  } catch (thrown) {
    const { tag, val } = thrown?.payload ?? thrown ?? {};
    switch (tag) {
      case "not-granted":
        throw new NotGranted(`not granted: ${val}`);
      case "refused-address":
        throw new Refused(`the server refuses ${val[0]}: ${val[1]}`);
      case "refused":
        throw new Refused(`the server refuses the mail: ${val}`);
      case "try-later":
        throw new Unavailable(`the server refuses the mail for now: ${val}`);
      case "too-many":
        throw new Unavailable(`too many mails: the next one may go in ${val} s`);
      case "unavailable":
        throw new Unavailable(val);
      case "too-large":
        throw new MailError(`larger than ${val} bytes`);
      case "bad-request":
        throw new MailError(val);
      default:
        throw thrown;
    }
  }
}
