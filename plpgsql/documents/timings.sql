-- When a step is due, by the type of its timing.
do $$
begin
  perform dripdrop._field(
    'timing.immediate', 'type', 'text',
    'at once',
    hint => 'Use immediate, delay, cron, interval, relative or event.',
    choices => '{immediate}', required => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'timing.delay', 'type', 'text',
    'so long after the step before',
    hint => 'Use immediate, delay, cron, interval, relative or event.',
    choices => '{delay}', required => true
  );
  perform dripdrop._field(
    'timing.delay', 'delay_amount', 'integer',
    'how many units',
    hint => 'Write for example "delay_amount": 3, "delay_unit": "days".', minimum => 1,
    maximum => 999999, required => true
  );
  perform dripdrop._field(
    'timing.delay', 'delay_unit', 'text',
    'what is counted',
    hint => 'Use seconds, minutes, hours, days, weeks, months or business_days.',
    choices => '{seconds,minutes,hours,days,weeks,months,business_days}', required => true
  );
  perform dripdrop._field(
    'timing.delay', 'calendar', 'text',
    'whose holidays are left out of business days',
    hint => 'Use lower-case letters, digits, "_" and "-", as in set_holidays().',
    pattern => '^[a-z0-9][a-z0-9_-]{0,199}$', nullable => true, preset => '"default"'
  );
  perform dripdrop._field(
    'timing.delay', 'at', 'text',
    'the time of day, `09:00`, on the day that the delay leads to; the same one unless given',
    hint => 'Write a time of day, for example "09:00".',
    pattern => '^([01]?[0-9]|2[0-3]):[0-5][0-9]$', nullable => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'timing.cron', 'type', 'text',
    'when a schedule next comes',
    hint => 'Use immediate, delay, cron, interval, relative or event.',
    choices => '{cron}', required => true
  );
  perform dripdrop._field(
    'timing.cron', 'cron_expression', 'document',
    'five cron fields, `@daily` and the like, or `every monday at 9am`',
    hint =>
    'Write for example "in 3 days", "in 2 business days", "every monday at 9am", "every weekday '
    'at 08:30", "@daily", or five cron fields such as "0 9 * * MON".',
    holds => 'schedule', required => true
  );
  perform dripdrop._field(
    'timing.cron', 'timezone', 'time_zone',
    'the zone of the schedule, for everybody; the subscriber''s unless given',
    nullable => true
  );
  perform dripdrop._field(
    'timing.cron', 'recurring', 'boolean',
    'whether it fires at every occurrence, beside the path',
    hint => 'A recurring step fires again and again, beside the path of the others.',
    nullable => true, preset => 'false'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'timing.interval', 'type', 'text',
    'again after so long, counted from the enrolment',
    hint => 'Use immediate, delay, cron, interval, relative or event.', choices => '{interval}',
    required => true
  );
  perform dripdrop._field(
    'timing.interval', 'interval_amount', 'integer',
    'how many units lie between two of them',
    hint => 'Write for example "interval_amount": 2, "interval_unit": "days".', minimum => 1,
    maximum => 9999, required => true
  );
  perform dripdrop._field(
    'timing.interval', 'interval_unit', 'text',
    'what is counted',
    hint => 'Use minutes, hours, days, weeks or months.',
    choices => '{minutes,hours,days,weeks,months}', required => true
  );
  perform dripdrop._field(
    'timing.interval', 'days', 'list',
    'of weeks: the days on which it comes, a list of `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, '
    '`sun`; that of the enrolment unless given',
    hint => 'Write for example ["mon", "thu"].',
    choices => '{mon,tue,wed,thu,fri,sat,sun}', minimum => 1, nullable => true
  );
  perform dripdrop._field(
    'timing.interval', 'at', 'text',
    'the time of day; that of the enrolment unless given',
    hint => 'Write a time of day, for example "09:00".',
    pattern => '^([01]?[0-9]|2[0-3]):[0-5][0-9]$', nullable => true
  );
  perform dripdrop._field(
    'timing.interval', 'timezone', 'time_zone',
    'the zone of its days, for everybody; the subscriber''s unless given',
    nullable => true
  );
  perform dripdrop._field(
    'timing.interval', 'recurring', 'boolean',
    'whether it fires every time, beside the path',
    hint => 'A recurring step fires again and again, beside the path of the others.',
    nullable => true, preset => 'false'
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'timing.relative', 'type', 'text',
    'before, at or after a time in the data',
    hint => 'Use immediate, delay, cron, interval, relative or event.', choices => '{relative}',
    required => true
  );
  perform dripdrop._field(
    'timing.relative', 'relative_to', 'text',
    'where the enrolment''s data holds the time',
    hint => 'Write for example "relative_to": "data.appointment_at".',
    pattern => '^data([.][A-Za-z_][A-Za-z0-9_-]*)+$', maximum => 500, required => true
  );
  perform dripdrop._field(
    'timing.relative', 'delay_amount', 'integer',
    'how many units after it or, if negative, before it; at that time unless given',
    hint => 'Write for example "delay_amount": -3, "delay_unit": "days".', minimum => -999999,
    maximum => 999999, nullable => true
  );
  perform dripdrop._field(
    'timing.relative', 'delay_unit', 'text',
    'what is counted',
    hint => 'Use seconds, minutes, hours, days, weeks, months or business_days.',
    choices => '{seconds,minutes,hours,days,weeks,months,business_days}', nullable => true
  );
  perform dripdrop._field(
    'timing.relative', 'calendar', 'text',
    'whose holidays are left out of business days',
    hint => 'Use lower-case letters, digits, "_" and "-", as in set_holidays().',
    pattern => '^[a-z0-9][a-z0-9_-]{0,199}$', nullable => true, preset => '"default"'
  );
  perform dripdrop._field(
    'timing.relative', 'at', 'text',
    'the time of day, on the day that this leads to',
    hint => 'Write a time of day, for example "09:00".',
    pattern => '^([01]?[0-9]|2[0-3]):[0-5][0-9]$', nullable => true
  );
