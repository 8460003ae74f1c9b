"""Whose fault a refusal is: what servers say, word for word, and the codes of the standards."""

from __future__ import annotations

import pytest

from tests.engine import Engine

HARD = "bounced hard"

SESSION = [
    # RFC 5321 section 4.2.3, 3.1
    ("421 mx.example.com Service not available, closing transmission channel", "unreachable"),
    ("554 No SMTP service here", "unreachable"),
    # Postfix: smtpd_client_connection_count_limit, postscreen, check_client_access
    ("421 4.7.0 mx.example.com Error: too many connections from 192.0.2.1", "rate_limited"),
    ("421 4.3.2 All server ports are busy", "unreachable"),
    ("554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied", "unreachable"),
    (
        "521 5.7.1 Service unavailable; client [192.0.2.1] blocked using zen.spamhaus.org",
        "unreachable",
    ),
    # Postfix: reject_non_fqdn_helo_hostname; Exim: helo_accept_junk_hosts; Sendmail
    ("504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", "unreachable"),
    ("501 Syntactically invalid HELO argument(s)", "unreachable"),
    ("550 Access denied - Invalid HELO name (See RFC2821 4.1.1.1)", "unreachable"),
    ("501 5.0.0 Invalid domain name", "unreachable"),
    # Exim: smtp_accept_max_per_host, smtp_load_reserve
    (
        "421 Too many concurrent SMTP connections from this IP address; please try again later.",
        "rate_limited",
    ),
    ("421 mx.example.com: Too much load; please try again later.", "unreachable"),
    # Exchange: receive connector limits, back pressure
    ("421 4.3.2 Service not available", "unreachable"),
    (
        "421 4.3.2 The maximum number of concurrent server connections exceeded a limit",
        "rate_limited",
    ),
    ("452 4.3.1 Insufficient system resources", "unreachable"),
    # Gmail: support.google.com/a/answer/3726730
    ("421 4.7.0 Try again later, closing connection.", "unreachable"),
    ("421 4.7.28 Our system has detected an unusual rate of unsolicited mail", "rate_limited"),
    # Yahoo: postmaster.yahooinc.com/error-codes
    (
        "421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume",
        "rate_limited",
    ),
    (
        "553 5.7.1 [BL21] Not accepted from 192.0.2.1, the ip is in Spamhaus's list",
        "unreachable",
    ),
    ("530 5.7.0 Must issue a STARTTLS command first", "auth_error"),
    ("454 4.7.0 TLS not available due to local problem", "unreachable"),
]

LOGIN = [
    # RFC 4954 section 4.7 and 6
    ("535 5.7.8 Authentication credentials invalid", "auth_error"),
    ("534 5.7.9 Authentication mechanism is too weak", "auth_error"),
    ("538 5.7.11 Encryption required for requested authentication mechanism", "auth_error"),
    ("500 5.5.6 Authentication Exchange line is too long", "auth_error"),
    ("454 4.7.0 Temporary authentication failure", "unreachable"),
    ("432 4.7.12 A password transition is needed", "unreachable"),
    # Challenges without an end
    ("334 UGFzc3dvcmQ6", "auth_error"),
    # Gmail
    ("454 4.7.0 Too many login attempts, please try again later.", "rate_limited"),
    ("535 5.7.8 Username and Password not accepted. For more information, go to", "auth_error"),
    ("534 5.7.9 Application-specific password required.", "auth_error"),
    # Exchange Online
    (
        "535 5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled",
        "auth_error",
    ),
    ("535 5.7.3 Authentication unsuccessful", "auth_error"),
    (
        "432 4.3.2 Concurrent connections limit exceeded. Visit https://aka.ms/concurrent_sending",
        "rate_limited",
    ),
    # SES, SendGrid, Postmark
    ("535 Authentication Credentials Invalid", "auth_error"),
    ("535 Authentication failed: Bad username / password", "auth_error"),
    ("451 Authentication failed: Maximum credits exceeded", "rate_limited"),
    ("525 5.7.13 Account disabled", "auth_error"),
    ("503 5.5.1 Error: authentication not enabled", "auth_error"),
]

