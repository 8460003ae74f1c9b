-- Send windows, thresholds, retention, rate limits, and the senders of a rotation.
do $$
begin
  perform dripdrop._field(
    'send_window', 'start', 'text',
    'when it opens',
    hint => 'Write it as 09:00.',
    pattern => '^(([01][0-9]|2[0-3]):[0-5][0-9].*|[0-9]?:[0-5][0-9])$', nullable => true,
    preset => '"00:00"'
  );
  perform dripdrop._field(
    'send_window', 'end', 'text',
    'when it closes; before `start` it is on the next day',
    hint => 'Write it as 17:00; 24:00 is midnight.',
    pattern => '^((([01][0-9]|2[0-3]):[0-5][0-9]|24:00).*|[0-9]?:[0-5][0-9])$', nullable => true,
    preset => '"24:00"'
  );
  perform dripdrop._field(
    'send_window', 'days', 'list',
    'a list of `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`: the days on which it opens; every '
    'day unless given',
    hint => 'Write for example ["mon", "tue", "wed", "thu", "fri"].',
    choices => '{mon,tue,wed,thu,fri,sat,sun}', minimum => 1, nullable => true
  );
  perform dripdrop._field(
    'send_window', 'calendar', 'text',
    'the holidays of this calendar are closed from midnight to midnight; `set_holidays()` fills it',
    hint => 'Use lower-case letters, digits, "_" and "-", as in set_holidays().',
    pattern => '^[a-z0-9][a-z0-9_-]{0,199}$'
  );
  perform dripdrop._field(
    'send_window', 'jitter', 'interval',
    'an interval over which the waiting messages spread after the opening, never past its end',
    hint => 'Write for example "30 minutes".', pattern => '[a-zA-Z:]'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'thresholds', 'window', 'interval',
    'how far to look back',
    hint => 'an interval', preset => '"30 days"'
  );
  perform dripdrop._field(
    'thresholds', 'pause', 'interval',
    'how long it rests',
    hint => 'an interval', preset => '"1 day"'
  );
  perform dripdrop._field(
    'thresholds', 'min_sample', 'integer',
    'with fewer messages than this nothing is said',
    hint => 'messages', minimum => 1, maximum => 999999999, preset => '100'
  );
  perform dripdrop._field(
    'thresholds', 'complaint_rate', 'share',
    'complaints per message; `null` is off',
    hint => '0.000001 to 1; null is off', nullable => true, preset => '0.003'
  );
  perform dripdrop._field(
    'thresholds', 'bounce_rate', 'share',
    'hard bounces per message; `null` is off',
    hint => '0.000001 to 1; null is off', nullable => true, preset => '0.02'
  );
  perform dripdrop._field(
    'thresholds', 'soft_bounce_rate', 'share',
    'other bounces per message',
    hint => '0.000001 to 1; null is off', nullable => true, preset => 'null'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'retention', 'enrollments', 'interval',
    'enrolments that have ended, with their messages, after their end',
    hint => 'Write for example "90 days"; null is for ever.', nullable => true
  );
  perform dripdrop._field(
    'retention', 'events', 'interval',
    'events, of whoever has no enrolment under way',
    hint => 'Write for example "90 days"; null is for ever.', nullable => true
  );
  perform dripdrop._field(
    'retention', 'message_reports', 'interval',
    'what was reported of messages that are over',
    hint => 'Write for example "90 days"; null is for ever.', nullable => true
  );
  perform dripdrop._field(
    'retention', 'counters', 'interval',
    'what limits have counted, after it last changed',
    hint => 'Write for example "90 days"; null is for ever.', nullable => true
  );
  perform dripdrop._field(
    'retention', 'history', 'interval',
    'rests of senders, after their end',
    hint => 'Write for example "90 days"; null is for ever.', nullable => true
  );
  perform dripdrop._field(
    'retention', 'consent', 'interval',
    'consent records and the history of suppressions, which prove what was said; the '
    'last word on each subject stays',
    hint => 'Write for example "90 days"; null is for ever.', nullable => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'rate_limits', 'adapter', 'document',
    'of a sender',
    holds => 'rate'
  );
  perform dripdrop._field(
    'rate_limits', 'provider', 'document',
    'over a channel through a provider, whichever sender',
    holds => 'rate'
  );
  perform dripdrop._field(
    'rate_limits', 'domain', 'document',
    'from a domain: that of the template''s `from`, else of the sender''s',
    holds => 'rate'
  );
  perform dripdrop._field(
    'rate_limits', 'recipient_domain', 'document',
    'to a domain',
    holds => 'rate'
  );
  perform dripdrop._field(
    'rate_limits', 'recipient', 'document',
    'to an address',
    holds => 'rate'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'sender', 'adapter', 'text',
    'the name of a sender',
    hint => 'Write its name, or {"adapter": "Postmark", "weight": 3}.', minimum => 1
  );
  perform dripdrop._field(
    'sender', 'adapter_id', 'text',
    'its id, instead of its name',
    hint => 'Write its name, or {"adapter": "Postmark", "weight": 3}.',
    pattern => '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'
  );
  perform dripdrop._field(
    'sender', 'weight', 'weight',
    'its share, beside those of the others',
    hint => 'Shares follow the weights: 3 and 1 are three quarters and one. 0.001 to 1000000.',
    preset => '1'
  );
end
$$;