end
$$;

do $$
begin
  perform dripdrop._field(
    'timing.event', 'type', 'text',
    'when an event happens',
    hint => 'Use immediate, delay, cron, interval, relative or event.',
    choices => '{event}', required => true
  );
  perform dripdrop._field(
    'timing.event', 'trigger_event', 'text',
    'the key of the event',
    hint => 'Write for example "trigger_event": "order_completed".', pattern => '[^ ]',
    maximum => 500, required => true
  );
  perform dripdrop._field(
    'timing.event', 'match', 'object',
    'what its data must contain; `"$.data.order_id"` is what the enrolment''s data holds',
    hint => 'Write what its data must contain: "match": {"plan": "pro"}.', nullable => true
  );
  perform dripdrop._field(
    'timing.event', 'trigger_data', 'object',
    'the same as `match`',
    hint => 'Write what its data must contain: "match": {"plan": "pro"}.', nullable => true
  );
  perform dripdrop._field(
    'timing.event', 'delay_amount', 'integer',
    'a delay after the event',
    hint => 'Write for example "delay_amount": 3, "delay_unit": "days".', minimum => 1,
    maximum => 999999, nullable => true
  );
  perform dripdrop._field(
    'timing.event', 'delay_unit', 'text',
    'what is counted',
    hint => 'Use seconds, minutes, hours, days, weeks, months or business_days.',
    choices => '{seconds,minutes,hours,days,weeks,months,business_days}', nullable => true
  );
  perform dripdrop._field(
    'timing.event', 'at', 'text',
    'the time of day on the day that the delay leads to',
    hint => 'Write a time of day, for example "09:00".',
    pattern => '^([01]?[0-9]|2[0-3]):[0-5][0-9]$', nullable => true
  );
  perform dripdrop._field(
    'timing.event', 'calendar', 'text',
    'whose holidays are left out of business days',
    hint => 'Use lower-case letters, digits, "_" and "-", as in set_holidays().',
    pattern => '^[a-z0-9][a-z0-9_-]{0,199}$', nullable => true, preset => '"default"'
  );
  perform dripdrop._field(
    'timing.event', 'since', 'text',
    '`enrollment` counts what happened from the enrolment on',
    hint => 'Use enrollment, or leave it out to wait for what comes after the step before.',
    choices => '{enrollment}', nullable => true
  );
  perform dripdrop._field(
    'timing.event', 'timeout', 'interval',
    'how long it waits; for ever unless given',
    hint => 'Write for example "timeout": "3 days".', pattern => '[a-zA-Z:]', nullable => true
  );
  perform dripdrop._field(
    'timing.event', 'on_timeout', 'text',
    '`continue`, `exit` or the key of a step',
    hint => 'Use continue, exit or the key of a step.', pattern => '^[a-z0-9][a-z0-9_-]{0,199}$',
    nullable => true, preset => '"continue"'
  );
  perform dripdrop._field(
    'timing.event', 'recurring', 'boolean',
    'whether it fires on every such event, beside the path',
    hint => 'A recurring step fires again and again, beside the path of the others.',
    nullable => true, preset => 'false'
  );
end
$$;
