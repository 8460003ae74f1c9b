-- The codes of RFC 5321, RFC 4954 and RFC 3463, and the words of Exchange, Gmail, Postfix, Exim,
-- SES, SendGrid, Yahoo and others where they say more or something else. A server often says at
-- RCPT what it holds against the client, its name or its sender. An address is condemned by a code
-- that speaks of nothing else, or by words about the recipient; where it could be the sender's
-- account that is meant, it is: a sender that rests comes back, an address that is suppressed does
-- not.
create or replace function dripdrop._smtp_reply_codes()
returns table (
  priority int, stage text, code text, enhanced text, words text, outcome text, hard boolean
)
language sql
immutable
parallel safe
begin atomic
  select v.*
  from (values
    -- The account, wherever it is said.
    (100, null, 'smtp_334', null, null, 'auth_error', false),
    (101, null, 'smtp_530 smtp_534 smtp_535 smtp_538', null, null, 'auth_error', false),

    -- An address that there is not, in codes that say nothing else; what Gmail says with 5.2.1 when
    -- somebody gets too much at a time is below.
    (
      105, 'recipient content', 'smtp_5__', '5.1.1 5.1.2 5.1.10 5.7.17 5.7.18', null, 'bounced',
      true
    ),

    -- Said of the recipient, in words that others use for the sender.
    (107, 'recipient', 'smtp_4__', '4.1.1 4.1.2 4.1.3 4.1.4 4.1.5 4.1.6', null, 'retry', false),
    (108, 'sender recipient content', 'smtp_4__', null, 'gr[ae]y-?list', 'retry', false),
    (
      110, 'recipient content', 'smtp_4__ smtp_5__', null,
      'gr[ae]y-?list|\mreceiv(ing|es) (mail|messages|e-?mail)|receiving (rate|limit|quota)',
      'retry', false
    ),
    (
      111, 'recipient content', 'smtp_5__', null,
      'blocked by (the |this )?(recipient|user)|recipient (has )?(blocked|rejects|does not want)',
      'failed', false
    ),

    (112, 'recipient content', 'smtp_5__', '5.2.1', null, 'bounced', true),

    -- A mailbox that is full, whatever is said of sizes.
    (115, 'recipient content', 'smtp_4__ smtp_5__', '4.2.2 5.2.2', null, 'bounced', false),

    -- A group or a mailbox that takes mail from some only, in words that would be the sender's.
    (
      116, 'recipient content', 'smtp_5__',
      '5.7.12_ 5.7.130 5.7.131 5.7.132 5.7.133 5.7.134 5.7.135 5.7.136 5.7.193', null, 'failed',
      false
    ),
    (
      117, 'recipient content', 'smtp_5__', null,
      'resolver\.rst|authenticated (for|by) (the |this )?(group|mailbox|public folder|mail user'
      '|recipient|organization)|allowed[ -]senders? list'
      '|to send (e-?mails? |mails? |messages? )?to (<>|(the|this|that) )',
      'failed', false
    ),

    -- Too much or too fast, wherever it is said. A message that is too large is none of these.
    (
      120, null, 'smtp_5__', null,
      '(size|message|mail|content)[^.]*\m(too (large|big|long)|(exceeds|exceeded'
      '|over)\M[^.]*\msize)'
      '|size[^.]*\m(exceeds|exceeded|limit|maximum)',
      'failed', false
    ),
    (121, null, 'smtp_4__ smtp_5__', '4.3.4 5.3.4 5.2.3', null, 'failed', false),
    (
      122, null, 'smtp_4__ smtp_5__',
      '4.7.28 5.7.28 5.4.5 5.1.90 4.7.5__ 5.7.232 5.7.233 5.7.236 5.7.705', null, 'rate_limited',
      false
    ),
    (
      123, null, 'smtp_4__ smtp_5__', null,
      '\m(sending|submission|submit|message|mail|e-?mail|connection|recipients?|login|outbound'
      '|outgoing|daily|hourly|monthly)[ -](message |sending |user |submission )*(rate|limits?'
      '|quota)\M'
      '|\mrate[ -]?(limit|control|exceeded|is too)|throttl|slow down|unusual (rate|sending)'
      '|\m(daily|hourly|per (second|minute|hour|day)|this (minute|hour)|today)\M[^.]*'
      '\m(limits?|quota|max|maximum|exceeded)\M'
      '|\m(limits?|quota|max|maximum|exceeded|many|much)\M[^.]*'
      '\m(per (second|minute|hour|day)|this (minute|hour)|today)\M'
      '|credits? exceeded|sending credits|messaging limits?|unexpected volume|high volume'
      '|temporarily deferred|\[tss?\d+\]',
      'rate_limited', false
    ),
    (
      124, null, 'smtp_4__ smtp_5__', null,
      'too (many|much) ([a-z]+ )?(smtp )?(mails?|messages?|e-?mails?|connections?|sessions?|logins?'
      '|login attempts|authentication|requests?|recipients|invalid recipients|concurrent)\M'
      '|too (frequent|fast)|concurren|(number of|connection|session|thread) [^.]*limit'
      '|limit[^.]*\m(connections?|sessions?)\M|storedrv\.clientsubmit|submissionquota',
      'rate_limited', false
    ),

    -- The login. Not "try again": the account or what is offered has to change.
    (200, 'login', 'smtp_4__', null, null, 'unreachable', false),
    (201, 'login', null, null, null, 'auth_error', false),

    -- The connection, before anybody is named.
    (
      210, 'session', 'smtp_5__', null, 'starttls first|authenticat|log ?in|credential|account',
      'auth_error', false
    ),
    (211, 'session', null, null, null, 'unreachable', false),

    -- What a message carries; such words would otherwise be taken for words about us.
    (309, 'content', 'smtp_5__', '5.7.512 5.6.0 5.6.1 5.6.2', null, 'failed', false),
    (
      310, 'content', 'smtp_5__', null,
      '\mlines?\M[^.]*\mlong\M|bare (lf|cr)\M'
      '|\m(urls?|uris?|uribl|surbl|links?|attachments?|virus(es)?|malware|phish(ing)?|macros?)\M',
      'failed', false
    ),

    -- The server is not well: it closes, is full, has too much to do, or is set up wrongly.
    (320, null, 'smtp_421', null, null, 'unreachable', false),
    (321, null, 'smtp_4__', '4.3.1 4.3.2 4.3.5 4.4.2', null, 'unreachable', false),
    (322, null, 'smtp_5__', '5.3.1 5.3.2 5.3.5', null, 'unreachable', false),
    (
      323, 'recipient content', 'smtp_4__ smtp_5__', null,
      '\m(system|server|cpu|machine) load\M|\mload\M[^.]*\mtoo high|overload'
      '|(system|server) (is )?(too )?(busy|full|shutting down)'
      '|out of (memory|resources|disk)|no space left|(system|server|local) configuration'
      '|under maintenance',
      'unreachable', false
    ),

    -- The server refuses this machine, its name or its address.
    (324, null, 'smtp_5__', '5.7.25 5.7.6__ 5.7.708', null, 'unreachable', false),
    (
      325, null, 'smtp_4__ smtp_5__', null,
      'helo\M|ehlo\M|fully[ -]?qualified|client host|client blocked|\mptr\M|\mrdns\M'
      '|reverse[ -](dns|hostname|mapping|lookup)|cannot find your|block ?list|black ?list'
      '|blocked (using|by [a-z0-9.-]+\.[a-z]{2,})|spamhaus|spamcop|barracuda|senderbase|\mrbl|dnsbl'
      '|\m(your|sending|client|source|this|the) (ip|network|mail ?server|(mail )?host)\M'
      '|\mip (address )?[^.]*(block|banned|reject|denied|reputation|not allowed|not authori)'
      '|(poor|bad|low) reputation',
      'unreachable', false
    ),

    -- The address in From and the right to use it. The message's own is its own affair: it waits,
    -- in case somebody permits it; one that no server reads will not do.
    (400, 'sender.author', 'smtp_501', null, null, 'failed', false),
    (401, 'sender.author', 'smtp_5__', '5.1.3 5.1.7 5.5.2 5.5.4 5.6.7', null, 'failed', false),
    (
      402, 'sender.author recipient.author content.author', 'smtp_4__ smtp_5__',
      '4.1.7 4.1.8 4.7.20 4.7.21 4.7.22 4.7.23 4.7.24 4.7.25 4.7.26 4.7.27 4.7.60 5.1.7 5.1.8 '
      '5.7.20 5.7.21 5.7.22 5.7.23 5.7.24 5.7.25 5.7.26 5.7.27 5.7.60',
      null, 'retry', false
    ),
    (403, 'sender.author', 'smtp_5__', null, null, 'retry', false),
    (
      404, 'sender.author recipient.author content.author', 'smtp_4__ smtp_5__', null,
      'sender (address )?(is |was )?(not |un)?(rejected|verif|owned|authori|allowed|permitted'
      '|valid)'
      '|sender (domain|id|identity|verif)|not owned by|(not|un)[ -]?verified|verified sender'
      '|\m(spf|dkim|dmarc)\M|send[ -]?as\M|from (address|domain|header)|sender address',
      'retry', false
    ),
    (
      410, 'sender', 'smtp_5__', null,
      'bad sequence|nested|command (not|un)|unrecogni[sz]ed|not implemented', 'unreachable', false
    ),
    (411, 'sender', 'smtp_4__', '4.1.7 4.1.8', null, 'auth_error', false),
    (412, 'sender', 'smtp_4__', null, null, 'unreachable', false),
    (413, 'sender', null, null, null, 'auth_error', false),
    (414, 'recipient content', 'smtp_4__', null, '\m(spf|dkim|dmarc)\M', 'retry', false),
    (
      420, 'recipient content', 'smtp_4__ smtp_5__',
      '4.1.7 4.1.8 5.1.7 5.1.8 5.7.3 5.7.8 5.7.10 5.7.11 5.7.12 5.7.13 5.7.14 5.7.20 5.7.21 '
      '5.7.22 5.7.23 5.7.24 5.7.25 5.7.26 5.7.27 5.7.50 5.7.54 5.7.57 5.7.60 5.7.64 5.7.139 '
      '5.7.50_ 5.7.51_ 5.7.7__',
      null, 'auth_error', false
    ),
    (
      421, 'recipient content', 'smtp_4__ smtp_5__', null,
      'sender (address )?(is |was )?(not |un)?(rejected|verif|owned|authori|allowed|permitted'
      '|valid)'
      '|sender (domain|id|identity|verif)|not owned by|(not|un)[ -]?verified|verified sender'
      '|\m(spf|dkim|dmarc)\M|send[ -]?as\M|from (address|domain)|sender address'
      '|relay(ing)? (access )?(is |was )?(denied|not (permitted|allowed)|prohibited|restricted)'
      '|unable to relay|(do|does|will|can)( not|''t|not) relay|relay not permitted|rcpthosts'
      '|authentication (is )?(required|failed|needed)|must (first )?(authenticate|log ?in)'
      '|log ?in first|not (been )?authenticated|unauthenticated|anonymous'
      '|not (authori[sz]ed|permitted|allowed) to (send|relay|use)|has no permission|ses:send',
      'auth_error', false
    ),
    (
      422, 'recipient content', 'smtp_4__ smtp_5__', null,
      '(invalid|bad|unknown|illegal|no such) (sender|from)\M|\mfrom (is )?(invalid|unknown)'
      '|\msender(''s)? (mail |e-?mail )?(account|domain|host|address)'
      '|\msender (is |was |has been )?(temporarily )?(blocked|banned|denied|refused|suspended'
      '|disabled|un[a-z]+)'
      '|\mout(going|bound) (smtp|mails?|e-?mails?|messages?)\M|smtp[ -]auth'
      '|authenticat(e|ion)\M|\m(to|for|from) send(ing)? (e-?mails?|mails?|messages?|spam)\M'
      '|\mfor sending\M|\msending\M[^.]*\m(suspended|disabled|blocked|prohibited)'
      '|sending domain|envelope sender|(return|reverse)[ -]path'
      '|(tls|ssl|encryption|encrypted connection) (is )?(required|needed)',
      'auth_error', false
    ),
    (
      423, 'recipient content', 'smtp_4__ smtp_5__', null,
      '\myour? (e-?mail |mail |user |sending )?(account|domain|mailbox|subscription|plan|trial'
      '|licen[sc]e|invoice|access|company|organi[sz]ation|tenant)\M'
      '|billing|payment|invoice|unpaid|subscription|licen[sc]e|(free|paid) plan|\mtrial\M'
      '|credentials|password|customer account',
      'auth_error', false
    ),
    (
      424, 'content', 'smtp_4__ smtp_5__', null,
      '(account|domain|user|sending)\M[^.]*\m(suspended|disabled|deactivated|locked|paused|on hold'
      '|not (active|activated|enabled))|^access denied',
      'auth_error', false
    ),
    (
      425, 'recipient', 'smtp_4__ smtp_5__', null,
      -- Not where the same breath tells of a recipient.
      '^(?!.*\m(recipient|mailbox|tried to reach|discontinued|closed|deleted|no longer'
      '|does( not|n''t) exist|unknown|not found|invalid)\M)'
      '.*\m(account|domain)\M.*\m(suspended|disabled|deactivated|locked|blocked|on hold'
      '|inactive|expired|not (active|activated|enabled|verified|authori[sz]ed))',
      'auth_error', false
    ),

    -- After MAIL was taken: the server has lost the thread.
    (
      430, 'recipient', 'smtp_500 smtp_502 smtp_503 smtp_504', null, null, 'unreachable', false
    ),
    (431, 'content', 'smtp_500 smtp_502 smtp_503', null, null, 'unreachable', false),
    (
      432, 'recipient', 'smtp_5__', null, 'bad sequence|no valid (recipient|rcpt)', 'unreachable',
      false
    ),

    -- A mailbox that is full empties some day.
    (
      501, 'recipient content', 'smtp_4__ smtp_5__', null,
      '(mailbox|account|user|inbox|recipient|quota)\M[^.]*\m(is full|full|exceeded|over ?quota)\M'
      '|over ?quota|mailbox full|out of storage|(insufficient|exceeded) (storage|disk)|disk quota',
      'bounced', false
    ),
    (502, 'recipient content', 'smtp_552', 'none', null, 'bounced', false),

    -- The command, its order or its parameters: they are the same for all. A syntax may be that of
    -- this one address.
    (505, 'recipient', 'smtp_555', '5.5.2', null, 'retry', false),
    (506, 'recipient', 'smtp_555', null, null, 'unreachable', false),
    (507, 'recipient', 'smtp_5__', '5.5.1 5.5.4', null, 'unreachable', false),

    -- The recipient, for the time being.
    (510, 'recipient content', 'smtp_4__', null, null, 'retry', false),

    -- The recipient, for good: by Exchange's and others' codes, and by what servers call it. A bare
    -- 550 may be a policy as well (RFC 5321 section 4.2.3): it condemns nobody.
    (
      600, 'recipient', 'smtp_5__', '5.1.0 5.1.3 5.1.4 5.1.6 5.4.1 5.4.4 5.4.310 5.4.311 5.1.351',
      null, 'bounced', true
    ),
    (
      601, 'recipient content', 'smtp_5__', null,
      '(user|recipient|mailbox|address) (is )?(unknown|not found|does( not|n''t) exist)'
      '|(unknown|no such|invalid) (local )?(user|recipient|mailbox)|dd (this|sorry)',
      'bounced', true
    ),
    (
      602, 'recipient', 'smtp_5__', null,
      '\m(your?s?|senders?|sending|send|from|clients?|customers?|servers?|system|service|username'
      '|password|credentials?|log ?in|ports?|tls|ssl|encrypt(ed|ion))\M',
      'failed', false
    ),
    (
      603, 'recipient', 'smtp_5__', null,
      '\m(user|recipient|mailbox|address|account|person|addressee)\M[^.;]*'
      '\m(unknown|not (be )?(found|known|exist|available|valid|local|active|a valid|listed)'
      '|unavailable|invalid|inactive|disabled|suspended|deactivated|discontinued|closed|expired'
      '|removed'
      '|terminated|does( not|n''t)|doesn''t|no longer)'
      '|\m(unknown|invalid|inactive|disabled|undeliverable|unrouteable|unroutable|nonexistent'
      '|non-existent|bad|illegal) (local |e-?mail )?(user|recipient|mailbox|address|account'
      '|destination'
      '|to)\M'
      '|\m(no|not) (such|a valid|a known|known|valid|our) '
      '[^.;]*\m(user|recipient|mailbox|address|account|person|here|customer|domain)\M'
      '|no such|no (mailbox|account|user|recipient)|not (exist|our customer)'
      '|does( not|n''t) (exist|have an? )|\mno longer\M|user doesn''t|mailbox name not allowed'
      '|(domain|host)\M[^.;]*\m(not found|unknown|does( not|n''t) (exist|accept)|not exist)'
      '|null mx|accepts? no mail',
      'bounced', true
    ),
    (604, 'recipient', 'smtp_556', null, null, 'bounced', true),
    (699, null, 'smtp_%', null, null, 'failed', false)
  ) as v (priority, stage, code, enhanced, words, outcome, hard);