SENDER = [
    # RFC 3463 section 3.4: the message is too large for the system
    ("452 4.3.4 Message size exceeds limit", "failed"),
    ("421 4.7.0 too many messages", "rate_limited"),
    ("451 4.3.0 try later", "unreachable"),
    ("452 4.3.1 Insufficient system storage", "unreachable"),
    # SES: docs.aws.amazon.com/ses/latest/dg/troubleshoot-smtp.html
    ("454 4.7.0 Throttling failure: Maximum sending rate exceeded.", "rate_limited"),
    ("454 Throttling failure: Maximum sending rate exceeded.", "rate_limited"),
    ("454 Throttling failure: Daily message quota exceeded.", "rate_limited"),
    ("554 Message rejected: Email address is not verified.", "auth_error"),
    # Postfix: reject_sender_login_mismatch, reject_unknown_sender_domain, policies
    (
        "553 5.7.1 <hello@acme.example>: Sender address rejected: not owned by user acme",
        "auth_error",
    ),
    ("550 5.7.1 sender not verified", "auth_error"),
    ("553 5.7.1 not owned by user", "auth_error"),
    ("450 4.1.8 <hello@acme.example>: Sender address rejected: Domain not found", "auth_error"),
    ("550 5.1.8 <hello@acme.example>: Sender address rejected: Domain not found", "auth_error"),
    ("504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", "unreachable"),
    ("450 4.7.1 Error: too much mail from 192.0.2.1", "rate_limited"),
    ("530 5.7.0 Authentication required", "auth_error"),
    ("550 5.7.1 Client host rejected: cannot find your hostname, [192.0.2.1]", "unreachable"),
    # Exchange
    ("530 5.7.57 Client not authenticated to send mail", "auth_error"),
    ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", "auth_error"),
    ("550 5.1.8 Access denied, bad outbound sender AS(42004)", "auth_error"),
    (
        "421 4.4.2 Message submission rate for this client has exceeded the configured limit",
        "rate_limited",
    ),
    # Gmail, Yahoo, Zoho, SendGrid, Mailgun
    ("550 5.4.5 Daily user sending limit exceeded. For more information on Gmail", "rate_limited"),
    ("421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", "rate_limited"),
    ("553 Sender is not allowed to relay emails", "auth_error"),
    ("550 Unauthenticated senders not allowed", "auth_error"),
    ("550 no such sender", "auth_error"),
    ("501 5.1.7 Bad sender address syntax", "auth_error"),
    ("503 5.5.1 Bad sequence of commands", "unreachable"),
    ("451 4.7.1 Greylisted, please try again later", "retry"),
    ("451 4.7.1 Please try again later", "unreachable"),
]

AUTHOR = [
    ("501 5.1.7 Bad sender address syntax", "failed"),
    ("550 5.7.1 sender not verified", "retry"),
    ("553 5.7.1 <boss@other.example>: Sender address rejected: not owned by user acme", "retry"),
    ("450 4.1.8 <boss@other.example>: Sender address rejected: Domain not found", "retry"),
    ("530 5.7.0 Authentication required", "auth_error"),
    ("421 Service not available", "unreachable"),
    ("454 4.7.0 Maximum sending rate exceeded", "rate_limited"),
    ("451 4.3.0 try later", "unreachable"),
]

