/** The mail was not sent; the message says why. */
export class MailError extends Error {
  /** Whether another attempt may do better. */
  readonly temporary: boolean;
}
/** An address isn't granted to this bot. */
export class NotGranted extends MailError {}
/** The server refuses the mail, or one of its addresses, for good. */
export class Refused extends MailError {}
/** The server refuses the mail for now, can't be reached, or the bot has sent its share. */
export class Unavailable extends MailError {}

/**
 * Send a mail to all of these addresses, or to none. Returns its Message-ID.
 *
 * It goes at once, whatever becomes of the message in hand: if that is handled again, so is the mail, with the same
 * Message-ID. `key` tells it from other mails where no message is in hand, as in `tick`.
 */
export function send(to: string | string[], subject: string, text: string, options?: { key?: string }): string;