end;

comment on function dripdrop._smtp_reply_codes() is
  'The rows of reply_codes() for mail servers.';

-- A server that has a fault may have taken the message all the same, unless it says when to come
-- again. Who drops repeats is simply asked again (see providers()).
create or replace function dripdrop._http_reply_codes()
returns table (
  priority int,
  channel text,
  provider text,
  stage text,
  code text,
  enhanced text,
  words text,
  outcome text,
  hard boolean
)
language sql
immutable
parallel safe
begin atomic
  select v.*
  from (values
    -- https://postmarkapp.com/developer/api/overview#error-codes
    (700, 'email', 'postmark', null, 'postmark_100', null, null, 'unreachable', false),
    (701, 'email', 'postmark', null, 'postmark_406', null, null, 'bounced', true),
    (702, 'email', 'postmark', null, 'postmark_429', null, null, 'rate_limited', false),
    (
      703, 'email', 'postmark', 'request.author', 'postmark_400 postmark_401 postmark_405', null,
      null, 'retry', false
    ),
    (
      704, 'email', 'postmark', 'request',
      'postmark_10 postmark_400 postmark_401 postmark_405 postmark_412 postmark_413 '
      'postmark_1226 postmark_1235 postmark_1236',
      null, null, 'auth_error', false
    ),
    (705, 'email', 'postmark', 'request.author', 'postmark_300', null, null, 'failed', false),
    (
      706, 'email', 'postmark', null, 'postmark_300', null,
      'invalid ''from''|sender signature|from address', 'auth_error', false
    ),
    (707, 'email', 'postmark', null, 'postmark_%', null, null, 'failed', false),

    -- RFC 9110 section 15, RFC 6585 section 4, Standard Webhooks 1.0.
    (800, null, null, null, 'http_429', null, null, 'rate_limited', false),
    (801, null, null, null, 'http_503', null, '^retry-after', 'rate_limited', false),
    (802, 'webhook', null, null, 'http_5__', null, '^retry-after', 'rate_limited', false),
    -- A gateway that has nobody behind it.
    (803, 'webhook', null, null, 'http_502 http_503 http_504', null, null, 'unreachable', false),
    (804, 'webhook', null, null, 'http_5__', null, null, 'retry', false),
    (805, null, null, null, 'http_5__', null, null, 'maybe_sent', false),
    (806, null, null, null, 'http_408 http_425', null, null, 'retry', false),
    (
      807, null, null, 'request', 'http_401 http_402 http_403 http_407', null, null, 'auth_error',
      false
    ),
    (808, null, null, null, 'http_3__ http_4__', null, null, 'failed', false),
    -- What is no status is as good as a 5xx: nothing that the message could have caused.
    (809, 'webhook', null, null, 'http_%', null, null, 'unreachable', false),
    (810, null, null, null, 'http_%', null, null, 'maybe_sent', false),
    (899, null, null, null, null, null, null, 'failed', false)
  ) as v (priority, channel, provider, stage, code, enhanced, words, outcome, hard);