RECIPIENT = [
    ("552 5.2.2 Mailbox size limit exceeded", "bounced"),
    # Exim: a routing rule
    ("550 Administrative prohibition", "failed"),
    # RFC 5321 section 4.2.3, RFC 3463, RFC 7505, RFC 7504, RFC 7293
    ("550 no such user", HARD),
    ("550 5.0.0 no such user", HARD),
    ("550 5.1.1 no such user", HARD),
    ("550 5.1.2 no such domain", HARD),
    ("550 5.1.3 bad destination mailbox address syntax", HARD),
    ("556 5.1.10 recipient address has null MX", HARD),
    ("556 domain does not accept mail", HARD),
    ("550 5.2.1 mailbox disabled", HARD),
    ("550 5.7.17 mailbox owner has changed", HARD),
    ("551 user not local; please try <else@example.com>", HARD),
    ("553 mailbox name not allowed", HARD),
    # Not found, no access, or against a policy, says section 4.2.3: it condemns nobody.
    ("550", "failed"),
    ("550 what nobody knows", "failed"),
    ("552 mailbox full", "bounced"),
    ("552 5.2.2 mailbox full", "bounced"),
    ("452 4.2.2 mailbox full", "bounced"),
    ("450 4.2.1 mailbox busy", "retry"),
    ("451 local error in processing", "retry"),
    ("451 4.3.0 Temporary lookup failure", "retry"),
    ("421 closing", "unreachable"),
    ("452 4.3.1 Insufficient system storage", "unreachable"),
    ("554 no", "failed"),
    ("550 5.7.1 rejected by policy", "failed"),
    # Greylisting: Postgrey, milter-greylist, OpenBSD spamd, Exim, Exchange
    (
        "450 4.2.0 <sam@example.com>: Recipient address rejected: Greylisted, see http://postgrey.example",
        "retry",
    ),
    ("451 4.7.1 greylisted, try again in 5 minutes", "retry"),
    ("451 4.7.1 Greylisting in action, please come back in 00:05:00", "retry"),
    ("450 4.7.1 Please wait, you sent too many messages; graylisted for 300 seconds", "retry"),
    ("451 Temporary failure, please try again later.", "retry"),
    ("451 4.7.1 Try again later", "retry"),
    # Exchange Online: learn.microsoft.com, non-delivery reports
    ("550 5.4.1", HARD),
    ("550 5.4.1 Recipient address rejected: Access denied. AS(201806281)", HARD),
    ("550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup", HARD),
    ("550 5.1.1 RESOLVER.ADR.RecipNotFound; not found", HARD),
    ("550 5.4.310 DNS domain nowhere.example does not exist", HARD),
    ("550 5.7.54 SMTP; Unable to relay recipient in non-accepted domain", "auth_error"),
    ("550 5.7.64 TenantAttribution; Relay Access Denied", "auth_error"),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.1]", "unreachable"),
    ("550 5.7.501 Access denied, spam abuse detected", "auth_error"),
    ("451 4.7.500 Server busy. Please try again later from [192.0.2.1]", "rate_limited"),
    (
        "550 5.7.233 Your message can't be sent because your tenant exceeded its daily limit",
        "rate_limited",
    ),
    (
        "550 5.1.90 Your message can't be sent you've reached your daily limit",
        "rate_limited",
    ),
    ("452 4.5.3 Too many recipients", "rate_limited"),
    ("550 5.5.0 Requested action not taken: mailbox unavailable (S2017062302)", HARD),
    # Gmail
    ("550 5.1.1 The email account that you tried to reach does not exist. Please try", HARD),
    ("550 5.2.1 The email account that you tried to reach is disabled.", HARD),
    (
        "550 5.2.1 The user you are trying to contact is receiving mail at a rate that",
        "retry",
    ),
    ("450 4.2.1 The user you are trying to contact is receiving mail too quickly.", "retry"),
    ("452 4.2.2 The email account that you tried to reach is over quota.", "bounced"),
    ("452 4.2.2 The recipient's inbox is out of storage space.", "bounced"),
    ("550 5.4.5 Daily user sending quota exceeded.", "rate_limited"),
    # Postfix says at RCPT what it holds against others (smtpd_delay_reject)
    (
        "550 5.1.1 <sam@example.com>: Recipient address rejected: User unknown in local table",
        HARD,
    ),
    ("554 5.7.1 <sam@example.com>: Relay access denied", "auth_error"),
    ("554 5.7.1 <sam@example.com>: Recipient address rejected: Access denied", "failed"),
    ("553 5.7.1 <hello@acme.example>: Sender address rejected: not logged in", "auth_error"),
    (
        "553 5.7.1 <hello@acme.example>: Sender address rejected: not owned by user acme",
        "auth_error",
    ),
    ("504 5.5.2 <localhost>: Helo command rejected: need fully-qualified hostname", "unreachable"),
    ("450 4.7.25 Client host rejected: cannot find your hostname, [192.0.2.1]", "unreachable"),
    (
        "554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org",
        "unreachable",
    ),
    ("450 4.7.1 Error: too many recipients from 192.0.2.1", "rate_limited"),
    ("450 4.1.2 <sam@nowhere.example>: Recipient address rejected: Domain not found", "retry"),
    (
        "452 4.2.2 <sam@example.com>: Recipient address rejected: mailbox for user is full",
        "bounced",
    ),
    # Exim, cPanel
    ("550 Unrouteable address", HARD),
    ("550 Unknown user", HARD),
    ("550 No such person at this address", HARD),
    ("550 relay not permitted", "auth_error"),
    ("550 Sender verify failed", "auth_error"),
    ("451 Temporary local problem - please try later", "retry"),
    (
        "550 Domain acme.example has exceeded the max emails per hour (105/100 (105%)) allowed.",
        "rate_limited",
    ),
    # qmail, Sendmail, Courier, IronPort, GMX, Orange, Yahoo, iCloud, Mimecast, Proofpoint
    ("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", "auth_error"),
    ("550 sorry, no mailbox here by that name (#5.1.1)", HARD),
    ("550 5.7.1 <sam@example.com>... Relaying denied", "auth_error"),
    ("550 5.1.1 <sam@example.com>... User unknown", HARD),
    ("550 #5.1.0 Address rejected.", HARD),
    ("550 Requested action not taken: mailbox unavailable", HARD),
    ("550 5.1.1 Adresse d au moins un destinataire invalide. Invalid recipient.", HARD),
    ("554 delivery error: dd This user doesn't have a yahoo.com account (sam@yahoo.com) [0]", HARD),
    ("550 5.1.1 unsupported address", HARD),
    ("552 5.2.2 <sam@icloud.com>: user is over quota", "bounced"),
    ("550 Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550", HARD),
    ("550 5.1.1 User Unknown", HARD),
    ("550 No such user here", HARD),
    ("550 This account has been disabled or discontinued [#102]", HARD),
    ("550 The recipient's mailbox is no longer in use", HARD),
    ("550 Mailbox does not exist", HARD),
    ("554 5.7.1 You have been blocked by the recipient", "failed"),
    ("550 5.7.1 Your message looks like spam", "failed"),
    ("450 4.1.1 <sam@example.com>: Recipient address rejected: unverified address", "retry"),
    ("451 4.7.24 SPF record could not be looked up", "retry"),
    ("550 5.7.23 The message was rejected because of a failed SPF check", "auth_error"),
    ("510 Bad email address", HARD),
    # Exchange: groups and mailboxes that take mail from some only
    ("550 5.7.124 RESOLVER.RST.SenderNotInGroup", "failed"),
    (
        "550 5.7.129 RESOLVER.RST.RestrictedToRecipientsPermission; not authorized to send to the"
        " recipient because the sender isn't on the recipient's allowed senders list",
        "failed",
    ),
    ("550 5.7.133 sender not authenticated for group", "failed"),
    ("550 5.7.12 sender not authenticated by organization", "failed"),
    ("550 5.7.13 sender not authenticated for public folder", "failed"),
    ("550 5.7.1 You do not have permission to send to this recipient", "failed"),
    # The sender's account, its address, or how it logs in, said of a recipient
    ("550 Account hello@acme.example has been disabled for sending spam", "auth_error"),
    ('550 Outgoing mail from "hello@acme.example" has been suspended.', "auth_error"),
    ("550 5.7.1 <sam@example.com>... your account has been suspended", "auth_error"),
    ("550 Your account is suspended", "auth_error"),
    ("450 4.7.1 Account temporarily suspended", "auth_error"),
    ("550 5.7.0 Sender account blocked", "auth_error"),
    ("550 5.7.13 Account disabled", "auth_error"),
    ("550 Domain acme.example is suspended", "auth_error"),
    ("554 5.7.1 Your email account is disabled, contact support", "auth_error"),
    ("554 5.7.0 Your mailbox is not permitted to send: account expired", "auth_error"),
    ("550 Please turn on SMTP Authentication in your mail client", "auth_error"),
    ("550 SMTP AUTH is required for message submission on port 587", "auth_error"),
    ("503 5.5.1 Authentication required first", "auth_error"),
    ("550 TLS is required", "auth_error"),
    ("550 User account is not activated to send mail", "auth_error"),
    ("550 Mailbox for sending unavailable: user hello unknown", "auth_error"),
    ("550 Your subscription has expired", "auth_error"),
    ("550 Sorry, your plan does not allow sending", "auth_error"),
    ("550 Account inactive; please pay your invoice", "auth_error"),
    ("550 The sender's domain does not exist", "auth_error"),
    ("550 address rejected: the sender's domain has no MX", "auth_error"),
    ("550 Invalid sender: domain acme.example not found", "auth_error"),
    ("550 envelope sender does not exist", "auth_error"),
    # Words of which nobody can say whose they are
    ("550 Username is unknown", "failed"),
    ("550 Mail server temporarily unavailable", "failed"),
    ("550 Access denied", "failed"),
    # The server, its state and how it is set up
    ("550 System load too high", "unreachable"),
    ("550 your mail host is unknown", "unreachable"),
    ("554 5.3.5 Local configuration error", "unreachable"),
    ("552 5.3.1 Mail system full", "unreachable"),
    ("451 4.3.5 Server configuration problem", "unreachable"),
    ("500 unrecognized command", "unreachable"),
    ("502 5.5.2 Error: command not recognized", "unreachable"),
    ("503 5.5.1 Bad sequence of commands", "unreachable"),
    ("504 parameter not implemented", "unreachable"),
    ("554 no valid recipients", "unreachable"),
    # The recipient, in sentences that speak to the sender as well
    ("550 User unknown; please contact your administrator", HARD),
    ("550 No such user: your mail was not delivered", HARD),
    ("550 This mailbox is disabled", HARD),
    # SendGrid, Mailchimp Transactional
    ("452 Too many recipients received this hour", "rate_limited"),
    ("550 Unauthenticated senders not allowed", "auth_error"),
    ("451 You've exceeded your messaging limits", "rate_limited"),
    # What looks like a code, or like words, and is none
    ("550 host 192.0.2.1 said 5.1.1.3 user unknown", HARD),
    ("550 5.1.1 <rate.limit@example.com>: User unknown", HARD),
    ("550 <throttled@example.com>: no such user", HARD),
    ("550 throttled@example.com no such user", HARD),
]

CONTENT = [
    # Exchange Online
    ("550 5.7.512 Access denied, message must be RFC 5322 section 3.6.2 compliant", "failed"),
    ("451 4.3.0 try later", "retry"),
    ("451 4.7.1 Service unavailable - try again later", "retry"),
    ("421 shutting down", "unreachable"),
    ("421 4.7.0 Our system has detected an unusual rate of mail", "rate_limited"),
    ("452 4.3.1 Insufficient system storage", "unreachable"),
    ("550 looks like spam", "failed"),
    ("554 5.7.1 looks like spam", "failed"),
    ("554 5.7.1 Message contains a link that is blacklisted: uribl.example", "failed"),
    ("552 5.3.4 Message size exceeds fixed limit", "failed"),
    ("552 message exceeds maximum message size", "failed"),
    ("552 5.2.3 Message exceeds the size limit of this mailbox", "failed"),
    ("552 5.2.2 mailbox full", "bounced"),
    ("552 mailbox full", "bounced"),
    ("550 5.1.1 no such user", HARD),
    ("554 5.5.1 Error: no valid recipients", "failed"),
    ("554 5.6.0 Message content rejected", "failed"),
    ("500 Line too long", "failed"),
    ("500 unrecognized command", "unreachable"),
    ("502 5.5.1 Error: command not implemented", "unreachable"),
    ("503 5.5.1 Bad sequence of commands", "unreachable"),
    ("554 5.3.5 Local configuration error", "unreachable"),
    ("552 5.3.1 Mail system full", "unreachable"),
    ("550 Your message was rejected: account on hold", "auth_error"),
    ("554 5.7.1 Your account has been suspended", "auth_error"),
    # Gmail: support.google.com/a/answer/3726730
    ("550 5.7.26 This mail has been blocked because the sender is unauthenticated.", "auth_error"),
    ("550 5.7.25 The IP address sending this message does not have a PTR record", "unreachable"),
    ("550 5.7.1 Our system has detected that this message is likely unsolicited mail.", "failed"),
    # SES, SendGrid, Exchange, Yahoo
    (
        "554 Message rejected: Email address is not verified. The following identities failed",
        "auth_error",
    ),
    (
        "554 Access denied: User `arn:aws:iam::1:user/x' is not authorized: `ses:SendRawEmail'",
        "auth_error",
    ),
    ("554 Transaction failed: Missing start boundary", "failed"),
    ("550 The from address does not match a verified Sender Identity.", "auth_error"),
    ("550 Maximum credits exceeded", "rate_limited"),
    ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", "auth_error"),
    ("554 5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException", "rate_limited"),
    (
        "554 5.2.252 SendAsDenied; acme@example.com not allowed to send as hello@acme.example",
        "auth_error",
    ),
    ("554 5.7.9 Message not accepted for policy reasons.", "failed"),
    ("550 5.4.6 Unusual sending activity detected. Please try after sometime", "rate_limited"),
]