end;

comment on function dripdrop._http_reply_codes() is
  'The rows of reply_codes() for HTTP, of providers and of endpoints.';

-- Whose fault a server's refusal is. One table, read from the top: the first row that fits in all
-- its columns decides. stage lists words; code and enhanced, the RFC 3463 code that stands in the
-- words, list patterns of LIKE; words is a regular expression, whatever the case. Null fits all.
--
-- A stage is where the server said it. session: connection, greeting, EHLO, STARTTLS; login: AUTH;
-- sender: MAIL; recipient: RCPT; content: DATA and what follows; request: an HTTP request to the
-- sender's own URL; endpoint: one to the message's. ".author" behind it says that the From is the
-- message's own and not the sender's.
create or replace function dripdrop.reply_codes()
returns table (
  priority int,
  channel text,
  provider text,
  stage text,
  code text,
  enhanced text,
  words text,
  outcome text,
  hard boolean
)
language sql
immutable
parallel safe
begin atomic
  select
    r.priority, 'email', null, r.stage, r.code, r.enhanced, r.words, r.outcome, r.hard
  from dripdrop._smtp_reply_codes() as r
  union all
  select h.*
  from dripdrop._http_reply_codes() as h
  order by 1;
end;

comment on function dripdrop.reply_codes() is
  'Whose fault a refusal is, by channel, provider, stage, code and words: the first row that fits '
  'says the outcome, and whether it condemns the address.';