SAID = [
    (stage, said, meaning)
    for stage, replies in {
        "session": SESSION,
        "login": LOGIN,
        "sender": SENDER,
        "sender.author": AUTHOR,
        "recipient": RECIPIENT,
        "content": CONTENT,
    }.items()
    for said, meaning in replies
] + [
    (
        "recipient.author",
        "553 5.7.1 <b@other.example>: Sender address rejected: not owned",
        "retry",
    ),
    ("content.author", "550 The from address does not match a verified Sender Identity.", "retry"),
    ("recipient.author", "554 5.7.1 <sam@example.com>: Relay access denied", "auth_error"),
    ("recipient.author", "550 5.1.1 User unknown", HARD),
]


def meaning_of(
    engine: Engine, channel: str, provider: str, stage: str, code: str, said: str
) -> str:
    """Return the outcome that a refusal amounts to."""
    (row,) = engine.rows(
        "select * from dripdrop._classify(%s, %s, %s, %s, %s)", channel, provider, stage, code, said
    )
    return f"{row.outcome} hard" if row.hard else str(row.outcome)


def test_a_mail_servers_words_say_whose_fault_it_is(engine: Engine) -> None:
    wrong = []
    for stage, said, meaning in SAID:
        code, _, words = said.partition(" ")
        found = meaning_of(engine, "email", "smtp", stage, f"smtp_{code}", words)
        if found != meaning:
            wrong.append((stage, said, meaning, found))
    assert wrong == []


@pytest.mark.parametrize(
    ("stages", "first", "last", "meanings"),
    [
        ("session,login,sender", 400, 599, {"unreachable", "auth_error"}),
        ("recipient,content", 400, 499, {"retry", "unreachable"}),
        ("recipient,content", 500, 599, {"failed", "auth_error", "bounced", "unreachable"}),
    ],
)
def test_an_unknown_refusal_before_the_recipient_is_named_is_not_the_messages(
    engine: Engine, stages: str, first: int, last: int, meanings: set[str]
) -> None:
    rows = engine.rows(
        "select distinct c.outcome from unnest(string_to_array(%s, ',')) as stage"
        " cross join generate_series(%s::int, %s::int) as code"
        " cross join lateral dripdrop._classify("
        "'email', 'smtp', stage, 'smtp_' || code, 'what nobody knows') as c",
        stages,
        first,
        last,
    )
    assert {row.outcome for row in rows} == meanings


@pytest.mark.parametrize(
    ("channel", "provider", "stage", "code", "words", "meaning"),
    [
        ("webhook", "default", "request", "http_401", "", "auth_error"),
        ("webhook", "default", "request", "http_403", "", "auth_error"),
        ("webhook", "default", "endpoint", "http_401", "", "failed"),
        ("webhook", "default", "endpoint", "http_403", "", "failed"),
        ("webhook", "default", "endpoint", "http_429", "", "rate_limited"),
        ("webhook", "default", "request", "http_429", "", "rate_limited"),
        ("webhook", "default", "request", "http_302", "", "failed"),
        ("webhook", "default", "request", "http_400", "", "failed"),
        ("webhook", "default", "request", "http_404", "", "failed"),
        ("webhook", "default", "request", "http_410", "", "failed"),
        ("webhook", "default", "request", "http_408", "", "retry"),
        ("webhook", "default", "request", "http_425", "", "retry"),
        ("webhook", "default", "request", "http_500", "", "retry"),
        ("webhook", "default", "request", "http_502", "", "unreachable"),
        ("webhook", "default", "request", "http_504", "", "unreachable"),
        ("webhook", "default", "request", "http_502", "Retry-After: 30", "rate_limited"),
        ("webhook", "default", "request", "http_503", "", "unreachable"),
        ("webhook", "default", "request", "http_503", "Retry-After: 30", "rate_limited"),
        ("webhook", "default", "request", "http_999", "", "unreachable"),
        ("webhook", "default", "endpoint", "http_099", "", "unreachable"),
        ("webhook", "default", "request", "http_101", "", "unreachable"),
        ("webhook", "default", "request", "http_600", "Retry-After: 30", "unreachable"),
        ("email", "postmark", "request", "http_500", "", "maybe_sent"),
        ("email", "postmark", "request", "http_999", "", "maybe_sent"),
        ("email", "postmark", "request", "http_503", "", "maybe_sent"),
        ("email", "postmark", "request", "http_503", "Retry-After: 30", "rate_limited"),
        ("email", "postmark", "request", "http_403", "", "auth_error"),
        ("email", "postmark", "request", "http_422", "", "failed"),
        ("email", "postmark", "request", "postmark_10", "Bad token", "auth_error"),
        ("email", "postmark", "request", "postmark_100", "Maintenance", "unreachable"),
        ("email", "postmark", "request", "postmark_300", "Invalid 'To' address", "failed"),
        ("email", "postmark", "request", "postmark_300", "Invalid 'From' address", "auth_error"),
        (
            "email",
            "postmark",
            "request",
            "postmark_400",
            "Sender signature not found",
            "auth_error",
        ),
        ("email", "postmark", "request.author", "postmark_400", "Signature not found", "retry"),
        ("email", "postmark", "request.author", "postmark_300", "Invalid 'From' address", "failed"),
        ("email", "postmark", "request.author", "postmark_10", "Bad token", "auth_error"),
        ("email", "postmark", "request", "postmark_406", "Inactive recipient", HARD),
        ("email", "postmark", "request", "postmark_412", "Account is pending", "auth_error"),
        ("email", "postmark", "request", "postmark_429", "Rate limit exceeded", "rate_limited"),
        ("email", "postmark", "request", "postmark_1235", "No such stream", "auth_error"),
        ("email", "postmark", "request", "postmark_9999", "What nobody knows", "failed"),
    ],
)
def test_a_providers_reply_says_whose_fault_it_is(
    engine: Engine,
    channel: str,
    provider: str,
    stage: str,
    code: str,
    words: str,
    meaning: str,
) -> None:
    assert meaning_of(engine, channel, provider, stage, code, words) == meaning