-- A code of RFC 3463 stands first, or in brackets, and never within an address of the Internet; a
-- reply may have "none". Mail addresses are no words: nobody's name is to be read as what a server
-- says. Words come last, for only few regular expressions are kept compiled.
create or replace function dripdrop._classify(
  channel text,
  provider text,
  stage text,
  code text,
  detail text
)
returns table (outcome text, hard boolean)
language sql
immutable
parallel safe
begin atomic
  with said as materialized (
    select
      coalesce(
        substring(
          _classify.detail from '(?<![0-9.])[245]\.[0-9]{1,3}\.[0-9]{1,3}(?![0-9]|\.[0-9])'
        ),
        'none'
      ) as enhanced,
      regexp_replace(
        coalesce(_classify.detail, ''), '<[^<>]*@[^<>]*>|\S+@\S+', '<>', 'g'
      ) as words
  )
  select r.outcome, r.hard
  from said as s
  cross join dripdrop.reply_codes() as r
  where case
    when r.channel <> _classify.channel or r.provider <> _classify.provider then false
    when r.stage is not null
      and coalesce(_classify.stage, '') <> all(string_to_array(r.stage, ' '))
      and split_part(coalesce(_classify.stage, ''), '.', 1) <> all(string_to_array(r.stage, ' '))
    then false
    when r.code is not null
      and not coalesce(_classify.code, '') like any(string_to_array(r.code, ' '))
    then false
    when r.enhanced is not null and not s.enhanced like any(string_to_array(r.enhanced, ' '))
    then false
    when r.words is not null then s.words ~* r.words
    else true
  end
  order by r.priority
  limit 1;
end;

comment on function dripdrop._classify(text, text, text, text, text) is
  'The outcome that a refusal amounts to, and whether it condemns the address for good.';