@pytest.mark.parametrize(
    ("code", "words", "meaning"),
    [
        ("555", "5.5.4 Unsupported option: SIZE", "unreachable"),
        ("555", "RCPT TO parameters not recognized or not implemented", "unreachable"),
        ("501", "5.5.4 Invalid arguments", "unreachable"),
        ("503", "5.5.1 Error: need MAIL command", "unreachable"),
        ("554", "5.5.1 Error: no mail transaction", "unreachable"),
        # Gmail, of an address that it cannot read
        ("555", "5.5.2 Syntax error, cannot decode response. gsmtp", "retry"),
        ("501", "5.1.3 Bad recipient address syntax", HARD),
    ],
)
def test_a_refusal_of_the_command_says_nothing_about_the_recipient(
    engine: Engine, code: str, words: str, meaning: str
) -> None:
    assert meaning_of(engine, "email", "smtp", "recipient", f"smtp_{code}", words) == meaning


def test_a_refusal_that_says_nothing_is_the_messages(engine: Engine) -> None:
    (row,) = engine.rows("select * from dripdrop._classify(null, null, null, null, null)")
    assert (row.outcome, row.hard) == ("failed", False)


def test_every_row_of_the_table_has_an_outcome_and_a_place(engine: Engine) -> None:
    rows = engine.rows("select * from dripdrop.reply_codes()")
    assert [row.priority for row in rows] == sorted({row.priority for row in rows})
    known = {
        "retry",
        "failed",
        "bounced",
        "auth_error",
        "rate_limited",
        "unreachable",
        "maybe_sent",
    }
    assert {row.outcome for row in rows} == known
